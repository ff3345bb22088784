"""`AdapterFile`: a LoRA as peft writes it, whose config and header are read, and none of its weights."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetooth.errors import MergeError
from finetooth.merging.headers import DTYPES, Entry, WeightFile, read_weight_file
from finetooth.merging.references import model_directory
from finetooth.messages import say

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
"""What peft writes before the names of the model."""

_KNOWN_IDLE = {
    "alpha_pattern", "auto_mapping", "base_model_name_or_path", "corda_config", "ensure_weight_tying", "eva_config",
    "exclude_modules", "fan_in_fan_out", "inference_mode", "init_lora_weights", "layers_pattern",
    "layers_to_transform", "loftq_config", "lora_alpha", "lora_dropout", "megatron_config", "megatron_core",
    "modules_to_save", "peft_type", "peft_version", "qalora_group_size", "r", "rank_pattern", "revision",
    "runtime_config", "target_modules", "task_type", "use_dora", "use_rslora", "bias",
}  # fmt: skip
"""Options that change nothing in the factors, or whose change is known here (peft 0.18 to 0.21, `LoraConfig`). All
others are refused where they are set."""

_CHANGES_BASE = ("pissa", "corda", "olora", "loftq", "lora_ga")
"""Beginnings of `init_lora_weights` under which peft takes something out of the base's weights as it loads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """What is stored for one module: its change is scale * B @ A."""

    down: Entry
    """A, `[rank, in]`; of embeddings `[rank, vocabulary]`."""
    up: Entry
    """B, `[out, rank]`; of embeddings `[hidden, rank]`."""
    magnitude: Entry | None
    """The length of each row of the changed weight, `[out]` (DoRA)."""
    is_embedding: bool

    @property
    def rank(self) -> int:
        """The number of rows of A."""
        return self.down.shape[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterFile:
    """An adapter whose header is read."""

    directory: Path
    config: Mapping[str, Any]
    file: WeightFile
    pairs: Mapping[str, Pair]
    """By the module's name."""
    whole: Mapping[str, Entry]
    """Tensors that it holds whole (`modules_to_save`), by the name of the tensor that they replace."""
    copied: Mapping[str, Entry]
    """The base's own embeddings and head, which peft stores beside factors of theirs."""

    @property
    def stored_whole(self) -> dict[str, Entry]:
        """All that is no factor, by the name of the tensor that it stands for."""
        return {**self.copied, **self.whole}

    @property
    def rank(self) -> int:
        """The largest rank that its config tells of, as peft counts it."""
        return max(int(self.config.get("r", 8)), *map(int, (self.config.get("rank_pattern") or {0: 0}).values()))

    def scale(self, module: str) -> float:
        """Return alpha over rank, or over its root for rank-stabilized LoRA (Kalajdzievski, 2023, arXiv:2312.03732)."""
        alpha = float(_pattern(self.config.get("alpha_pattern") or {}, module, self.config.get("lora_alpha", 8)))
        rank = self.pairs[module].rank
        return alpha / (math.sqrt(rank) if self.config.get("use_rslora") else rank)

    def refused(self, what: str, help: str | None = None) -> MergeError:
        """Return the error that says what cannot be done with it."""
        return _refused(self.directory, what, help)


def read_adapter(path: str) -> AdapterFile:
    """Read an adapter's config and header.

    Args:
        path: A directory or hub id.

    Raises:
        MergeError: It is no LoRA, is damaged, or is of a kind that is not supported.
    """
    directory = model_directory(path)
    config = _config(directory)
    file = directory / WEIGHTS
    if not file.is_file():
        raise _refused(directory, say("merging.no_adapter_weights"))
    weights = read_weight_file(file)
    found: dict[str, dict[str, Entry]] = {}
    whole: dict[str, Entry] = {}
    copied: dict[str, Entry] = {}
    for name, entry in weights.entries.items():
        plain = name.removeprefix(PREFIX)
        module, _, kind = plain.partition(".lora_")
        if kind:
            found.setdefault(module, {})[re.sub(r"\.default\b", "", kind)] = entry
        elif ".base_layer." in plain:
            copied[plain.replace(".base_layer.", ".")] = entry
        else:
            whole[re.sub(r"\.modules_to_save\b|\.default\b", "", plain)] = entry
    pairs = {module: _pair(directory, module, parts) for module, parts in sorted(found.items())}
    return AdapterFile(directory=directory, config=config, file=weights, pairs=pairs, whole=whole, copied=copied)


def _pair(directory: Path, module: str, parts: dict[str, Entry]) -> Pair:
    """Return the factors of a module from what is stored for it, by the part of the name behind `lora_`."""
    is_embedding = "embedding_A" in parts
    downs, ups = ("embedding_A", "embedding_B") if is_embedding else ("A.weight", "B.weight")
    unknown = parts.keys() - {downs, ups, "magnitude_vector", "magnitude_vector.weight"}
    if unknown:
        raise _refused(directory, say("merging.adapter_option", name=f"{module}.lora_{min(unknown)}"))
    down, up = parts.get(downs), parts.get(ups)
    if down is None or up is None or len(down.shape) != 2 or len(up.shape) != 2 or up.shape[1] != down.shape[0]:
        raise _refused(directory, say("merging.adapter_misfit", name=module))
    magnitude = parts.get("magnitude_vector", parts.get("magnitude_vector.weight"))
    if any(entry is not None and entry.dtype not in DTYPES for entry in (down, up, magnitude)):
        raise _refused(directory, say("merging.adapter_misfit", name=module))
    return Pair(down=down, up=up, magnitude=magnitude, is_embedding=is_embedding)


def _pattern(patterns: Mapping[str, Any], module: str, default: Any) -> Any:
    # peft 0.18, `get_pattern_key`: a key is a regular expression that the module's name ends with.
    return next((value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", module)), default)


def _config(directory: Path) -> dict[str, Any]:
    path = directory / CONFIG
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _refused(directory, say("merging.no_adapter")) from error
    if not isinstance(value, dict):
        raise _refused(directory, say("merging.no_adapter"))
    if value.get("peft_type") != "LORA":
        raise _refused(directory, say("merging.adapter_option", name=f"peft_type: {value.get('peft_type')}"))
    if value.get("bias", "none") != "none":
        raise _refused(directory, say("merging.adapter_option", name=f"bias: {value['bias']}"))
    begun = value.get("init_lora_weights")
    if isinstance(begun, str) and begun.lower().startswith(_CHANGES_BASE):
        raise _refused(directory, say("merging.adapter_option", name=f"init_lora_weights: {begun}"))
    unknown = [name for name in value if name not in _KNOWN_IDLE and value[name]]
    if unknown:
        raise _refused(directory, say("merging.adapter_option", name=unknown[0]))
    return value


def _refused(directory: Path, what: str, help: str | None = None) -> MergeError:
    return MergeError(what, where=str(directory), help=help or say("merging.adapter_help"))
