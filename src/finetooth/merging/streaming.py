"""`Stream`: a job's tensors as a method sees them: chunk by chunk, in buffers that are used again."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from finetooth.errors import MergeError
from finetooth.merging.methods.draws import Draws
from finetooth.merging.methods.spheres import ROW_BLOCK
from finetooth.merging.methods.stacked import BLOCK, SAMPLE_STRETCH, Chunk, Table
from finetooth.merging.planning import Job
from finetooth.merging.sources import Buffer, Files, Views
from finetooth.messages import say

CHUNKS = {"cpu": 1 << 17, "cuda": 1 << 21}
"""Elements of a chunk by device: several models of them fit into the caches, where operations are faster than beyond
them, and are many beside what each chunk costs; a GPU takes no longer over many of them than to be told of an
operation. Whole numbers of `BLOCK`s."""

MOST_SAMPLED = 1 << 17
"""The most elements of a sample; small tensors have a sixteenth of theirs."""

_GOLDEN = (5**0.5 - 1) / 2
"""Its multiples are spread evenly between whole numbers."""

_LANES = 64
"""Chunks are whole numbers of so many elements: what is left over of a vector at the end of one is computed element by
element, where a product that is added may round twice, and once within."""

_MOST_TABLES = 64

ROOM = 24 << 20
"""Numbers that a worker keeps from one pass over a tensor to the next, 96 MiB: a matrix of 4,096 by 5,632, say."""


def on(device: str) -> AbstractContextManager[object]:
    """Let tensors be made on a device.

    Where they are anyway, torch is asked for nothing: each of its operations would pass through a function in Python.
    """
    return nullcontext() if torch.get_default_device().type == device else torch.device(device)


class Tables:
    """Memory that grows to the largest table that is asked for, and serves all of them one after the other."""

    def __init__(self, **kind: Any) -> None:
        self._kind = kind
        self._memory = torch.empty(0, **kind)
        self._tables: dict[tuple[int, int], Table] = {}

    def table(self, num_rows: int, count: int) -> Table:
        """Return memory for so many rows; it holds whatever stood in it."""
        if (num_rows, count) not in self._tables:
            if self._memory.numel() < num_rows * count or len(self._tables) > _MOST_TABLES:
                self._tables.clear()
            if self._memory.numel() < num_rows * count:
                self._memory = torch.empty(0)  # let go of before more is asked for
                self._memory = torch.empty(num_rows * count, **self._kind)
            whole_RN = self._memory[: num_rows * count].view(num_rows, count)
            self._tables[num_rows, count] = Table.of(whole_RN)
        return self._tables[num_rows, count]


class Memory:
    """The buffers of one worker, which serve all of its jobs."""

    def __init__(self, files: Files, device: str = "cpu") -> None:
        self.buffer = Buffer(files)
        self.device = torch.device(device)
        # Pinned memory is copied to a GPU without a detour.
        self._read = Tables(device="cpu", pin_memory=self.device.type == "cuda")
        self._computed = Tables(device=self.device)
        self._room = Tables(device=self.device)
        self._written = Views()

    def read(self, num_rows: int, count: int) -> Table:
        """Return memory to read so many rows of numbers into."""
        return self._read.table(num_rows, count)

    def computed(self, read: Table) -> Table:
        """Return the numbers where methods compute: themselves on the CPU, else a copy."""
        if self.device.type == "cpu":
            return read
        copied = self._computed.table(*read.whole_RN.shape)
        copied.whole_RN.copy_(read.whole_RN)
        return copied

    def room(self, num_rows: int, count: int) -> Tensor:
        """Return memory where methods compute, to keep rows of numbers in."""
        return self._room.table(num_rows, count).whole_RN

    def written(self, merged_N: Tensor, dtype: torch.dtype) -> memoryview:
        """Return the bytes of what is merged, in the dtype in which it is written."""
        data, row_N = self._written.view(dtype, merged_N.numel())
        row_N.copy_(merged_N)
        return data


class Stream:
    """The `Stacked` of a job."""

    def __init__(self, job: Job, memory: Memory, *, seed: int, chunk: int, allow_nan: bool) -> None:
        assert chunk % BLOCK == 0, "sums are made in blocks, and chunks must not cut one"
        self.job, self.memory, self.seed, self.chunk = job, memory, seed, chunk
        self._allow_nan = self._is_checked = allow_nan
        self._reading = on("cpu")

    @property
    def name(self) -> str:
        """The name of the tensor in the merged model."""
        return self.job.name

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the tensor; a lone number is a row of one."""
        return self.job.shape or (1,)

    @property
    def num_models(self) -> int:
        """The number of models without the base."""
        return len(self.job.models)

    def draws(self, model_index: int) -> Draws:
        """Return the random numbers of a model."""
        return Draws.of(self.seed, self.name, model_index)

    def room(self, num_rows: int) -> Tensor | None:
        """Return memory for rows of the tensor's size, where they are not too large."""
        count = self.job.num_elements
        return self.memory.room(num_rows, count) if num_rows * count <= ROOM else None

    def chunks(self, *, shows_nan: bool = False) -> Iterator[Chunk]:
        """Yield the tensor in chunks."""
        return self._stretches(self.chunk, shows_nan=shows_nan)

    def rows(self) -> Iterator[Chunk]:
        """Yield the tensor in chunks of whole blocks of rows."""
        # Columns are summed in blocks of rows, and chunks must not cut one.
        least = math.lcm(ROW_BLOCK * self.shape[-1], _LANES)
        return self._stretches(max(self.chunk // least, 1) * least)

    def bases(self) -> Iterator[Tensor]:
        """Yield the base alone in chunks, which was checked with the models."""
        base = self.job.base
        assert base is not None, "the method asks for a base"
        for start in range(0, self.job.num_elements, self.chunk):
            read = self.memory.read(1, min(self.chunk, self.job.num_elements - start))
            with self._reading:
                base.read(start, read.rows[0], self.memory.buffer)
            yield self._computed(read).rows[0]

    def sample(self) -> Chunk | None:
        """Return stretches from all over the tensor, unless it is small, or on a GPU, which counts fast."""
        count = min(self.job.num_elements // 16, MOST_SAMPLED) // SAMPLE_STRETCH
        if count < 16 or (self.memory.device.type == "cuda" and not self.job.method.on_cpu):
            return None
        table = Tables(device="cpu").table(len(self.job.models) + 2, count * SAMPLE_STRETCH)
        sources = [*self.job.models, *([self.job.base] if self.job.base is not None else [])]
        room = self.job.num_elements / count - SAMPLE_STRETCH
        for index in range(count):
            # At no regular distance, which might be that of a matrix's columns.
            start = int(index * self.job.num_elements / count + room * (index * _GOLDEN % 1))
            for source, row_N in zip(sources, table.rows, strict=False):
                part_N = row_N[index * SAMPLE_STRETCH : (index + 1) * SAMPLE_STRETCH]
                source.read(start, part_N, self.memory.buffer)
        base_N = None if self.job.base is None else table.rows[self.num_models]
        return Chunk(table.head(self.num_models), base_N, 0, table.rows[-1])

    def look(self) -> None:
        """Look for values that are no numbers, where they are not allowed.

        Raises:
            MergeError: There are some.
        """
        self._is_checked = self._allow_nan
        for _ in self._stretches(self.chunk):
            pass

    def _stretches(self, size: int, *, shows_nan: bool = False) -> Iterator[Chunk]:
        job, base = self.job, self.job.base
        num_models = len(job.models)
        for start in range(0, job.num_elements, size):
            read = self.memory.read(num_models + 2, min(size, job.num_elements - start))
            with self._reading:
                for source, into_N in zip(job.models, read.rows, strict=False):
                    source.read(start, into_N, self.memory.buffer)
                if base is not None:
                    base.read(start, read.rows[num_models], self.memory.buffer)
            table = self._computed(read)
            if not (self._is_checked or shows_nan):
                self._check(table.head(num_models + (base is not None)).whole_RN)
            base_N = None if base is None else table.rows[num_models]
            yield Chunk(table.head(num_models), base_N, start, table.rows[num_models + 1])
        self._is_checked = True

    def _computed(self, read: Table) -> Table:
        return read if self.job.method.on_cpu else self.memory.computed(read)

    def _check(self, values_MN: Tensor) -> None:
        """Refuse what is no number: one such value makes the sum none, which is a fast way to look."""
        if math.isfinite(float(values_MN.sum())):
            return
        for index, values_N in enumerate(values_MN):
            num_bad = int(torch.isfinite(values_N).logical_not().count_nonzero())
            if num_bad:
                labels = self.job.labels
                # The base stands last in memory and first among the labels.
                label = labels[index] if self.job.base is None else labels[(index + 1) % len(labels)]
                raise MergeError(
                    say("merging.not_finite", name=self.name, count=num_bad),
                    where=label,
                    help=say("merging.not_finite_help"),
                )
