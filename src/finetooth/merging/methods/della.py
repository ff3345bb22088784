"""`della`, `della_linear`: task vectors whose elements are kept at random, the larger ones more likely."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from finetooth.merging.methods.draws import FINE, Draws, keep
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
from finetooth.merging.methods.stacked import Stacked
from finetooth.merging.methods.taskvectors import combine, num_elements, ratios, sums
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
    factors = None
    if values["rescale"]:
        masks = [] if num_elements(tensor) * tensor.num_models <= 8 * _MASK_BYTES else None
        factors = _factors(tensor, sieves, masks)
    for index, chunk in enumerate(tensor.rows()):
        for model, (delta_N, sieve) in enumerate(zip(chunk.deltas.rows, sieves, strict=True)):
            if masks is None:
                keep(delta_N, sieve.kept(delta_N.abs(), chunk.start))
            else:
                keep(delta_N, np.unpackbits(masks[index][model], count=delta_N.numel()).view(np.bool_))
        yield combine(chunk, values, consensus=consensus, scales=factors)


def _factors(tensor: Stacked, sieves: list[_Sieve], masks: list[np.ndarray] | None) -> list[float]:
    before: list[list[float]] = [[] for _ in sieves]
    after: list[list[float]] = [[] for _ in sieves]
    for chunk in tensor.rows():
        packed = []
        for index, (delta_N, sieve) in enumerate(zip(chunk.deltas.rows, sieves, strict=True)):
            magnitudes_N = delta_N.abs_()
            before[index] += sums(magnitudes_N, sieve.columns)
            kept_N = sieve.kept(magnitudes_N, chunk.start)
            packed.append(np.packbits(kept_N))
            after[index] += sums(keep(magnitudes_N, kept_N), sieve.columns)
        if masks is not None:
            masks.append(np.stack(packed))
    return ratios(before, after)


class _Sieve:
    """Chooses elements of whole rows at random by rank."""

    def __init__(self, draws: Draws, density: float, epsilon: float, columns: int) -> None:
        self.draws, self.density, self.columns = draws, density, columns
        self.epsilon = epsilon if columns > 1 else 0.0
        self.lowest = density - epsilon
        # It is the bits that take the time; 16 miss a probability by 1 / 65,536 at most.
        self.bits: Literal[16, 32] = 16 if FINE <= density <= 1 - FINE else 32
        self._sorted_RC = torch.empty(0, columns + 2, dtype=torch.int32)
        self._starts_R1 = torch.empty(0, 1, dtype=torch.int32)

    def kept(self, magnitudes_N: Tensor, start: int) -> np.ndarray:
        """Return whether each is kept, of whole rows that begin with the element `start`."""
        count = magnitudes_N.numel()
        if self.epsilon == 0.0:
            return self.draws.kept(start, count, self.density)
        drawn_N = self.draws.integers(start, count, self.bits)
        # Kept is who has the rank `least` or a higher one: u < p_r, solved for r.
        slope = (self.columns - 1) / (2 * self.epsilon)
        least_N = drawn_N.to(torch.float32).mul_(slope / 2**self.bits).add_((0.5 - self.lowest) * slope + 1)
        coin_N = drawn_N.bitwise_and_(1).to(torch.int32)
        place_N = least_N.clamp_(0, self.columns).to(torch.int32).add_(coin_N)
        bits_N = magnitudes_N.view(torch.int32)
        sorted_RC, starts_R1 = self._sorted(bits_N)
        place_N.view(-1, self.columns).add_(starts_R1)
        least_bits_N = sorted_RC.view(-1).index_select(0, place_N)
        # By the toss of a coin either not below the one, or above the other: equal magnitudes get their mean rank.
        kept_N: np.ndarray = least_bits_N.sub_(coin_N).numpy() < bits_N.numpy()
        return kept_N

    def _sorted(self, bits_N: Tensor) -> tuple[Tensor, Tensor]:
        """Return the bits of each row's magnitudes in order, which is that of the magnitudes, and where rows begin.

        A place more at either end makes `least - 1` and `least` places to look at: too low for any to fail, and too
        high for any to pass.
        """
        num_rows = bits_N.numel() // self.columns
        if len(self._sorted_RC) < num_rows:
            self._sorted_RC = torch.full((num_rows, self.columns + 2), -1, dtype=torch.int32)
            self._sorted_RC[:, -1] = 0x7F800000
            self._starts_R1 = torch.arange(num_rows, dtype=torch.int32)[:, None] * (self.columns + 2)
        sorted_RC = self._sorted_RC[:num_rows]
        inner_RC = sorted_RC[:, 1:-1]
        inner_RC.copy_(bits_N.view(num_rows, self.columns))
        inner_RC.numpy().sort(axis=1)
        return sorted_RC, self._starts_R1[:num_rows]
