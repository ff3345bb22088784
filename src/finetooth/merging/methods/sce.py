"""`sce`: select, calculate, erase: weights of models by the energy of their task vectors, tensor by tensor."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from finetooth.merging.methods.brackets import Bracket, magnitudes
from finetooth.merging.methods.consensus import agreed_sum
from finetooth.merging.methods.cut import ALL, Cut
from finetooth.merging.methods.cuts import cuts
from finetooth.merging.methods.method import INT8_MASK, Parameter, Values, merge_method
from finetooth.merging.methods.stacked import BLOCK, SAMPLE_STRETCH, Chunk, Stacked
from finetooth.merging.methods.taskvectors import num_elements

SELECT_TOPK = Parameter(name="select_topk", default=1.0, low=0.0, high=1.0)


@merge_method("sce", parameters=(SELECT_TOPK, INT8_MASK), on_cpu=True)
def sce(tensor: Stacked, values: Values) -> Iterator[Tensor]:
    """Select what varies, weigh by energy, and erase the minority.

        select: of the n elements in which the d_m = x_m - base are not all equal, the int(select_topk * n) whose
            variance over them is largest; others are 0
        calculate: w_m = mean of d_m^2, divided by the sum over models
        erase: s = the sign of sum_m d_m, plus where that is 0
        merged = base + sum of w_m d_m, over sum of w_m, of the m whose d_m has the sign s

    Wan et al., "FuseChat: knowledge fusion of chat models", 2024 (arXiv:2408.07990).
    """
    cut = _cut(tensor, values["select_topk"]) if values["select_topk"] < 1 else ALL

    def selected() -> Iterator[Chunk]:
        sieve = cut.sieve()
        for chunk in tensor.chunks():
            if cut is not ALL:
                chosen_N = sieve(_variance(chunk)).sign_()
                chunk.deltas.whole_RN.mul_(chosen_N)
            yield chunk

    weights = _shares_of_energy(tensor.num_models, selected())
    for chunk in selected():
        yield chunk.add_base(agreed_sum(chunk.deltas, weights, normalize=True, elect_unweighted=True))


def _cut(tensor: Stacked, share: float) -> Cut:
    """Return the cut of variances that keeps a share of those elements that vary."""
    size, sample = num_elements(tensor), tensor.sample()
    bracket = None
    if sample is not None:
        # How many vary is known when all were seen; till then the sample tells that as well.
        kept = share * _num_varying(sample) / len(sample.scratch_N)
        bracket = Bracket.around(_variance(sample).view(-1, SAMPLE_STRETCH), kept, size)
    num_varying = 0
    for chunk in tensor.chunks():
        num_varying += _num_varying(chunk)
        if bracket is not None:
            variance_N = _variance(chunk)
            bracket.add(magnitudes(variance_N, variance_N.view(torch.int32)))
    count = max(int(share * num_varying), 1)
    if bracket is not None and (found := bracket.cut(count)) is not None:
        return found
    ((found,),) = cuts(lambda: ((_variance(chunk),) for chunk in tensor.chunks()), size, [[count]])
    return found


def _num_varying(chunk: Chunk) -> int:
    """Return the number of elements that are not the same in all models; to be asked before their task vectors are."""
    arrays = chunk.models.whole_RN.numpy()
    varies_N = arrays[0] != arrays[-1]
    for first, second in pairwise(arrays):
        varies_N |= first != second
    return int(np.count_nonzero(varies_N))


def _variance(chunk: Chunk) -> Tensor:
    """Return the variance over models of each element, and of none exactly 0: what is kept is told from what is not."""
    first_N, *others = chunk.deltas.rows
    mean_N = first_N.clone()
    for delta_N in others:
        mean_N.add_(delta_N)
    mean_N.mul_(1.0 / (1 + len(others)))
    total_N = first_N - mean_N
    total_N.mul_(total_N)
    for delta_N in others:
        torch.sub(delta_N, mean_N, out=chunk.scratch_N)
        total_N.add_(chunk.scratch_N.mul_(chunk.scratch_N))
    # The next float above, in the same order as before.
    total_N.view(torch.int32).add_(1)
    return total_N


def _shares_of_energy(num_models: int, stream: Iterator[Chunk]) -> list[float]:
    energies = [0.0] * num_models
    for chunk in stream:
        whole = chunk.scratch_N.numel() // BLOCK * BLOCK
        for index, delta_N in enumerate(chunk.deltas.rows):
            squares_N = torch.mul(delta_N, delta_N, out=chunk.scratch_N)
            for block in squares_N[:whole].view(-1, BLOCK).sum(1).tolist():
                energies[index] += block
            energies[index] += float(squares_N[whole:].sum())
    total = sum(energies)
    return [energy / total for energy in energies] if total > 0 else [1.0 / num_models] * num_models
