"""`WAYS`: how adapters are combined, as peft's `add_weighted_adapter` defines it (peft 0.21, `merge_utils.py`).

    linear            sum of weighted factors
    cat               factors side by side: exact, the rank is the sum of ranks
    svd               sum of weighted changes, cut to a rank
    ties              the largest of each, where signs agree (Yadav et al., 2023, arXiv:2306.01708)
    dare_linear       a random share of each, rescaled (Yu et al., 2023, arXiv:2311.03099)
    dare_ties         the same, where signs agree
    magnitude_prune   the largest of each
    ..._svd           the same done to the changes B @ A, and cut to a rank

All but `cat`, `svd` and `..._svd` work on A and B apart, each weighted by the root of its weight times its scale: the
product then holds terms of one adapter's B with another's A, and is not the sum of their changes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from finetooth.merging.methods.draws import Draws

_AT_ONCE = 1 << 18
"""Elements that random numbers are drawn for at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruning:
    """What a way is told about its tensors beside their weights."""

    density: float
    """The share that is kept, 0 to 1."""
    counts_signs: bool
    """Whether the majority is that of signs ("frequency"), not of values ("total")."""
    draws: Sequence[Draws]
    """Of each adapter."""


Blend = Callable[[list[Tensor], Sequence[float], Pruning], Tensor]
"""Makes one tensor of several of one shape, in fp32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A way of combining adapters."""

    name: str
    blend: Blend | None
    """`None`: factors are put side by side."""
    cuts: bool = False
    """Whether changes are blended and cut to a rank, in place of factors."""
    needs_density: bool = False
    elects: bool = False
    """Whether there is a majority of signs."""
    is_random: bool = False


def linear(tensors: list[Tensor], weights: Sequence[float], pruning: Pruning) -> Tensor:
    """Return the weighted sum."""
    total = tensors[0] * weights[0]
    for tensor, weight in zip(tensors[1:], weights[1:], strict=True):
        total.add_(tensor * weight)
    return total


def magnitude_prune(tensors: list[Tensor], weights: Sequence[float], pruning: Pruning) -> Tensor:
    """Return the weighted sum of the largest of each."""
    return linear([_largest(tensor, pruning.density) for tensor in tensors], weights, pruning)


def ties(tensors: list[Tensor], weights: Sequence[float], pruning: Pruning) -> Tensor:
    """Return the mean of the largest of each whose sign is the majority's."""
    return _agreeing([_largest(tensor, pruning.density) for tensor in tensors], weights, pruning)


def dare_linear(tensors: list[Tensor], weights: Sequence[float], pruning: Pruning) -> Tensor:
    """Return the weighted sum of a random share of each."""
    return linear(_random(tensors, pruning), weights, pruning)


def dare_ties(tensors: list[Tensor], weights: Sequence[float], pruning: Pruning) -> Tensor:
    """Return the mean of a random share of each whose sign is the majority's."""
    return _agreeing(_random(tensors, pruning), weights, pruning)


def _largest(tensor: Tensor, density: float) -> Tensor:
    """Return a tensor with all but its largest elements zero; of those equal to the last, the first ones stay."""
    num_kept = int(density * tensor.numel())
    if num_kept >= tensor.numel():
        return tensor
    if num_kept == 0:
        return torch.zeros_like(tensor)
    size_N = tensor.abs().flatten()
    least = size_N.kthvalue(len(size_N) - num_kept + 1).values
    kept_N = size_N > least
    equal = (size_N == least).nonzero().flatten()
    kept_N[equal[: num_kept - int(kept_N.count_nonzero())]] = True
    return tensor * kept_N.view_as(tensor)


def _random(tensors: list[Tensor], pruning: Pruning) -> list[Tensor]:
    """Return tensors with a random share of each, divided by that share."""
    if pruning.density >= 1:
        return tensors
    found = []
    for tensor, draws in zip(tensors, pruning.draws, strict=True):
        kept_N = tensor.flatten().clone()
        for start in range(0, len(kept_N), _AT_ONCE):
            draws.keep(kept_N[start : start + _AT_ONCE], start, pruning.density)
        found.append(kept_N.div_(pruning.density).view_as(tensor))
    return found


def _agreeing(tensors: list[Tensor], weights: Sequence[float], pruning: Pruning) -> Tensor:
    """Return the weighted mean, element by element, of those whose sign is the majority's.

    As in peft, and unlike the paper, the majority is counted before weighting; where it is even, it is positive.
    """
    votes = torch.zeros_like(tensors[0])
    for tensor in tensors:
        votes.add_(tensor.sign() if pruning.counts_signs else tensor)
    majority = torch.where(votes >= 0, 1.0, -1.0)
    total, count = torch.zeros_like(votes), torch.zeros_like(votes)
    for tensor, weight in zip(tensors, weights, strict=True):
        agrees = tensor.sign() == majority
        total.add_(tensor * weight * agrees)
        count.add_(agrees)
    return total.div_(count.clamp_(min=1))


def _ways() -> list[Way]:
    pruned = (
        Way(name="ties", blend=ties, needs_density=True, elects=True),
        Way(name="dare_linear", blend=dare_linear, needs_density=True, is_random=True),
        Way(name="dare_ties", blend=dare_ties, needs_density=True, elects=True, is_random=True),
        Way(name="magnitude_prune", blend=magnitude_prune, needs_density=True),
    )
    cut = [
        Way(
            name=f"{way.name}_svd",
            blend=way.blend,
            cuts=True,
            needs_density=True,
            elects=way.elects,
            is_random=way.is_random,
        )
        for way in pruned
    ]
    plain = [Way(name="linear", blend=linear), Way(name="cat", blend=None), Way(name="svd", blend=linear, cuts=True)]
    return [*plain, *pruned, *cut]


WAYS = {way.name: way for way in _ways()}
"""By peft's `combination_type`."""
