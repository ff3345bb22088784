"""The k-th largest in one pass: a sample tells between which two magnitudes it lies, and what lies there alone is kept.

Floats that are not negative have the order of their bits read as integers. How far the sample's rank may be off is told
by how much its stretches differ among themselves; where the k-th largest lies outside of the bracket all the same,
that is seen, and it has to be found in another way. So it is the exact one, whatever the sample was.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from finetooth.merging.methods.cut import Cut

_MAGNITUDE = 0x7FFFFFFF
_DEVIATIONS = 5
"""Standard deviations of the sample's rank that a bracket reaches to either side."""
MOST_KEPT = 1 << 23
"""The numbers that all brackets of a tensor may keep, 32 MiB."""


class Bracket:
    """What is needed to find the k-th largest magnitude of a row, where it lies between two."""

    def __init__(self, lowest: int, highest: int, most_kept: int = MOST_KEPT) -> None:
        """Begin with two magnitudes, as bits, both of them inside."""
        self._lowest, self._width, self._most = lowest, highest - lowest + 1, most_kept
        self._num_above = 0
        self._values, self._counts = np.empty(0, np.int32), np.empty(0, np.int64)
        self._waiting: list[np.ndarray] = []
        self._num_waiting = 0
        self._is_given_up = False

    @classmethod
    def around(cls, sample_SL: Tensor, share: float, size: int, most_kept: int = MOST_KEPT) -> Bracket | None:
        """Return a bracket of the magnitude that such a share of a row is not below.

        Args:
            sample_SL: S stretches of the row, from all over it, of L values each.
            share: What is kept of the row, between 0 and 1.
            size: The number of the row's values.
            most_kept: The most numbers that the bracket may keep.

        Returns:
            `None` where more would have to be kept.
        """
        bits_SL = magnitudes(sample_SL, torch.empty_like(sample_SL, dtype=torch.int32))
        in_order = np.sort(bits_SL, axis=None)[::-1]
        count, num_stretches = len(in_order), len(bits_SL)
        rank = min(max(round(share * count), 1), count)
        # Stretches differ by more than chance where rows of a matrix do.
        shares = np.count_nonzero(bits_SL >= in_order[rank - 1], axis=1) / bits_SL.shape[1]
        by_stretch = shares.std(ddof=1) / math.sqrt(num_stretches)
        by_chance = math.sqrt(share * (1 - share) / count)
        margin = math.ceil(_DEVIATIONS * max(by_stretch, by_chance) * count) + _DEVIATIONS
        first, last = rank - 1 - margin, rank - 1 + margin
        highest = int(in_order[first]) if first >= 0 else _MAGNITUDE
        lowest = int(in_order[last]) if last < count else 0
        if highest > lowest and 2 * margin / count * size > most_kept:
            return None
        return cls(lowest, highest, most_kept)

    @property
    def num_kept(self) -> int:
        """How many numbers are kept at the moment."""
        return self._num_waiting + len(self._values)

    def add(self, magnitudes_N: np.ndarray) -> None:
        """Look at some of the row: magnitudes, as bits."""
        offsets_N = magnitudes_N - self._lowest
        self._num_above += int(np.count_nonzero(offsets_N >= self._width))
        inside_N = offsets_N.view(np.uint32) < self._width  # what is below is a large number now
        if self._width == 1:
            self._values = np.zeros(1, np.int32)
            self._counts = self._counts.sum(keepdims=True) + np.count_nonzero(inside_N)
        elif not self._is_given_up:
            kept = offsets_N[np.flatnonzero(inside_N)]
            self._waiting.append(kept)
            self._num_waiting += len(kept)
            if self.num_kept > self._most:
                self._count()
                self._is_given_up = len(self._values) > self._most // 2

    def cut(self, number: int) -> Cut | None:
        """Return the cut that keeps so many, or nothing where it lies outside of the bracket."""
        self._count()
        inside = number - self._num_above
        if self._is_given_up or not 0 < inside <= int(self._counts.sum()):
            return None
        up_to = np.cumsum(self._counts[::-1])
        place = int(np.searchsorted(up_to, inside))
        value, num_ties = int(self._values[::-1][place]), int(self._counts[::-1][place])
        magnitude = np.array(self._lowest + value, np.int32).view(np.float32)
        return Cut(float(magnitude), inside - (int(up_to[place]) - num_ties), num_ties)

    def _count(self) -> None:
        """Put what waits with what is counted: many numbers of a model in bf16 are the same."""
        if not self._waiting:
            return
        values, counts = np.unique(np.concatenate(self._waiting), return_counts=True)
        self._waiting, self._num_waiting = [], 0
        if not len(self._values):
            self._values, self._counts = values, counts
            return
        both, places = np.unique(np.concatenate([self._values, values]), return_inverse=True)
        totals = np.zeros(len(both), np.int64)
        np.add.at(totals, places, np.concatenate([self._counts, counts]))
        self._values, self._counts = both, totals


def magnitudes(values: Tensor, into: Tensor) -> np.ndarray:
    """Return the bits of magnitudes, in memory of the same shape that is handed for it."""
    torch.bitwise_and(values.view(torch.int32), _MAGNITUDE, out=into)
    return into.numpy()
