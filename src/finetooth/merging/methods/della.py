"""`della`, `della_linear`: task vectors whose elements are kept at random, the larger ones more likely."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from finetooth.merging.methods.draws import HALF, Draws
from finetooth.merging.methods.method import (
    DENSITY,
    INT8_MASK,
    LAMBDA,
    NORMALIZE,
    RESCALE,
    WEIGHT,
    Parameter,
    Values,
    merge_method,
)
from finetooth.merging.methods.stacked import Chunk, Stacked
from finetooth.merging.methods.taskvectors import combine, magnitude, num_elements
from finetooth.messages import say

EPSILON = Parameter(name="epsilon", default=0.15, per_model=True, low=0.0, high=1.0)
_MASK_BYTES = 96 << 20
"""Memory for the masks of one tensor, a bit for each element; a tensor that needs more has them drawn a second time."""


def _check(values: Values) -> str | None:
    for density, epsilon in zip(values["density"], values["epsilon"], strict=True):
        if epsilon > 0 and not 0 <= density - epsilon <= density + epsilon <= 1:
            return say("merging.bad_epsilon", density=f"{density:g}", epsilon=f"{epsilon:g}")
    return None


@merge_method(
    "della",
    parameters=(WEIGHT, DENSITY, EPSILON, Parameter(name="normalize", default=True), LAMBDA, RESCALE, INT8_MASK),
    random=True,
    check=_check,
    on_cpu=True,
)
def della(tensor: Stacked, values: Values) -> Iterator[Tensor]:
    """Drop at random by rank and rescale, and agree on signs as `ties` does.

        in each row of C elements of x_m - base, the element with rank r (0: the smallest magnitude) is kept with
        probability
            p_r = density - epsilon + 2 epsilon r / (C - 1)
        what is kept is multiplied by (sum of all magnitudes) / (sum of those kept), over the whole tensor

    A tensor with one dimension is one row. Equal magnitudes share the mean of their ranks. The paper divides by p_r
    instead; the one factor for the tensor is what mergekit does, so that large elements gain and small ones lose.

    Deep et al., "DELLA-Merging: reducing interference in model merging through magnitude-based sampling", 2024
    (arXiv:2406.11617).
    """
    yield from _della(tensor, values, consensus=True)


@merge_method(
    "della_linear",
    parameters=(WEIGHT, DENSITY, EPSILON, NORMALIZE, LAMBDA, RESCALE, INT8_MASK),
    random=True,
    check=_check,
    on_cpu=True,
)
def della_linear(tensor: Stacked, values: Values) -> Iterator[Tensor]:
    """Drop at random by rank and rescale as `della` does, and add up.

    Deep et al., 2024 (arXiv:2406.11617).
    """
    yield from _della(tensor, values, consensus=False)


def _della(tensor: Stacked, values: Values, *, consensus: bool) -> Iterator[Tensor]:
    sieves = [
        _Sieve(tensor.draws(index), density, epsilon, tensor.shape[-1])
        for index, (density, epsilon) in enumerate(zip(values["density"], values["epsilon"], strict=True))
    ]
    masks: list[np.ndarray] | None = None
    if values["rescale"]:
        masks = [] if num_elements(tensor) * tensor.num_models <= 8 * _MASK_BYTES else None
        factors = _factors(tensor, sieves, masks)
    for index, chunk in enumerate(tensor.rows()):
        for model, (delta_N, sieve) in enumerate(zip(chunk.deltas_MN, sieves, strict=True)):
            if masks is None:
                sieve(delta_N, chunk)
            else:
                bits_N = torch.from_numpy(np.unpackbits(masks[index][model], count=delta_N.numel()))
                delta_N.mul_(bits_N.to(torch.float32))
            if values["rescale"]:
                delta_N.mul_(factors[model])
        yield combine(chunk, values, consensus=consensus)


def _factors(tensor: Stacked, sieves: list[_Sieve], masks: list[np.ndarray] | None) -> list[float]:
    before, after = [0.0] * len(sieves), [0.0] * len(sieves)
    for chunk in tensor.rows():
        packed = []
        for index, (delta_N, sieve) in enumerate(zip(chunk.deltas_MN, sieves, strict=True)):
            before[index] += magnitude(delta_N, tensor.shape[-1])
            kept_N = sieve(delta_N, chunk)
            after[index] += magnitude(delta_N, tensor.shape[-1])
            packed.append(np.packbits(kept_N.numpy().view(np.bool_)))
        if masks is not None:
            masks.append(np.stack(packed))
    return [whole / kept if kept > 0 else 1.0 for whole, kept in zip(before, after, strict=True)]


class _Sieve:
    """Keeps elements of whole rows at random by rank, in place."""

    def __init__(self, draws: Draws, density: float, epsilon: float, columns: int) -> None:
        self.draws, self.density, self.columns = draws, density, columns
        self.epsilon = epsilon if columns > 1 else 0.0
        self.lowest = density - epsilon
        self._sorted_RC = torch.empty(0, columns + 2, dtype=torch.int32)
        self._place_N = torch.empty(0, dtype=torch.int64)

    def __call__(self, delta_N: Tensor, chunk: Chunk) -> Tensor:
        """Set to zero what is not kept; return what is kept as 1 and what is not as 0, in uint8."""
        count = delta_N.numel()
        bits_N = delta_N.view(torch.int32)
        if self.epsilon == 0.0:
            ones_N = torch.ones(count)
            self.draws.keep(ones_N, chunk.start, self.density)
            delta_N.mul_(ones_N)
            return ones_N.to(torch.uint8)
        drawn_N = self.draws.integers(chunk.start, count)
        # Kept is who has the rank `least` or a higher one: u < p_r, solved for r.
        slope = (self.columns - 1) / (2 * self.epsilon)
        least_N = drawn_N.to(torch.float32).mul_(slope / (2 * HALF)).add_((0.5 - self.lowest) * slope + 1)
        coin_N = drawn_N.bitwise_and_(1)
        # By way of 32 bits: from fp32 to 64 there is no fast way.
        place_N = self._place(count).copy_(least_N.clamp_(0, self.columns).to(torch.int32).add_(coin_N))
        magnitudes_N = bits_N.bitwise_and(0x7FFFFFFF)
        sorted_RC = self._sorted(magnitudes_N)
        least_bits_N = sorted_RC.gather(1, place_N.view(-1, self.columns)).flatten()
        # By the toss of a coin either not below the one, or above the other: equal magnitudes get their mean rank.
        kept_N = magnitudes_N.sub_(least_bits_N).add_(coin_N).sub_(1).bitwise_right_shift_(31).bitwise_not_()
        bits_N.bitwise_and_(kept_N)
        return kept_N.bitwise_and_(1).to(torch.uint8)

    def _sorted(self, magnitudes_N: Tensor) -> Tensor:
        """Return the bits of each row's magnitudes in order, which is the order of the magnitudes.

        A place more at either end makes `least - 1` and `least` places to look at: too low for any to fail, and too
        high for any to pass.
        """
        num_rows = magnitudes_N.numel() // self.columns
        if len(self._sorted_RC) < num_rows:
            self._sorted_RC = torch.full((num_rows, self.columns + 2), -1, dtype=torch.int32)
            self._sorted_RC[:, -1] = 0x7F800000
        sorted_RC = self._sorted_RC[:num_rows]
        inner_RC = sorted_RC[:, 1:-1]
        inner_RC.copy_(magnitudes_N.view(num_rows, self.columns))
        inner_RC.numpy().sort(axis=1)
        return sorted_RC

    def _place(self, count: int) -> Tensor:
        if len(self._place_N) < count:
            self._place_N = torch.empty(count, dtype=torch.int64)
        return self._place_N[:count]
