"""What methods on task vectors share: sparse task vectors d_m with weights w_m are summed, and added to the base.

    base + lambda * sum_m w_m d_m,   divided by sum_m w_m where `normalize` is set

with the sum over all models (Ilharco et al., "Editing Models with Task Arithmetic", 2022, arXiv:2212.04089), or over
those that agree on a sign (`consensus`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from finetooth.merging.methods.consensus import agreed_sum
from finetooth.merging.methods.cut import NONE, Cut
from finetooth.merging.methods.cuts import cuts
from finetooth.merging.methods.method import Values
from finetooth.merging.methods.stacked import BLOCK, SAMPLE_STRETCH, Chunk, Stacked, weighted_sum


def combine(chunk: Chunk, values: Values, *, consensus: bool, scales: Sequence[float] | None = None) -> Tensor:
    """Return the base plus the weighted sum of the chunk's task vectors, as `weight`, `normalize` and `lambda` say.

    Args:
        chunk: The chunk.
        values: The parameters.
        consensus: Whether signs are agreed on.
        scales: What each task vector is multiplied by first, which has no part in what weights are normalized by.
    """
    weights, factor, normalize = values["weight"], values["lambda"], values["normalize"]
    if scales is None:
        scales = [1.0] * len(weights)
    if consensus:
        by_count = values.get("consensus_method") == "count"
        for delta_N, scale in zip(chunk.deltas.rows, scales, strict=True):
            if scale != 1.0:
                delta_N.mul_(scale)
        merged_N = agreed_sum(chunk.deltas, weights, normalize=normalize, by_count=by_count)
    else:
        weights = shares(weights) if normalize else weights
        products = [weight * scale for weight, scale in zip(weights, scales, strict=True)]
        merged_N = weighted_sum(chunk.deltas.rows, products)
    return chunk.add_base(merged_N, factor)


def shares(weights: list[float]) -> list[float]:
    """Return weights that sum to 1; as they are where they cancel out."""
    total = sum(weights)
    return [weight / total for weight in weights] if abs(total) > 1e-8 else weights


def num_elements(tensor: Stacked) -> int:
    """Return the number of elements of the tensor."""
    count = 1
    for size in tensor.shape:
        count *= size
    return count


def merge_between(
    tensor: Stacked, values: Values, ranks: Sequence[tuple[int, int]], *, consensus: bool
) -> Iterator[Tensor]:
    """Merge what each task vector has between two ranks of magnitude.

    Args:
        tensor: The tensor.
        values: `weight`, `normalize`, `lambda`, and `rescale`: whether what is kept is scaled so that its magnitudes
            have the sum that they had before.
        ranks: For each model, how many of the largest magnitudes are dropped, and the rank up to which the next are
            kept.
        consensus: Whether signs are agreed on.
    """
    sample = tensor.sample()
    found = cuts(
        lambda: (chunk.deltas.rows for chunk in tensor.chunks()),
        num_elements(tensor),
        ranks,
        None if sample is None else sample.deltas.whole_RN.view(tensor.num_models, -1, SAMPLE_STRETCH),
    )
    factors = _factors(tensor, found) if values["rescale"] else None
    sieves = [_band(*pair) for pair in found]
    for chunk in tensor.chunks():
        for delta_N, sieve in zip(chunk.deltas.rows, sieves, strict=True):
            sieve(delta_N, chunk.scratch_N)
        yield combine(chunk, values, consensus=consensus, scales=factors)


def _band(dropped: Cut, kept: Cut) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the sieve, in place and with memory to work in, of what is kept by the second cut and not by the first."""
    outer = kept.sieve()
    if dropped is NONE:
        return lambda values_N, scratch_N: outer(values_N)
    inner = dropped.sieve()

    def between(values_N: Tensor, scratch_N: Tensor) -> Tensor:
        largest_N = inner(scratch_N.copy_(values_N))
        # What both keep is the same number twice, and its difference is 0.
        return outer(values_N).sub_(largest_N)

    return between


def _factors(tensor: Stacked, found: Sequence[Sequence[Cut]]) -> list[float]:
    """Return for each model the sum of magnitudes before, over that of what is kept."""
    sieves = [_band(*pair) for pair in found]
    before: list[list[float]] = [[] for _ in found]
    after: list[list[float]] = [[] for _ in found]
    for chunk in tensor.chunks():
        for index, (delta_N, sieve) in enumerate(zip(chunk.deltas.rows, sieves, strict=True)):
            before[index] += sums(torch.abs(delta_N, out=chunk.scratch_N))
            after[index] += sums(sieve(delta_N, chunk.scratch_N).abs_())
    return ratios(before, after)


def sums(values_N: Tensor, block_size: int = BLOCK) -> list[float]:
    """Return the sum of each block of values, which do not depend on how a tensor was cut."""
    whole = values_N.numel() // block_size * block_size
    found: list[float] = values_N[:whole].view(-1, block_size).sum(1).tolist()
    return found if whole == values_N.numel() else [*found, float(values_N[whole:].sum())]


def ratios(wholes: Sequence[Sequence[float]], parts: Sequence[Sequence[float]]) -> list[float]:
    """Return for each model the sum of all over the sum of a part of it, or 1 where the part is nothing."""
    # fsum rounds once, so that the order has no say.
    pairs = ((math.fsum(whole), math.fsum(part)) for whole, part in zip(wholes, parts, strict=True))
    return [whole / part if part > 0 else 1.0 for whole, part in pairs]
