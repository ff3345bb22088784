"""`AdapterWeights`: the weight file of an adapter, of full length from the start, filled tensor by tensor."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from finetooth.errors import MergeError
from finetooth.merging.adapterfiles import PREFIX, WEIGHTS
from finetooth.merging.headers import DTYPES, Entry
from finetooth.merging.shards import Shards, lay_out
from finetooth.merging.sources import Buffer, Files
from finetooth.messages import say

_AT_ONCE = 1 << 20
"""Elements of a tensor that are copied at once."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A tensor that will be written."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def size_bytes(self) -> int:
        """The bytes that are written."""
        return math.prod(self.shape) * self.dtype.itemsize


def slots_of(
    module: str, *, out: int, inner: int, rank: int, dtype: torch.dtype, is_embedding: bool = False
) -> tuple[Slot, Slot]:
    """Return the places of A and B of a module, under the names that peft reads."""
    down, up = names_of(module, is_embedding=is_embedding)
    return Slot(down, (rank, inner), dtype), Slot(up, (out, rank), dtype)


def names_of(module: str, *, is_embedding: bool = False) -> tuple[str, str]:
    """Return the names of A and B of a module, as peft stores them."""
    kinds = ("embedding_A", "embedding_B") if is_embedding else ("A.weight", "B.weight")
    return f"{PREFIX}{module}.lora_{kinds[0]}", f"{PREFIX}{module}.lora_{kinds[1]}"


class AdapterWeights:
    """The open weight file."""

    def __init__(self, shards: Shards, slots: Sequence[Slot]) -> None:
        self._shards = shards
        self._slots = {slot.name: slot for slot in slots}

    def write(self, name: str, tensor: Tensor) -> Tensor:
        """Write a matrix, and return what was written, in fp32.

        It is rounded to the dtype that its place has, and gets zeros where it is smaller than that.

        A rank below that of the adapter leaves rows of A and columns of B zero: so every module has one rank and one
        scale, and programs that know no `rank_pattern` read it right.

        Raises:
            MergeError: It holds what is no number, or is beyond what the dtype holds.
        """
        slot = self._slots[name]
        if tuple(tensor.shape) != slot.shape:
            padded = torch.zeros(slot.shape)
            padded[: tensor.shape[0], : tensor.shape[1]] = tensor
            tensor = padded
        rounded = tensor.to(slot.dtype)
        if not torch.isfinite(rounded).all():
            raise MergeError(say("lora.overflow", name=name), where="--out-dtype", help="--out-dtype float32")
        self._shards.write(name, 0, _bytes(rounded))
        return rounded.to(torch.float32)

    def write_part(self, name: str, start: int, part_N: Tensor) -> None:
        """Write elements of a tensor from `start`, rounded to the dtype that its place has."""
        dtype = self._slots[name].dtype
        self._shards.write(name, start * dtype.itemsize, _bytes(part_N.to(dtype)))

    def copy(self, name: str, entry: Entry, buffer: Buffer) -> None:
        """Write a tensor as it stands in another file."""
        done = 0
        for start in range(0, entry.num_elements, _AT_ONCE):
            part = buffer.read(entry, start, min(_AT_ONCE, entry.num_elements - start))
            data = _bytes(part)
            self._shards.write(name, done, data)
            done += len(data)


@contextmanager
def adapter_weights(directory: Path, slots: Sequence[Slot]) -> Iterator[AdapterWeights]:
    """Open the weight file of an adapter; what is written is on the disk at the end."""
    shards = Shards(directory, lay_out(slots, sum(slot.size_bytes for slot in slots), single=WEIGHTS))
    try:
        yield AdapterWeights(shards, slots)
        shards.sync()
    finally:
        shards.close()


def read_whole(entry: Entry, files: Files, buffer: Buffer) -> Tensor:
    """Return a tensor of a file, in fp32."""
    files.open(entry.file)
    return buffer.read(entry, 0, entry.num_elements).to(torch.float32, copy=True).view(entry.shape)


def copied_slot(name: str, entry: Entry) -> Slot:
    """Return the place of a tensor that is copied."""
    return Slot(name, entry.shape, DTYPES[entry.dtype])


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.contiguous().flatten().view(torch.uint8).numpy().data
