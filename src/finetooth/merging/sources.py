"""`TensorSource`: one tensor of one model, from which any stretch of elements can be had in fp32.

    FileTensor      as it stands in a file
    AdaptedTensor   with an adapter's change added: W + scale * B @ A, and DoRA's lengths of rows
    GatheredTensor  embeddings in the order of another vocabulary

Weights are read by `preadv` into buffers that are used again, never mapped: mapped pages count as resident memory too.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from finetooth.errors import MergeError
from finetooth.merging.headers import DTYPES, Entry
from finetooth.messages import say

_MOST_VIEWS = 256


class Files:
    """Open files by path; their descriptors are shared by all threads, since `preadv` has no position to share."""

    def __init__(self) -> None:
        self._descriptors: dict[Path, int] = {}

    def open(self, file: Path) -> None:
        """Open a file, unless it is open."""
        if file not in self._descriptors:
            self._descriptors[file] = os.open(file, os.O_RDONLY)

    def __getitem__(self, file: Path) -> int:
        return self._descriptors[file]

    def close(self) -> None:
        """Close all of them."""
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._descriptors.clear()


class Views:
    """Memory that grows to the most numbers that are asked for, seen as bytes and as a tensor of any dtype.

    Chunks are of few lengths, and a view takes as long to make as a short chunk to read.
    """

    def __init__(self) -> None:
        self._bytes = bytearray(1 << 16)
        self._views: dict[tuple[torch.dtype, int], tuple[memoryview, Tensor]] = {}

    def view(self, dtype: torch.dtype, count: int) -> tuple[memoryview, Tensor]:
        """Return so many numbers, at least one, as bytes and as a tensor; they hold whatever stood there."""
        found = self._views.get((dtype, count))
        if found is None:
            size = count * dtype.itemsize
            if size > len(self._bytes):
                self._views.clear()
                self._bytes = bytearray(size)
            if len(self._views) > _MOST_VIEWS:
                self._views.clear()
            data = memoryview(self._bytes)[:size]
            found = self._views[dtype, count] = data, torch.frombuffer(data, dtype=dtype)
        return found


class Buffer:
    """Memory into which bytes are read, seen as any dtype."""

    def __init__(self, files: Files) -> None:
        self.files = files
        self._views = Views()

    def read(self, entry: Entry, start: int, count: int) -> Tensor:
        """Return elements of a tensor in the dtype of the file; what was returned before is overwritten.

        Raises:
            MergeError: The file ends before them, or cannot be read.
        """
        dtype = DTYPES[entry.dtype]
        if count == 0:
            return torch.empty(0, dtype=dtype)
        view, tensor = self._views.view(dtype, count)
        size, done = len(view), 0
        offset = entry.offset + start * (size // count)
        while done < size:
            try:
                got = os.preadv(self.files[entry.file], [view[done:] if done else view], offset + done)
            except OSError as error:
                raise MergeError(
                    say("merging.unreadable", reason=(error.strerror or str(error)).lower()), where=str(entry.file)
                ) from error
            if got == 0:
                raise MergeError(
                    say("merging.cut_short", name=entry.name),
                    where=str(entry.file),
                    help=say("merging.damaged_help"),
                )
            done += got
        return tensor


class TensorSource(Protocol):
    """One tensor of one model."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""

    @property
    def entries(self) -> tuple[Entry, ...]:
        """What is read for it, the tensor itself first."""

    def read(self, start: int, into_N: Tensor, buffer: Buffer) -> None:
        """Fill a tensor of fp32 with the elements from `start`."""


