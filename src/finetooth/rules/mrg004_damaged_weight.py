"""MRG004: weights that are no numbers, or matrices that hold one number everywhere."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import repeat
from operator import eq

from finetooth.rules.merge_facts import MergeFacts, MergeInput
from finetooth.rules.rule import Because, Hit, merge_rule

_SHOWN = 5


@merge_rule("MRG004", "damaged-weight", severity="error")
def damaged_weight(facts: MergeFacts) -> Iterator[Hit]:
    """Find weights of a merge that are no numbers, and matrices of one number.

    ## What it does
    Reads up to 2,048 elements of every tensor of every model, in eight stretches from its beginning to its end; smaller
    tensors are read whole. The causes:

    - `nan`, `infinite`: an element is no number, or has no bound. An error.
    - `constant`: all elements of a matrix that were read are the same, mostly 0. A warning: layers that were added and
      never trained look so on purpose (LLaMA Pro). Vectors are left alone, for biases of 0 and norms of 1 are common.

    It is a sample: what it does not find may still be there. While merging every element is looked at, and the merge
    stops at the first tensor that holds one that is no number.

    ## Why it is bad
    One NaN in one model makes a NaN of that element in the merge, and of every token that passes through it. A
    constant matrix is the mark of a file that was not written to its end, or of weights that were initialized and
    never loaded.

    ## Example
    A run in float16 whose loss became NaN before it was saved; a `lm_head` of zeros.

    ## Fix
    Get the model anew, or take a checkpoint from before. `--force` merges such values like any other.

    ## Fix safety
    None is automatic.

    ## Sources
    Judgement. LLaMA Pro (arXiv 2401.02415) for layers of zeros.
    """
    for model in facts.inputs:
        yield from _hits(model)


@dataclass(slots=True)
class _Found:
    """The tensors of a model that have one fault."""

    names: list[str] = field(default_factory=list)
    num_bad: int = 0
    num_sampled: int = 0
    num_elements: int = 0
    value: float = 0.0


def _hits(model: MergeInput) -> Iterator[Hit]:
    found: dict[str, _Found] = {}
    for name, header in model.tensors.items():
        sample = model.sample(name)
        if sample is None or not sample.values:
            continue
        values = sample.values
        cause, num_bad = None, len(values)
        if not math.isfinite(sum(values)):
            # The sum of finite numbers of float32 is finite in float64.
            num_nan = sum(map(math.isnan, values))
            cause, num_bad = ("nan", num_nan) if num_nan else ("infinite", sum(map(math.isinf, values)))
        elif len(header.shape) >= 2 and len(values) > 1 and all(map(eq, values, repeat(values[0]))):
            cause = "constant"
        if cause is None:
            continue
        one = found.setdefault(cause, _Found(value=values[0]))
        one.names.append(name)
        one.num_bad += num_bad
        one.num_sampled += len(values)
        one.num_elements += sample.num_elements
    for cause, one in found.items():
        values_told = {
            "model": model.name,
            "num": len(one.names),
            "tensor": one.names[0],
            "bad": f"{one.num_bad:,}",
            "sampled": f"{one.num_sampled:,}",
            "elements": f"{one.num_elements:,}",
            "value": f"{one.value:g}",
        }
        yield Hit(
            "rules_mrg.damaged_constant" if cause == "constant" else "rules_mrg.damaged",
            values=values_told,
            help="rules_mrg.damaged_help",
            because=Because(
                code=cause,
                key=f"rules_mrg.damaged_{cause}_because",
                values=values_told,
                evidence={
                    "tensors": len(one.names),
                    "first": one.names[:_SHOWN],
                    "bad_elements": one.num_bad,
                    "elements_read": one.num_sampled,
                    "elements": one.num_elements,
                },
            ),
            severity="warning" if cause == "constant" else None,
            where=model.tensors[one.names[0]].file,
        )
