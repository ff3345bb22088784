"""safetensors files, read without the library: their headers, and of their weights no more than some rows."""

from __future__ import annotations

import json
import math
import struct
import sys
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetooth.messages import say

_LIMIT = 100_000_000
"""Bytes of a header above which a file is none of safetensors: the library's own limit."""

_SIZES = {"BF16": 2, "F16": 2, "F32": 4}
"""The bytes of a number, of those kinds that are read."""

_CHUNK = 1 << 20
"""Bytes that are read at a time of a tensor that is looked through whole."""


class UnreadableWeightsError(ValueError):
    """Weights that are there and cannot be read.

    Args:
        key: The message, `area.name`: why. It is said when it is shown, in the language then in force.
        values: What fills its placeholders.
    """

    def __init__(self, key: str, **values: Any) -> None:
        super().__init__(key)
        self.key = key
        self.values = values

    def __str__(self) -> str:
        return say(self.key, **self.values)


def read_header(file: Path) -> dict[str, Any]:
    """Return the entries of a file by the names of its tensors: `dtype`, `shape` and `data_offsets`.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is no safetensors file, or not as long as its header says.
    """
    raw = raw_header(file)
    header = json.loads(raw)
    if not isinstance(header, dict):
        raise ValueError(f"{file} has no header of safetensors")
    entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
    end = max((entry["data_offsets"][1] for entry in entries.values()), default=0)
    if file.stat().st_size != 8 + len(raw) + end:
        raise ValueError(f"{file} is not as long as its header says")
    return entries


def raw_header(file: Path) -> bytes:
    """Return the JSON that a file begins with, unread.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is no safetensors file.
    """
    with file.open("rb") as opened:
        start = opened.read(8)
        length = int.from_bytes(start, "little")
        # Before a byte of it is read: a number in a file must not decide how much memory is asked for.
        if len(start) < 8 or length > min(_LIMIT, file.stat().st_size - 8):
            raise ValueError(f"{file} has no header of safetensors")
        return opened.read(length)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """A tensor in a file, of which nothing is read until rows are asked for."""

    name: str
    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    """Where its bytes begin in the file."""
    end: int
    """Where they end."""

    @property
    def num_rows(self) -> int:
        """The number of rows."""
        return self.shape[0]

    def rows(self, indices: Iterable[int]) -> dict[int, array[float]]:
        """Read some rows of a matrix (see `Weights.matrix`), and none of the bytes between them.

        Raises:
            UnreadableWeightsError: The file cannot be read.
        """
        stride = _SIZES[self.dtype] * self.shape[1]
        found = {}
        try:
            with self.file.open("rb") as opened:
                for index in sorted(set(indices)):
                    assert 0 <= index < self.num_rows, "whoever asks knows the number of rows"
                    opened.seek(self.start + stride * index)
                    found[index] = _numbers(opened.read(stride), self.dtype)
        except (OSError, ValueError, struct.error) as error:
            raise _unreadable(self.file, error) from error
        return found

    def is_zero(self) -> bool:
        """Return whether every number of it is 0; reading ends at the first that is not."""
        try:
            with self.file.open("rb") as opened:
                opened.seek(self.start)
                left = self.end - self.start
                while left > 0:
                    chunk = opened.read(min(left, _CHUNK))
                    if not chunk or chunk.strip(b"\0"):
                        return False
                    left -= len(chunk)
        except OSError as error:
            raise _unreadable(self.file, error) from error
        return True


def _numbers(data: bytes, dtype: str) -> array[float]:
    """Return the numbers that little-endian bytes hold."""
    if dtype == "F16":
        return array("f", struct.unpack(f"<{len(data) // 2}e", data))
    if dtype == "BF16":
        # The upper half of a float32, to which the lower is added as zeros.
        whole = bytearray(2 * len(data))
        whole[2::4], whole[3::4] = data[0::2], data[1::2]
        data = bytes(whole)
    numbers = array("f", data)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


@dataclass(frozen=True, slots=True)
class Weights:
    """The tensors of a model by name, with the file that holds each."""

    files: Mapping[str, Path]

    def tensor(self, name: str) -> Tensor:
        """Find a tensor in its file.

        Raises:
            UnreadableWeightsError: The file cannot be read, or says of the tensor what cannot be.
        """
        file = self.files[name]
        entries, first = _header(file)
        entry = entries.get(name)
        if entry is None:
            raise UnreadableWeightsError("weightfiles.no_tensor", file=str(file), tensor=name)
        dtype, shape, (start, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        if dtype in _SIZES and end - start != math.prod(shape) * _SIZES[dtype]:
            raise UnreadableWeightsError("weightfiles.wrong_size", file=str(file), tensor=name, shape=list(shape))
        return Tensor(name=name, file=file, dtype=dtype, shape=shape, start=first + start, end=first + end)

    def matrix(self, name: str) -> Tensor:
        """Find a matrix whose rows can be read.

        Raises:
            UnreadableWeightsError: The file cannot be read, or the tensor is none of these.
        """
        found = self.tensor(name)
        if found.dtype not in _SIZES or len(found.shape) != 2:
            raise UnreadableWeightsError("weightfiles.no_matrix", tensor=name, dtype=found.dtype, shape=[*found.shape])
        return found

    @property
    def modules(self) -> frozenset[str]:
        """The names of all modules, those that hold others included."""
        found: set[str] = set()
        for name in self.files:
            while (name := name.rpartition(".")[0]) and name not in found:
                found.add(name)
        return frozenset(found)


def read_weights(directory: Path, name: str = "model") -> Weights | None:
    """Find the weights of a directory, in one file or in several; `None` where it has none.

    Args:
        directory: Where to look.
        name: The beginning of the file's name: `model`, or `adapter_model`.

    Raises:
        UnreadableWeightsError: A header, or the index of several files, cannot be read.
    """
    # One file goes before an index, as in transformers 5.23 (`_get_resolved_checkpoint_files`).
    single = directory / f"{name}.safetensors"
    if single.is_file():
        return Weights(dict.fromkeys(_header(single)[0], single))
    index = directory / f"{name}.safetensors.index.json"
    if not index.is_file():
        return None
    try:
        files = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        # Names of files beside the index, and no paths that lead elsewhere.
        if all(Path(file).name == file for file in files.values()):
            return Weights({tensor: directory / file for tensor, file in files.items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _unreadable(index, error) from error
    raise UnreadableWeightsError("weightfiles.no_index", file=str(index))


def _header(file: Path) -> tuple[dict[str, Any], int]:
    """Return a file's entries, each with a dtype, a shape and half-open offsets that can be, and where data begin."""
    try:
        entries, size = read_header(file), file.stat().st_size
        for entry in entries.values():
            start, end = entry["data_offsets"]
            if not (isinstance(entry["dtype"], str) and _are_counts([start, end, *entry["shape"]]) and start <= end):
                raise UnreadableWeightsError("weightfiles.no_header", file=str(file))
    except UnreadableWeightsError:
        raise
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise _unreadable(file, error) from error
    # The file is as long as its header says (`read_header`): what is left of it is the header.
    return entries, size - max((entry["data_offsets"][1] for entry in entries.values()), default=0)


def _are_counts(values: list[Any]) -> bool:
    return all(type(value) is int and value >= 0 for value in values)


def _unreadable(file: Path, error: Exception) -> UnreadableWeightsError:
    if isinstance(error, OSError):
        return UnreadableWeightsError("weightfiles.unreadable", file=str(file), reason=error.strerror or str(error))
    key = "weightfiles.no_index" if file.suffix == ".json" else "weightfiles.no_header"
    return UnreadableWeightsError(key, file=str(file))
