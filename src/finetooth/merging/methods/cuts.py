"""Where to cut so that exactly k of a tensor's values are kept: the k-th largest, found one way or the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from finetooth.merging.methods.brackets import MOST_KEPT, Bracket, magnitudes
from finetooth.merging.methods.counting import counted_cuts
from finetooth.merging.methods.cut import ALL, NONE, Cut


def cuts(
    stream: Callable[[], Iterator[Sequence[Tensor]]],
    size: int,
    nums_kept: Sequence[Sequence[int]],
    sample_MSL: Tensor | None = None,
) -> list[list[Cut]]:
    """Return the cuts that keep so many of the largest magnitudes of each row of a stream.

    Args:
        stream: Yields M rows of N values in fp32, chunk by chunk; it is gone through once where the sample serves, else
            twice.
        size: The number of elements of each row in all chunks.
        nums_kept: For each of the M rows, the numbers of values to keep: one cut each.
        sample_MSL: S stretches of L values of each row, from all over it.
    """
    proper = [[num for num in nums if 0 < num < size] for nums in nums_kept]
    found: list[list[Cut]] | None = None if any(proper) else [[] for _ in proper]
    if found is None and sample_MSL is not None:
        found = _bracketed_cuts(stream, size, proper, sample_MSL)
    if found is None:
        found = counted_cuts(stream, proper)
    return [
        [ALL if num >= size else next(exact) if num > 0 else NONE for num in nums]
        for nums, exact in zip(nums_kept, map(iter, found), strict=True)
    ]


def _bracketed_cuts(
    stream: Callable[[], Iterator[Sequence[Tensor]]], size: int, nums_kept: Sequence[Sequence[int]], sample_MSL: Tensor
) -> list[list[Cut]] | None:
    """Return the cuts by one pass, or nothing where a bracket does not hold one."""
    most_kept = MOST_KEPT // max(sum(map(len, nums_kept)), 1)
    brackets: list[list[Bracket]] = []
    for sample_SL, nums in zip(sample_MSL, nums_kept, strict=True):
        row = [Bracket.around(sample_SL, num / size, size, most_kept) for num in nums]
        brackets.append([bracket for bracket in row if bracket is not None])
        if len(brackets[-1]) < len(nums):
            return None
    memory_N = torch.empty(0, dtype=torch.int32)
    for rows in stream():
        if len(memory_N) < len(rows[0]):
            memory_N = torch.empty(len(rows[0]), dtype=torch.int32)
        for values_N, ours in zip(rows, brackets, strict=True):
            if ours:
                bits_N = magnitudes(values_N, memory_N[: len(values_N)])
                for bracket in ours:
                    bracket.add(bits_N)
    found: list[list[Cut]] = []
    for ours, nums in zip(brackets, nums_kept, strict=True):
        cuts_of_row = [bracket.cut(num) for bracket, num in zip(ours, nums, strict=True)]
        found.append([cut for cut in cuts_of_row if cut is not None])
        if len(found[-1]) < len(nums):
            return None
    return found
