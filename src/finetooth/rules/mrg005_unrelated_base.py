"""MRG005: the model that is subtracted is not the one that the others were made from."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from operator import mul, sub

from finetooth.rules.merge_facts import MergeFacts, MergeInput, Sample
from finetooth.rules.rule import Because, Hit, NotRun, merge_rule

_MATRICES = 64
"""Matrices that are looked at, from the first to the last."""
_FAR = 0.7
"""A relative change above which a model did not come from its base by fine-tuning. Independent matrices of the same
size differ by the square root of 2."""
_UNLIKE = 0.1
"""A cosine below which two matrices have nothing in common; of independent ones of 2,048 elements it is 0 +- 0.022."""


@merge_rule("MRG005", "unrelated-base", severity="error")
def unrelated_base(facts: MergeFacts) -> Iterator[Hit | NotRun]:
    """Find models that were not made from the base that is subtracted from them.

    ## What it does
    For methods that subtract a base, reads up to 2,048 elements of up to 64 matrices at the same places in base and
    model, and takes the relative change |model - base| / |base| and the cosine of both, each as the median over the
    matrices. The causes:

    - `unrelated`: the change is 0.7 or more and the cosine below 0.1: nothing in common. An error.
    - `far`: the change is 0.7 or more, and the cosine is not near 0: training that went very far, or weights that were
      scaled. A warning.
    - `same-as-base`: no element of any tensor that was read differs. A warning: there is nothing to merge.

    ## Why it is bad
    A task vector is what training added. Of a model with another origin it is the whole other model less the base;
    scaled, thinned out and added, it is noise as large as the weights.

    ## Example
    `base_model: meta-llama/Llama-2-7b-hf` under fine-tunes of Mistral, which has other weights of the same shapes; the
    base of another seed; a fine-tune whose adapter was never merged, so that it is the base itself.

    ## Fix
    Name the model that was fine-tuned: `base_model_name_or_path` of the adapter, or the model card, tells it.

    ## Fix safety
    None is automatic.

    ## Sources
    Ilharco et al., Editing Models with Task Arithmetic (arXiv 2212.04089), on what a task vector is. The limits are
    judgement: a fine-tune changes matrices by some hundredths, long further training by some tenths.
    """
    base = facts.base
    if base is None:
        return
    sampled_base = cache(lambda name: _sampled(base, name))
    for model in facts.models:
        measured = _measure(base, sampled_base, model)
        if not measured.changes:
            yield NotRun("rules_mrg.base_nothing_in_common", {"model": model.name, "base": base.name})
            continue
        cause = _cause(base, model, measured)
        if cause is not None:
            yield _hit(base, model, cause, measured)


@dataclass(slots=True)
class _Measured:
    """Changes and cosines of some matrices."""

    changes: list[float] = field(default_factory=list)
    cosines: list[float] = field(default_factory=list)
    num_sampled: int = 0
    num_elements: int = 0

    @property
    def change(self) -> float:
        return statistics.median(self.changes)

    @property
    def cosine(self) -> float:
        return statistics.median(self.cosines)


def _sampled(model: MergeInput, name: str) -> tuple[Sample, float] | None:
    """Return some elements of a tensor and their length."""
    sample = model.sample(name)
    return None if sample is None else (sample, _norm(sample.values))


def _measure(
    base: MergeInput, sampled_base: Callable[[str], tuple[Sample, float] | None], model: MergeInput
) -> _Measured:
    names = [
        name
        for name, header in base.tensors.items()
        if len(header.shape) == 2 and name in model.tensors and model.tensors[name].shape == header.shape
    ]
    measured = _Measured()
    for name in _spread(names):
        ours, theirs = sampled_base(name), _sampled(model, name)
        if ours is None or theirs is None:
            continue
        (before, size), (after, size_after) = ours, theirs
        if not math.isfinite(size) or size == 0 or not math.isfinite(size_after):
            continue  # the matter of MRG004
        measured.changes.append(_norm(list(map(sub, after.values, before.values))) / size)
        measured.cosines.append(sum(map(mul, before.values, after.values)) / (size * (size_after or 1.0)))
        measured.num_sampled += len(before.values)
        measured.num_elements += before.num_elements
    return measured


def _cause(base: MergeInput, model: MergeInput, measured: _Measured) -> str | None:
    if measured.change >= _FAR:
        return "unrelated" if abs(measured.cosine) < _UNLIKE else "far"
    return "same-as-base" if not any(measured.changes) and _is_same(base, model) else None


def _is_same(base: MergeInput, model: MergeInput) -> bool:
    """Return whether no tensor differs in what is read of it: some rows of embeddings may be all that was trained."""
    for name in base.tensors.keys() & model.tensors.keys():
        ours, theirs = base.sample(name), model.sample(name)
        if ours is not None and theirs is not None and ours.values != theirs.values:
            return False
    return base.tensors.keys() == model.tensors.keys()


def _spread(names: Sequence[str]) -> list[str]:
    step = max(len(names) / _MATRICES, 1.0)
    return [names[int(index * step)] for index in range(min(len(names), _MATRICES))]


def _norm(values: Sequence[float]) -> float:
    return math.sqrt(sum(map(mul, values, values)))


def _hit(base: MergeInput, model: MergeInput, cause: str, measured: _Measured) -> Hit:
    values = {
        "model": model.name,
        "base": base.name,
        "change": f"{measured.change:.2f}",
        "cosine": f"{measured.cosine:.2f}",
        "matrices": len(measured.changes),
        "sampled": f"{measured.num_sampled:,}",
        "elements": f"{measured.num_elements:,}",
    }
    return Hit(
        "rules_mrg.base_same" if cause == "same-as-base" else "rules_mrg.base_unrelated",
        values=values,
        help="rules_mrg.base_same_help" if cause == "same-as-base" else "rules_mrg.base_unrelated_help",
        because=Because(
            code=cause,
            key=f"rules_mrg.base_{cause.replace('-', '_')}_because",
            values=values,
            evidence={
                "relative_change": round(measured.change, 4),
                "cosine": round(measured.cosine, 4),
                "matrices": len(measured.changes),
                "elements_read": measured.num_sampled,
                "elements": measured.num_elements,
            },
        ),
        severity=None if cause == "unrelated" else "warning",
        where=str(model.directory),
    )
