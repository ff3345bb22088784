"""`Cut`: keeps exactly k of a tensor's values, those of the largest magnitude.

Ties: of the values equal to the k-th largest, those that come first in the tensor are kept, so that exactly k are.
Which of them a sort keeps is not defined, and differences of two bf16 models are full of ties.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Cut:
    """A boundary among magnitudes: what is above it, and the first `num_ties_kept` of what is equal to it, is kept."""

    value: float
    num_ties_kept: int
    num_ties: int
    """How many magnitudes of the tensor are equal to `value`."""

    def sieve(self) -> Callable[[Tensor], Tensor]:
        """Return a function that is given a tensor chunk by chunk and sets to zero what is not kept, in place."""
        at_or_above, above = _just_below(self.value), self.value
        # Of ties that are all kept, or are zeros, none has to be told from another.
        open_ties = 0 if self.num_ties_kept == self.num_ties or self.value <= 0 else self.num_ties_kept
        is_open = open_ties > 0
        threshold = above if open_ties == 0 and self.num_ties_kept == 0 else at_or_above

        def keep(values_N: Tensor) -> Tensor:
            nonlocal open_ties, is_open, threshold
            if not is_open:
                return _shrink(values_N, threshold)
            ties = _places_of(values_N, self.value)
            if len(ties) < open_ties:
                open_ties -= len(ties)
                return _shrink(values_N, at_or_above)
            first = ties[:open_ties]
            kept = values_N[first]
            _shrink(values_N, above)
            values_N[first] = kept
            is_open, threshold = False, above
            return values_N

        return keep


ALL, NONE = Cut(-1.0, 0, 0), Cut(float("inf"), 0, 0)
"""The cuts that keep everything and nothing."""


def _shrink(values_N: Tensor, threshold: float) -> Tensor:
    """Set to zero what is not beyond a threshold: one pass without a mask."""
    shrunk: Tensor = torch.ops.aten.hardshrink.out(values_N, threshold, out=values_N)
    return shrunk


def _just_below(value: float) -> float:
    return float(torch.nextafter(torch.tensor(value, dtype=torch.float32), torch.tensor(-1.0)))


def _places_of(values_N: Tensor, magnitude: float) -> Tensor:
    """Return where values of a magnitude stand, the first one first."""
    if values_N.is_cuda:
        return (values_N.abs() == magnitude).nonzero().flatten()
    return torch.from_numpy(np.flatnonzero(np.abs(values_N.numpy()) == magnitude))