@dataclass(frozen=True, slots=True)
class FileTensor:
    """A tensor as it stands in a file."""

    entry: Entry

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return self.entry.shape

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The one place that is read."""
        return (self.entry,)

    def read(self, start: int, into_N: Tensor, buffer: Buffer) -> None:
        """Fill a tensor of fp32 with the elements from `start`."""
        into_N.copy_(buffer.read(self.entry, start, into_N.numel()))


@dataclass(frozen=True, slots=True)
class AdaptedTensor:
    """A tensor with an adapter's change added."""

    entry: Entry
    down: Entry
    """A, `[rank, in]`."""
    up: Entry
    """B, `[out, rank]`."""
    scale: float
    is_transposed: bool = False
    """Whether the tensor is `[in, out]`, and its change (B @ A).T."""
    magnitude: Entry | None = None
    """The length that each row has afterwards, `[out]` (DoRA)."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return self.entry.shape

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The places that are read."""
        return (self.entry, self.down, self.up, *((self.magnitude,) if self.magnitude else ()))

    def read(self, start: int, into_N: Tensor, buffer: Buffer) -> None:
        """Fill a tensor of fp32 with the elements from `start`."""
        columns = self.entry.shape[1]
        end = start + into_N.numel()
        first, last = start // columns, -(-end // columns)
        here = slice(start - first * columns, end - first * columns)
        change_RC = self._change(first, last, buffer)
        if self.magnitude is None:
            into_N.copy_(buffer.read(self.entry, start, into_N.numel()))
            into_N.add_(change_RC.flatten()[here])
            return
        # A row's length needs the whole row, which may begin before the stretch that is asked for.
        change_RC.add_(buffer.read(self.entry, first * columns, change_RC.numel()).view_as(change_RC))
        lengths_R = buffer.read(self.magnitude, first, last - first).to(torch.float32)
        for row_C, length in zip(change_RC, lengths_R, strict=True):
            row_C.mul_(length / torch.linalg.vector_norm(row_C))
        into_N.copy_(change_RC.flatten()[here])

    def _change(self, first: int, last: int, buffer: Buffer) -> Tensor:
        """Return rows of the change, `[last - first, C]`."""
        rank = self.down.shape[0]
        # What is read is copied: the next reading overwrites it.
        if self.is_transposed:
            inner = self.down.shape[1]
            rows_KR = torch.empty((rank, last - first))
            for index, row_R in enumerate(rows_KR):
                row_R.copy_(buffer.read(self.down, index * inner + first, last - first))
            columns_KC = buffer.read(self.up, 0, self.up.num_elements).to(torch.float32, copy=True).view(-1, rank).T
        else:
            columns_KC = buffer.read(self.down, 0, self.down.num_elements).to(torch.float32, copy=True).view(rank, -1)
            rows_RK = buffer.read(self.up, first * rank, (last - first) * rank).to(torch.float32).view(-1, rank)
            rows_KR = rows_RK.T
        # One rank after the other: a matrix product rounds by how many rows it is given, and bytes must not depend on
        # where a chunk ends.
        change_RC = torch.zeros((last - first, self.entry.shape[1]))
        for row_R, column_C in zip(rows_KR, columns_KC, strict=True):
            change_RC.add_(row_R[:, None] * column_C[None, :])
        return change_RC.mul_(self.scale)


@dataclass(frozen=True, slots=True)
class GatheredTensor:
    """Embeddings in the order of another vocabulary.

    Each row is a row of some model, the mean of rows of several, or zero.
    """

    sources: tuple[TensorSource, ...]
    """What rows are taken from; the model's own embeddings first."""
    rows: Tensor
    """`[V, K]`, int32: for each row up to K rows of sources, as `source_index * stride + row_index`; -1: none."""
    stride: int
    shape: tuple[int, ...]

    @property
    def entries(self) -> tuple[Entry, ...]:
        """What is read, the model's own embeddings first."""
        return tuple(entry for source in self.sources for entry in source.entries)

    def read(self, start: int, into_N: Tensor, buffer: Buffer) -> None:
        """Fill a tensor of fp32 with the elements from `start`."""
        columns = self.shape[1]
        end = start + into_N.numel()
        first, last = start // columns, -(-end // columns)
        found_RC = torch.zeros((last - first, columns))
        row_C = torch.empty(columns)
        position = first
        while position < last:
            places = [place for place in self.rows[position].tolist() if place >= 0]
            run = self._run(position, last) if len(places) == 1 else 1
            target_RC = found_RC[position - first : position - first + run]
            if len(places) == 1:
                source, row = divmod(places[0], self.stride)
                self.sources[source].read(row * columns, target_RC.view(-1), buffer)
            else:
                for place in places:
                    source, row = divmod(place, self.stride)
                    self.sources[source].read(row * columns, row_C, buffer)
                    target_RC[0].add_(row_C)
                if places:
                    target_RC.mul_(1.0 / len(places))
            position += run
        into_N.copy_(found_RC.flatten()[start - first * columns : end - first * columns])

    def _run(self, position: int, last: int) -> int:
        """Return how many rows from a position on follow each other in the same source, none of them a mean."""
        part = self.rows[position:last]
        expected = part[0, 0] + torch.arange(len(part), dtype=part.dtype)
        follows = part[:, 0] == expected
        if part.shape[1] > 1:
            follows &= part[:, 1] < 0
        breaks = follows.logical_not().nonzero()
        length = int(breaks[0]) if len(breaks) else len(part)
        # Not beyond the rows of the source: the numbers of two sources follow each other as well.
        return min(length, self.stride - int(part[0, 0]) % self.stride)
