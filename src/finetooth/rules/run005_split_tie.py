"""RUN005: the two sides of tied embeddings part, or an adapter trains nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from finetooth.rules.embeddings import Embeddings, embeddings_of, weights_directory
from finetooth.rules.facts import SetupFacts
from finetooth.rules.rule import Because, Hit, NotRun, setup_rule
from finetooth.types import Severity
from finetooth.weightfiles import UnreadableWeightsError, read_weights

_SAMPLE = 256
"""Rows of the two matrices that are compared, beside those of added tokens."""
_PRECISION = 2**-7
"""BF16 keeps 8 bits: matrices of different precision are compared so far."""
_FACTORS = (".lora_B.weight", ".lora_embedding_A")
"""The factors of a LoRA adapter that begin as zeros (peft 0.21, `reset_lora_parameters`); the other ones do not."""
_OTHER_FACTORS = (".lora_A.weight", ".lora_embedding_B", ".base_layer.weight")


@setup_rule("RUN005", "split-tie", severity="warning")
def split_tie(facts: SetupFacts) -> Iterator[Hit | NotRun]:
    """Find tied embeddings whose two sides part, and adapters that train nothing.

    ## What it does
    Where config.json ties the embeddings with the output layer, looks whether the recipe's adapter trains the two
    apart: named in `lora.modules_to_save` they become copies, of which each, or the one that is named, is trained by
    itself; named in `lora.target_modules` each side changes for itself while training, and merging adds the change to
    the matrix that both share. Looks whether the weights hold two different matrices although they are tied. And
    looks for an adapter that changes nothing: a directory with an adapter whose every `lora_B` is zero (an error), or
    names of modules in the recipe that the model does not have (an error where none is left, for peft refuses it; else
    a warning, for peft says nothing). A directory without weights is passed over.

    ## Why it is bad
    Of tied embeddings of which only the input is trained, new tokens are read and never written. A matrix that some
    engines take and others drop is a different model in each. An adapter of zeros is the base model.

    ## Example
    `lora.modules_to_save: [embed_tokens]` on Qwen2.5-0.5B, whose config.json says `"tie_word_embeddings": true`.

    ## Fix
    Train every weight (`train.method: full`), where the two stay one; or leave the embeddings out of the adapter. Write
    `"tie_word_embeddings": false` where the two are meant to differ.

    ## Fix safety
    None is offered: which of the two is meant is the user's matter.

    ## Sources
    LLaMA-Factory #6446, #6749; unsloth PR #9331; peft 0.21 (tuners/tuners_utils.py warns of tied layers, and a test
    here holds what it does); transformers 5.23, modeling_utils.py (`tie_weights` leaves two different matrices apart);
    vLLM (`skip_prefixes` of `load_weights` drops the output layer of tied ones).
    """
    try:
        yield from _adapter_of_zeros(facts)
        embeddings = embeddings_of(facts)
        if embeddings is None:
            return
        if embeddings.tied:
            yield from _trained_apart(facts, embeddings)
            yield from _two_contents(facts, embeddings)
        yield from _no_such_module(facts, embeddings)
    except UnreadableWeightsError as error:
        yield NotRun(error.key, error.values)


def _hit(
    sentence: str,
    cause: str,
    values: Mapping[str, Any],
    evidence: Mapping[str, Any],
    *,
    severity: Severity = "warning",
    because: str | None = None,
    where: str,
    reproduction: tuple[str, ...] = (),
) -> Hit:
    name = cause.replace("-", "_")
    return Hit(
        f"rules_run.split_tie_{sentence}",
        values=values,
        help=f"rules_run.split_tie_{name}_help",
        because=Because(
            code=cause, key=f"rules_run.split_tie_because_{because or name}", values=values, evidence=evidence
        ),
        severity=severity,
        where=where,
        reproduction=reproduction,
    )


def _trained_apart(facts: SetupFacts, embeddings: Embeddings) -> Iterator[Hit]:
    trained = facts.setup.trained
    if trained is None:
        return
    sides = (embeddings.input_module, embeddings.output_module)
    saved = [module for module in sides if trained.copies(module)]
    adapted = [module for module in sides if trained.adapts(module) and module not in saved]
    if not saved and not adapted:
        return
    evidence = {
        "tie_word_embeddings": True,
        "file": str(embeddings.config),
        "modules_to_save": list(trained.modules_to_save),
        "target_modules": list(trained.target_modules),
    }
    values = {
        "file": str(embeddings.config),
        "modules": _listed([*saved, *adapted]),
        "other": next((module for module in sides if module not in (*saved, *adapted)), ""),
    }
    if saved:
        # A copy of one side unties the two: an adapter on the other is merged into that one alone.
        because = "saved_both" if len(saved) + len(adapted) == 2 else f"saved_{_side(embeddings, saved[0])}"
        cause = "saved-apart"
    else:
        because, cause = "adapted_apart", "adapted-apart"
    yield _hit("apart", cause, values, evidence, because=because, where=str(embeddings.config))


def _side(embeddings: Embeddings, module: str) -> str:
    return "input" if module == embeddings.input_module else "output"


def _two_contents(facts: SetupFacts, embeddings: Embeddings) -> Iterator[Hit]:
    one, other = embeddings.input, embeddings.output
    if other is None or other.name == one.name:
        return
    num_rows = min(one.num_rows, other.num_rows)
    step = max(1.0, num_rows / _SAMPLE)
    added = [index for index in sorted(facts.tokenizer.added_tokens) if index < num_rows][:_SAMPLE]
    wanted = sorted({*added, *(int(step * n) for n in range(min(num_rows, _SAMPLE)))})
    left, right = one.rows(wanted), other.rows(wanted)
    precision = 0.0 if one.dtype == other.dtype else _PRECISION
    different = [index for index in wanted if not _are_equal(left[index], right[index], precision)]
    if not different and one.shape == other.shape:
        return
    values = {
        "file": str(embeddings.config),
        "input": one.name,
        "output": other.name,
        "num_compared": len(wanted),
        "num_different": len(different),
        "shapes": f"{list(one.shape)}, {list(other.shape)}",
    }
    yield _hit(
        "two_contents",
        "two-contents",
        values,
        {**values, "token_ids": different[:8]},
        because="two_contents" if different else "two_shapes",
        where=str(other.file),
        reproduction=(
            "from safetensors import safe_open",
            f"print(*(safe_open(f, 'pt').get_slice(n)[{(different or [0])[0]}:][:1] for f, n in "
            f"(({str(one.file)!r}, {one.name!r}), ({str(other.file)!r}, {other.name!r}))))",
        ),
    )


def _are_equal(one: Sequence[float], other: Sequence[float], precision: float) -> bool:
    if not precision:
        return one == other
    return len(one) == len(other) and all(
        math.isclose(a, b, rel_tol=precision, abs_tol=1e-30) for a, b in zip(one, other, strict=True)
    )


def _adapter_of_zeros(facts: SetupFacts) -> Iterator[Hit]:
    directory = weights_directory(facts)
    if directory is None or not (directory / "adapter_config.json").is_file():
        return
    weights = read_weights(directory, "adapter_model")
    if weights is None:
        return
    factors = [name for name in weights.files if name.endswith(_FACTORS)]
    others = [name for name in weights.files if not name.endswith((*_FACTORS, *_OTHER_FACTORS))]
    # What else is saved (biases, whole modules) may have been trained.
    if not factors or others or not all(weights.tensor(name).is_zero() for name in factors):
        return
    file = str(weights.files[factors[0]])
    yield _hit(
        "zeros",
        "adapter-of-zeros",
        {"file": file, "num_factors": len(factors)},
        {"file": file, "num_factors": len(factors), "tensors": factors[:8]},
        severity="error",
        where=file,
        reproduction=(
            f"from safetensors.torch import load_file; t = load_file({file!r})",
            "print([k for k, v in t.items() if 'lora_B' in k and v.any()])",
        ),
    )


def _no_such_module(facts: SetupFacts, embeddings: Embeddings) -> Iterator[Hit]:
    trained = facts.setup.trained
    if trained is None:
        return
    modules = embeddings.weights.modules | {embeddings.output_module}
    targets, saved = trained.unmatched(modules)
    names = [*targets, *(name for name in saved if name not in targets)]
    if not names:
        return
    nothing = len(targets) > 0 and set(targets) == set(trained.target_modules)
    values = {
        "names": _listed(names),
        "keys": _listed(
            key for key, lost in (("lora.target_modules", targets), ("lora.modules_to_save", saved)) if lost
        ),
        "directory": str(trained.directory),
        "known": _listed(_leaves(embeddings)),
    }
    yield _hit(
        "no_adapter" if nothing else "no_such_module",
        "no-such-module",
        values,
        {"names": names, "num_modules": len(modules), "known": _leaves(embeddings)},
        severity="error" if nothing else "warning",
        where=str(trained.directory),
    )


def _leaves(embeddings: Embeddings) -> list[str]:
    """Return the last parts of the names of those modules that hold a matrix, in the order of the file."""
    holders = (name.removesuffix(".weight") for name in embeddings.weights.files if name.endswith(".weight"))
    names = dict.fromkeys(holder.rpartition(".")[2] for holder in holders)
    return [name for name in names if "norm" not in name and not name.isdecimal()][:12]


def _listed(names: Any) -> str:
    return ", ".join(f"`{name}`" for name in names)
