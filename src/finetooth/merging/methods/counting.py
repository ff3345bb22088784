"""The k-th largest by counting the bits of floats, in two passes and bounded memory, whatever the values are.

Floats that are not negative have the order of their bits read as integers. One pass counts the upper sixteen bits,
which finds the bin that holds the k-th largest; a second pass counts the lower sixteen within that bin, which finds the
value itself. Nothing is sorted, and nothing kept but counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from finetooth.merging.methods.cut import Cut

_SHIFT = 16
_LOW = (1 << _SHIFT) - 1
_MOST_WAITING = 1 << 18
"""Values that are kept to be counted together."""


def counted_cuts(
    stream: Callable[[], Iterator[Sequence[Tensor]]], nums_kept: Sequence[Sequence[int]]
) -> list[list[Cut]]:
    """Return the cuts that keep so many of the largest magnitudes of each row of a stream.

    Args:
        stream: Yields M rows of N values in fp32, chunk by chunk; it is gone through twice.
        nums_kept: For each of the M rows, the numbers of values to keep, fewer than there are: one cut each.
    """
    upper = [_Counts(1 << (31 - _SHIFT)) for _ in nums_kept]
    for rows in stream():
        for counts, values_N, nums in zip(upper, rows, nums_kept, strict=True):
            if nums:
                counts.add(_upper(values_N))
    places = [[_place(counts.all(), num) for num in nums] for counts, nums in zip(upper, nums_kept, strict=True)]
    lower = [[_Counts(1 << _SHIFT) for _ in nums] for nums in nums_kept]
    for rows in stream():
        for values_N, pairs, counted in zip(rows, places, lower, strict=True):
            if pairs:
                upper_N, lower_N = _upper(values_N), values_N.view(torch.int32)
                for (bin_, _), table in zip(pairs, counted, strict=True):
                    table.add(_few(upper_N, lower_N, bin_))
    return [
        [_cut(bin_, rest, table.all()) for (bin_, rest), table in zip(pairs, counted, strict=True)]
        for pairs, counted in zip(places, lower, strict=True)
    ]


def _upper(values_N: Tensor) -> Tensor:
    """Return the upper sixteen bits of each magnitude."""
    return values_N.view(torch.int32).bitwise_and(0x7FFFFFFF).bitwise_right_shift_(_SHIFT)


def _few(upper_N: Tensor, lower_N: Tensor, bin_: int) -> Tensor:
    """Return the lower sixteen bits of those magnitudes whose upper ones are these."""
    if upper_N.is_cuda:
        return lower_N[upper_N == bin_].bitwise_and_(_LOW)
    # numpy finds few among many several times faster than torch does.
    return torch.from_numpy(lower_N.numpy()[np.flatnonzero(upper_N.numpy() == bin_)] & _LOW)


class _Counts:
    """How often each number was met; they are put off to be counted many at a time."""

    def __init__(self, size: int) -> None:
        self._table = torch.zeros(size, dtype=torch.int64)
        self._waiting: list[Tensor] = []
        self._num_waiting = 0

    def add(self, numbers: Tensor) -> None:
        """Count some more."""
        self._waiting.append(numbers)
        self._num_waiting += len(numbers)
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
