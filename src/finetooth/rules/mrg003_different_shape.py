"""MRG003: models whose tensors are not the same in names, shapes or dtypes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from finetooth.rules.merge_facts import MergeFacts, MergeInput, TensorHeader
from finetooth.rules.rule import Because, Hit, merge_rule
from finetooth.types import Severity

_SHOWN = 5
_FLOATS = ("F64", "F32", "F16", "BF16")
"""The dtypes that can be merged."""
_LAYER = re.compile(r"\.\d+\.")


@merge_rule("MRG003", "different-shape", severity="error")
def different_shape(facts: MergeFacts) -> Iterator[Hit]:
    """Find models of a merge whose tensors differ in names, shapes or dtypes.

    ## What it does
    Compares the headers of every model with those of the first, before a weight is read. The causes:

    - `missing`: the model lacks tensors. A head that is not stored because it is the embeddings is not missing.
    - `extra`: it has tensors that the first lacks.
    - `shape`: tensors of the same name have different shapes. Embeddings that differ in rows alone are the matter of
      MRG001.
    - `dtype`: weights are no floats (quantized), which is an error; other floats are information, since every dtype is
      merged in float32.

    Where layers are put together, layers are compared whatever their number.

    ## Why it is bad
    Weights of different shapes cannot be merged, and a model that is merged without some of its tensors is another
    one.

    ## Example
    A 7B model and a 13B one; a model that was saved with its LoRA beside its weights; a GPTQ file among bf16 ones.

    ## Fix
    Merge models of the same architecture and size, in float32, bfloat16 or float16.

    ## Fix safety
    None is automatic.

    ## Sources
    Judgement; mergekit refuses such models as well, at the first tensor that does not fit.
    """
    first, *others = facts.inputs
    for model in facts.inputs:
        yield from _dtypes(facts, model)
    for model in others:
        yield from _names(facts, first, model)
        yield from _shapes(facts, first, model)
    yield from _mixed(facts)


def _seen(facts: MergeFacts, model: MergeInput) -> Mapping[str, TensorHeader]:
    """Return the tensors by name; by that of their kind where layers are put together."""
    if facts.is_whole:
        return model.tensors
    return {_LAYER.sub(".N.", name): header for name, header in model.tensors.items()}


def _is_head(model: MergeInput, other: MergeInput, name: str) -> bool:
    """Return whether a tensor is a head that one of the models need not store."""
    return name in (model.head, other.head) and (model.is_tied or other.is_tied)


def _names(facts: MergeFacts, first: MergeInput, model: MergeInput) -> Iterator[Hit]:
    ours, theirs = _seen(facts, first), _seen(facts, model)
    missing = [name for name in ours if name not in theirs and not _is_head(first, model, name)]
    extra = [name for name in theirs if name not in ours and not _is_head(first, model, name)]
    for cause, names in (("missing", missing), ("extra", extra)):
        if names:
            yield _hit(
                model,
                cause,
                values={"num": len(names), "tensor": names[0], "other": first.name},
                evidence={"tensors": len(names), "first": names[:_SHOWN], "of": [len(theirs), len(ours)]},
            )


def _shapes(facts: MergeFacts, first: MergeInput, model: MergeInput) -> Iterator[Hit]:
    ours, theirs = _seen(facts, first), _seen(facts, model)
    vocabulary = {first.embeddings, first.head, model.embeddings, model.head}
    differing = [
        name
        for name in ours
        if name in theirs
        and ours[name].shape != theirs[name].shape
        and not (name in vocabulary and ours[name].shape[1:] == theirs[name].shape[1:])
    ]
    if differing:
        name = differing[0]
        yield _hit(
            model,
            "shape",
            values={
                "num": len(differing),
                "tensor": name,
                "other": first.name,
                "shape": list(theirs[name].shape),
                "other_shape": list(ours[name].shape),
            },
            evidence={
                "tensors": len(differing),
                "first": [[one, list(theirs[one].shape), list(ours[one].shape)] for one in differing[:_SHOWN]],
            },
        )


def _dtypes(facts: MergeFacts, model: MergeInput) -> Iterator[Hit]:
    quantized = [name for name, header in model.tensors.items() if header.dtype not in _FLOATS]
    if quantized:
        dtypes = sorted({model.tensors[name].dtype for name in quantized})
        yield _hit(
            model,
            "dtype",
            values={"num": len(quantized), "tensor": quantized[0], "dtypes": ", ".join(dtypes)},
            evidence={"tensors": len(quantized), "first": quantized[:_SHOWN], "dtypes": dtypes},
        )


def _mixed(facts: MergeFacts) -> Iterator[Hit]:
    """Tell of floats of different kinds: nobody is hurt, and the output has the dtype of the first."""
    kinds = {
        model.name: sorted({header.dtype for header in model.tensors.values() if header.dtype in _FLOATS})
        for model in facts.inputs
    }
    if len({tuple(dtypes) for dtypes in kinds.values()}) > 1:
        shown = ", ".join(f"{name}: {' '.join(dtypes)}" for name, dtypes in kinds.items())
        yield Hit(
            "rules_mrg.shape_mixed",
            because=Because(
                code="dtype", key="rules_mrg.shape_mixed_because", values={"kinds": shown}, evidence={"dtypes": kinds}
            ),
            severity="info",
            where=facts.where,
        )


def _hit(
    model: MergeInput,
    cause: str,
    *,
    values: dict[str, Any],
    evidence: dict[str, Any],
    severity: Severity | None = None,
) -> Hit:
    return Hit(
        f"rules_mrg.shape_{cause}",
        values={"model": model.name, **values},
        help=f"rules_mrg.shape_{'dtype' if cause == 'dtype' else 'any'}_help",
        because=Because(
            code=cause,
            key=f"rules_mrg.shape_{cause}_because",
            values={"model": model.name, **values},
            evidence=evidence,
        ),
        severity=severity,
        where=str(model.directory),
    )
