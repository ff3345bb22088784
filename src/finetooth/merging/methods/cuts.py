"""Where to cut so that exactly k of a tensor's values are kept: the k-th largest, by counting the bits of floats.

Floats that are not negative have the order of their bits read as integers. One pass counts the upper sixteen bits,
which finds the bin that holds the k-th largest; a second pass counts the lower sixteen within that bin, which finds the
value itself. Nothing is sorted, and nothing kept but counts.

Ties: of the values equal to the k-th largest, those that come first in the tensor are kept, so that exactly k are.
Which of them a sort keeps is not defined, and differences of two bf16 models are full of ties.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_SHIFT = 16
_LOW = (1 << _SHIFT) - 1
_MOST_WAITING = 1 << 18
"""Values that are kept to be counted together."""


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


def cuts(stream: Callable[[], Iterator[Tensor]], size: int, nums_kept: Sequence[Sequence[int]]) -> list[list[Cut]]:
    """Return the cuts that keep so many of the largest magnitudes of each row of a stream.

    Args:
        stream: Yields `[M, N]` in fp32, chunk by chunk; it is gone through twice.
        size: The number of elements of each row in all chunks.
        nums_kept: For each of the M rows, the numbers of values to keep: one cut each.
    """
    proper = [[num for num in nums if 0 < num < size] for nums in nums_kept]
    if not any(proper):
        return [[ALL if num >= size else NONE for num in nums] for nums in nums_kept]
    bits = _Bits()
    high = [torch.zeros(1 << (31 - _SHIFT), dtype=torch.int64) for _ in proper]
    for values_MN in stream():
        for counts, values_N, nums in zip(high, values_MN, proper, strict=True):
            if nums:
                counts += torch.bincount(bits.upper(values_N), minlength=len(counts))
    places = [[_place(counts, num) for num in nums] for counts, nums in zip(high, proper, strict=True)]
    low = [[_Counts() for _ in nums] for nums in proper]
    for values_MN in stream():
        for values_N, pairs, counted in zip(values_MN, places, low, strict=True):
            if pairs:
                upper_N, lower_N = bits.upper(values_N), values_N.view(torch.int32)
                for (bin_, _), table in zip(pairs, counted, strict=True):
                    table.add(_few(upper_N, lower_N, bin_))
    found: list[list[Cut]] = []
    for wanted, pairs, counted in zip(nums_kept, places, low, strict=True):
        exact = iter([_cut(bin_, rest, table.all()) for (bin_, rest), table in zip(pairs, counted, strict=True)])
        found.append([ALL if num >= size else next(exact) if num > 0 else NONE for num in wanted])
    return found


def _places_of(values_N: Tensor, magnitude: float) -> Tensor:
    """Return where values of a magnitude stand, the first one first."""
    if values_N.is_cuda:
        return (values_N.abs() == magnitude).nonzero().flatten()
    return torch.from_numpy(np.flatnonzero(np.abs(values_N.numpy()) == magnitude))


def _few(upper_N: Tensor, lower_N: Tensor, bin_: int) -> Tensor:
    """Return the lower sixteen bits of those magnitudes whose upper ones are these."""
    if upper_N.is_cuda:
        return lower_N[upper_N == bin_].bitwise_and_(_LOW)
    # numpy finds few among many several times faster than torch does.
    return torch.from_numpy(lower_N.numpy()[np.flatnonzero(upper_N.numpy() == bin_)] & _LOW)


class _Bits:
    """The upper bits of magnitudes, in memory that is used again."""

    def __init__(self) -> None:
        self._memory = torch.empty(0, dtype=torch.int32)

    def upper(self, values_N: Tensor) -> Tensor:
        """Return the upper sixteen bits of each magnitude, until they are asked for again."""
        if self._memory.numel() < values_N.numel():
            self._memory = torch.empty(values_N.numel(), dtype=torch.int32)
        upper_N = self._memory[: values_N.numel()]
        torch.bitwise_and(values_N.view(torch.int32), 0x7FFFFFFF, out=upper_N)
        return upper_N.bitwise_right_shift_(_SHIFT)


class _Counts:
    """How often each of the lower sixteen bits was met; they are put off to be counted many at a time."""

    def __init__(self) -> None:
        self._table = torch.zeros(1 << _SHIFT, dtype=torch.int64)
        self._waiting: list[Tensor] = []
        self._num_waiting = 0

    def add(self, lower: Tensor) -> None:
        """Count some more."""
        self._waiting.append(lower)
        self._num_waiting += len(lower)
        if self._num_waiting > _MOST_WAITING:
            self.all()

    def all(self) -> Tensor:
        """Return the table of all that were added."""
        if self._waiting:
            self._table += torch.bincount(torch.cat(self._waiting), minlength=len(self._table))
        self._waiting, self._num_waiting = [], 0
        return self._table


def _place(counts: Tensor, num: int) -> tuple[int, int]:
    """Return the place at which the `num`-th largest lies, and the how many-th largest of its place it is."""
    above = counts.flip(0).cumsum(0)
    place = int(torch.searchsorted(above, num))
    before = int(above[place - 1]) if place else 0
    return len(counts) - 1 - place, num - before


def _cut(bin_: int, rest: int, counts: Tensor) -> Cut:
    low, num_ties_kept = _place(counts, rest)
    value = torch.tensor((bin_ << _SHIFT) | low, dtype=torch.int32).view(torch.float32)
    return Cut(float(value), num_ties_kept, int(counts[low]))
