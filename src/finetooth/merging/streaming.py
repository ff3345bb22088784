"""`Stream`: a job's tensors as a method sees them: chunk by chunk, in buffers that are used again."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

import torch

from finetooth.errors import MergeError
from finetooth.merging.methods.draws import Draws
from finetooth.merging.methods.spheres import ROW_BLOCK
from finetooth.merging.methods.stacked import BLOCK, Chunk
from finetooth.merging.planning import Job
from finetooth.merging.sources import Buffer, Files
from finetooth.messages import say

CHUNK = 1 << 18
"""Elements of a chunk: several models of them fit into the cache of a core. A whole number of `BLOCK`s."""

ROOM = 24 << 20
"""Numbers that a worker keeps from one pass over a tensor to the next, 96 MiB: a matrix of 4,096 by 5,632, say."""


def on(device: str) -> AbstractContextManager[object]:
    """Let tensors be made on a device.

    Where they are anyway, torch is asked for nothing: each of its operations would pass through a function in Python.
    """
    return nullcontext() if torch.get_default_device().type == device else torch.device(device)


class Memory:
    """The buffers of one worker, which grow to the largest chunk that it meets and serve all of its jobs."""

    def __init__(self, files: Files, device: str = "cpu") -> None:
        self.buffer = Buffer(files)
        self.device = torch.device(device)
        self._read = torch.empty(0)
        self._computed = torch.empty(0, device=self.device)
        self._room = torch.empty(0, device=self.device)

    def floats(self, num_rows: int, count: int) -> torch.Tensor:
        """Return memory to read so many rows of numbers into."""
        if self._read.numel() < num_rows * count:
            # Pinned memory is copied to a GPU without a detour.
            self._read = torch.empty(num_rows * count, device="cpu", pin_memory=self.device.type == "cuda")
        return self._read[: num_rows * count].view(num_rows, count)

    def computed(self, read_RN: torch.Tensor) -> torch.Tensor:
        """Return the numbers where methods compute: themselves on the CPU, else a copy in memory that is used again."""
        if self.device.type == "cpu":
            return read_RN
        if self._computed.numel() < read_RN.numel():
            self._computed = torch.empty(read_RN.numel(), device=self.device)
        return self._computed[: read_RN.numel()].view_as(read_RN).copy_(read_RN)

    def room(self, num_rows: int, count: int) -> torch.Tensor:
        """Return memory where methods compute, to keep rows of numbers in."""
        if self._room.numel() < num_rows * count:
            self._room = torch.empty(0)  # let go of before more is asked for
            self._room = torch.empty(num_rows * count, device=self.device)
        return self._room[: num_rows * count].view(num_rows, count)


class Stream:
    """The `Stacked` of a job."""

    def __init__(self, job: Job, memory: Memory, *, seed: int, chunk: int, allow_nan: bool) -> None:
        assert chunk % BLOCK == 0, "sums are made in blocks, and chunks must not cut one"
        self.job, self.memory, self.seed, self.chunk = job, memory, seed, chunk
        self.is_checked = allow_nan

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

    def room(self, num_rows: int) -> torch.Tensor | None:
        """Return memory for rows of the tensor's size, where they are not too large."""
        count = self.job.num_elements
        return self.memory.room(num_rows, count) if num_rows * count <= ROOM else None

    def chunks(self) -> Iterator[Chunk]:
        """Yield the tensor in chunks."""
        return self._stretches(self.chunk)

    def rows(self) -> Iterator[Chunk]:
        """Yield the tensor in chunks of whole blocks of rows."""
        # Columns are summed in blocks of rows, and chunks must not cut one.
        least = ROW_BLOCK * self.shape[-1]
        return self._stretches(max(self.chunk // least, 1) * least)

    def bases(self) -> Iterator[torch.Tensor]:
        """Yield the base alone in chunks, which was checked with the models."""
        base, method = self.job.base, self.job.method
        assert base is not None, "the method asks for a base"
        for start in range(0, self.job.num_elements, self.chunk):
            memory = self.memory.floats(1, min(self.chunk, self.job.num_elements - start))
            with on("cpu"):
                base.read(start, memory[0], self.memory.buffer)
            yield (memory if method.on_cpu else self.memory.computed(memory))[0]

    def _stretches(self, size: int) -> Iterator[Chunk]:
        job, base = self.job, self.job.base
        num_models = len(job.models)
        for start in range(0, job.num_elements, size):
            count = min(size, job.num_elements - start)
            memory = self.memory.floats(num_models + 2, count)
            with on("cpu"):
                for source, into_N in zip(job.models, memory, strict=False):
                    source.read(start, into_N, self.memory.buffer)
                if base is not None:
                    base.read(start, memory[num_models], self.memory.buffer)
            if not job.method.on_cpu:
                memory = self.memory.computed(memory)
            base_N = None if base is None else memory[num_models]
            if not self.is_checked:
                self._check(memory[: num_models + (base is not None)])
            yield Chunk(memory[:num_models], base_N, start, memory[num_models + 1])
        self.is_checked = True

    def _check(self, values_MN: torch.Tensor) -> None:
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
