"""`Shards`: the weight files of the merged model, of full length from the start, filled tensor by tensor."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from finetooth.merging.headers import NAMES

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
SHARD_BYTES = 5_000_000_000
"""The most that a weight file holds: the default of `save_pretrained` for years, and what other tools expect."""
_ALIGNMENT = 8
"""Data begins at a multiple of it, as the format asks."""


class Stored(Protocol):
    """A tensor that is to be written."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""

    @property
    def dtype(self) -> torch.dtype:
        """The dtype in which it is written."""

    @property
    def size_bytes(self) -> int:
        """The bytes that are written."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tensor goes."""

    file: str
    offset: int


@dataclass(frozen=True, slots=True)
class Layout:
    """All weight files of a merged model."""

    headers: dict[str, bytes]
    """By file name: length and header."""
    sizes: dict[str, int]
    places: dict[str, Place]
    """By name of tensor."""
    total_bytes: int

    def index(self) -> str | None:
        """Return the text of the index, where there is more than one file."""
        if len(self.headers) == 1:
            return None
        weight_map = {name: place.file for name, place in sorted(self.places.items())}
        return json.dumps({"metadata": {"total_size": self.total_bytes}, "weight_map": weight_map}, indent=2) + "\n"


def lay_out(jobs: Sequence[Stored], shard_bytes: int = SHARD_BYTES, *, single: str = SINGLE) -> Layout:
    """Give every tensor its place, in order, a new file where the last one is full; `single` names the only one."""
    groups: list[list[Stored]] = [[]]
    filled = 0
    for job in jobs:
        if groups[-1] and filled + job.size_bytes > shard_bytes:
            groups.append([])
            filled = 0
        groups[-1].append(job)
        filled += job.size_bytes
    names = [single] if len(groups) == 1 else list(_names(len(groups)))
    headers, sizes, places = {}, {}, {}
    for file, group in zip(names, groups, strict=True):
        header: dict[str, object] = {"__metadata__": {"format": "pt"}}
        end = 0
        for job in group:
            header[job.name] = {
                "dtype": NAMES[job.dtype],
                "shape": list(job.shape),
                "data_offsets": [end, end + job.size_bytes],
            }
            end += job.size_bytes
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % _ALIGNMENT)
        headers[file] = len(text).to_bytes(8, "little") + text
        start = len(headers[file])
        sizes[file] = start + end
        for job in group:
            places[job.name] = Place(file, start)
            start += job.size_bytes
    return Layout(headers, sizes, places, sum(job.size_bytes for job in jobs))


def _names(count: int) -> Iterable[str]:
    return (f"model-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1))


@contextmanager
def reserved(directory: Path, layout: Layout) -> Iterator[None]:
    """Take the room for weight files on the disk while something else is done, such as the check.

    A file system in memory fills it with zeros, which takes as long as the check does.

    Raises:
        OSError: There is not as much; told when what was done meanwhile is done.
    """
    with ThreadPoolExecutor(1) as pool:
        taken = pool.submit(lambda: Shards(directory, layout).close())
        yield
        taken.result()


class Shards:
    """The open weight files of a layout in a directory."""

    def __init__(self, directory: Path, layout: Layout) -> None:
        self.layout = layout
        self._descriptors: dict[str, int] = {}
        try:
            for file, header in layout.headers.items():
                descriptor = os.open(directory / file, os.O_RDWR | os.O_CREAT, 0o666)
                self._descriptors[file] = descriptor
                if os.fstat(descriptor).st_size != layout.sizes[file]:
                    _reserve(descriptor, layout.sizes[file])
                _write(descriptor, memoryview(header), 0)
        except OSError:
            self.close()
            raise

    def write(self, name: str, done_bytes: int, data: memoryview) -> None:
        """Write a stretch of a tensor."""
        place = self.layout.places[name]
        _write(self._descriptors[place.file], data, place.offset + done_bytes)

    def sync(self) -> None:
        """See everything written to the disk."""
        for descriptor in self._descriptors.values():
            os.fsync(descriptor)

    def close(self) -> None:
        """Close the files."""
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._descriptors.clear()


def _reserve(descriptor: int, size: int) -> None:
    """Take the room on the disk now: a full disk is better told of before an hour's work than after."""
    os.ftruncate(descriptor, size)
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError as error:
            import errno

            # Not every file system can; it will then be told when it happens.
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                raise


def _write(descriptor: int, data: memoryview, offset: int) -> None:
    while len(data):
        done = os.pwrite(descriptor, data, offset)
        data, offset = data[done:], offset + done
