"""Which tensors of a checkpoint are the weights of linear layers, and by which names peft finds those.

A checkpoint tells names and shapes, no classes: a matrix called `weight` is a linear layer's, unless it is known
better.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

from finetooth.merging.adapters import CONV1D
from finetooth.merging.headers import Entry

_EMBEDDINGS = re.compile(r"(^|\.)(wte|wpe|[^.]*embed[^.]*)\.weight$")
_HEADS = ("embed_out.weight",)
_EXPERTS = re.compile(r"\.(experts|router|block_sparse_moe|gate)\.")
"""Parts of mixtures: transformers keeps the experts' weights together, in one parameter, which no LoRA layer takes the
place of under the checkpoint's names; and what chooses among them is no linear layer of its own."""


def is_linear(name: str, entry: Entry) -> bool:
    """Return whether a tensor is the weight of a linear layer."""
    if len(entry.shape) != 2 or not name.endswith(".weight") or _EXPERTS.search(name):
        return False
    return name.endswith(_HEADS) or not _EMBEDDINGS.search(name)


def is_conv1d(name: str, config: Mapping[str, object]) -> bool:
    """Return whether a linear layer stores its weight as `[in, out]`."""
    return config.get("model_type") == "gpt2" and module_of(name).endswith(CONV1D)


def module_of(name: str) -> str:
    """Return the module that a tensor belongs to."""
    return name.rpartition(".")[0]


def can_be_saved(module: str, names: Iterable[str]) -> bool:
    """Return whether a module's tensors are all its weight and bias, so that peft can keep a copy of it whole."""
    own = {name.rpartition(".")[2] for name in names if module_of(name) == module}
    inner = any(name.startswith(f"{module}.") and module_of(name) != module for name in names)
    return bool(module) and own <= {"weight", "bias"} and not inner and not _EXPERTS.search(f"{module}.")


def target_modules(targeted: Collection[str], modules: Collection[str]) -> list[str]:
    """Return names by which peft finds some modules and no others.

    Args:
        targeted: The modules that get factors.
        modules: All modules of the model.

    Returns:
        The last part of a name where all modules of that name are meant, `q_proj`, else the whole name.
    """
    found = set()
    for module in targeted:
        last = module.rpartition(".")[2]
        namesakes = {other for other in modules if other.rpartition(".")[2] == last}
        found.add(last if namesakes <= set(targeted) else module)
    return sorted(found)
