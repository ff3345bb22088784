"""`task_arithmetic`: the sum of task vectors on top of the base."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from finetooth.merging.methods.method import INT8_MASK, LAMBDA, NORMALIZE, WEIGHT, Values, merge_method
from finetooth.merging.methods.stacked import Stacked
from finetooth.merging.methods.taskvectors import combine


@merge_method("task_arithmetic", parameters=(WEIGHT, NORMALIZE, LAMBDA, INT8_MASK))
def task_arithmetic(tensor: Stacked, values: Values) -> Iterator[Tensor]:
    """Add task vectors to the base.

        base + lambda * sum_m w_m (x_m - base),   the sum divided by sum_m w_m where `normalize` is set

    Ilharco et al., "Editing models with task arithmetic", 2022 (arXiv:2212.04089).
    """
    for chunk in tensor.chunks(shows_nan=all(values["weight"])):
        yield combine(chunk, values, consensus=False)
