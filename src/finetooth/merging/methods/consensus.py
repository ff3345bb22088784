"""The sign consensus of TIES: of task vectors that pull an element both ways, the weaker side gives way.

Yadav et al., "TIES-Merging: Resolving Interference When Merging Models", 2023 (arXiv:2306.01708), section 3: elect,
then merge disjointly. With several models of weight w_m and task vector d_m:

    s = the sign of sum_m w_m d_m, plus where that is 0          (elect by sum; by count: of sum_m sign(w_m d_m))
    merged = sum of w_m d_m over the m whose w_m d_m has the sign s
    normalized: merged / sum of those w_m
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from finetooth.merging.methods.stacked import Table

SIGN = -(1 << 31)
"""The sign bit of fp32."""


def agreed_sum(
    deltas: Table,
    weights: Sequence[float],
    *,
    normalize: bool,
    by_count: bool = False,
    elect_unweighted: bool = False,
) -> Tensor:
    """Return the merged task vector; the task vectors are overwritten.

    Args:
        deltas: The task vectors, sparse where they are to be.
        weights: A weight for each.
        normalize: Whether to divide by the sum of the weights that agree.
        by_count: Whether each model has one vote, whatever its magnitude.
        elect_unweighted: Whether the weights have no say in the election.
    """
    if not elect_unweighted:
        _weigh(deltas.rows, weights)
    first_N, *others = deltas.whole_RN.sign().unbind() if by_count else deltas.rows
    elected_N = first_N.clone()
    for votes_N in others:
        elected_N.add_(votes_N)
    if elect_unweighted:
        _weigh(deltas.rows, weights)
    # Signs are flipped by their bit, so that what agrees is positive: masks of booleans are many times slower.
    sign_N = elected_N.view(torch.int32).bitwise_and_(SIGN)
    deltas.whole_RN.view(torch.int32).bitwise_xor_(sign_N)
    deltas.whole_RN.clamp_(min=0)
    agreeing = deltas.whole_RN.sign().unbind() if normalize else None
    merged_N, *others = deltas.rows
    for delta_N in others:
        merged_N.add_(delta_N)
    if agreeing is not None:
        _weigh(agreeing, weights)
        divisor_N, *others = agreeing
        for share_N in others:
            divisor_N.add_(share_N)
        if min(weights) < 0:
            divisor_N[divisor_N.abs() < _NOTHING] = 1.0
        else:
            divisor_N.clamp_(min=_NOTHING)  # where none agrees: 0 / _NOTHING is 0
        merged_N.div_(divisor_N)
    merged_N.view(torch.int32).bitwise_xor_(sign_N)
    return merged_N


_NOTHING = 1e-8
"""Weights whose sum is smaller are taken for none."""


def _weigh(rows: Sequence[Tensor], weights: Sequence[float]) -> None:
    for values_N, weight in zip(rows, weights, strict=True):
        if weight != 1.0:
            values_N.mul_(weight)
