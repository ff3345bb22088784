"""`nearswap`: the other model's values where they are near the base's."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from finetooth.merging.methods.method import Parameter, Values, merge_method
from finetooth.merging.methods.stacked import Stacked

_LEAST = 1e-38
"""What stands for a distance of 0: fp32 can still divide by it."""


@merge_method("nearswap", parameters=(Parameter(name="t", low=0.0),), base="endpoint", num_models=(1, 1))
def nearswap(tensor: Stacked, values: Values) -> Iterator[Tensor]:
    """Take as much of the other model as it is near to the base.

        w = t / |base - x|, at most 1;   merged = w x + (1 - w) base

    The method of the model QuartetAnemoi-70B-t0.0001 (alchemonaut, 2024).
    """
    t = values["t"]
    for chunk in tensor.chunks():
        base_N, other_N = chunk.models.rows
        distance_N = torch.sub(base_N, other_N, out=chunk.scratch_N).abs_().clamp_(min=_LEAST)
        share_N = distance_N.reciprocal_().mul_(t).clamp_(0, 1)
        other_N.mul_(share_N)
        yield base_N.mul_(share_N.neg_().add_(1)).add_(other_N)
