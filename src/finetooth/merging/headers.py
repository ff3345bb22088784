"""What a weight file holds, by its header: names, shapes, dtypes and places, before a weight is read."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from finetooth.errors import MergeError
from finetooth.messages import say
from finetooth.weightfiles import raw_header

DTYPES: Mapping[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}
"""The dtypes that can be merged, by their names in safetensors."""

NAMES: Mapping[torch.dtype, str] = {dtype: name for name, dtype in DTYPES.items()}

_SIZES = {"BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1, "I16": 2, "U16": 2, "I32": 4, "U32": 4, "I64": 8}
_SIZES |= {name: dtype.itemsize for name, dtype in DTYPES.items()} | {"U64": 8}
"""Bytes of an element, by dtype."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A tensor in a file."""

    file: Path
    name: str
    dtype: str
    """As safetensors spells it: F32, BF16."""
    shape: tuple[int, ...]
    offset: int
    """The place of its first byte in the file."""
    size_bytes: int

    @property
    def num_elements(self) -> int:
        """The number of its elements."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightFile:
    """The tensors of a file by name, and what identifies it."""

    file: Path
    entries: Mapping[str, Entry]
    fingerprint: str
    """SHA-256 of the header."""
    size_bytes: int
    modified_ns: int


def read_weight_file(file: Path) -> WeightFile:
    """Read the header of a file and see whether it can be true.

    Raises:
        MergeError: The file cannot be read, is cut short, or its header contradicts itself or the file.
    """
    try:
        status = file.stat()
        raw = raw_header(file)
        header = json.loads(raw)
    except OSError as error:
        raise MergeError(say("merging.unreadable", reason=error.strerror or str(error)), where=str(file)) from error
    except (ValueError, RecursionError) as error:
        raise _damaged(file, say("merging.no_header")) from error
    if not isinstance(header, dict):
        raise _damaged(file, say("merging.no_header"))
    data_start = 8 + len(raw)
    entries = {name: _entry(file, name, value, data_start) for name, value in header.items() if name != "__metadata__"}
    stretches = ((entry.offset, entry.offset + entry.size_bytes, name) for name, entry in entries.items())
    ends = [(data_start, data_start, ""), *sorted(stretches)]
    for (_, end, before), (start, _, name) in pairwise(ends):
        if start < end:
            raise _damaged(file, say("merging.overlap", name=name, other=before))
        if start > end:
            raise _damaged(file, say("merging.gap", name=name, count=start - end))
    if status.st_size != ends[-1][1]:
        raise _damaged(file, say("merging.wrong_length", size=f"{status.st_size:,}", expected=f"{ends[-1][1]:,}"))
    return WeightFile(
        file=file,
        entries=entries,
        fingerprint=hashlib.sha256(raw).hexdigest(),
        size_bytes=status.st_size,
        modified_ns=status.st_mtime_ns,
    )


def _entry(file: Path, name: str, value: Any, data_start: int) -> Entry:
    try:
        dtype, shape, (start, end) = str(value["dtype"]), tuple(value["shape"]), value["data_offsets"]
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(file, say("merging.bad_entry", name=name)) from error
    numbers = (*shape, start, end)
    if any(isinstance(number, bool) or not isinstance(number, int) or number < 0 for number in numbers):
        raise _damaged(file, say("merging.bad_entry", name=name))
    if dtype in _SIZES and end - start != math.prod(shape) * _SIZES[dtype]:
        size = f"{math.prod(shape) * _SIZES[dtype]:,}"
        raise _damaged(file, say("merging.wrong_size", name=name, size=f"{end - start:,}", expected=size))
    return Entry(file=file, name=name, dtype=dtype, shape=shape, offset=data_start + start, size_bytes=end - start)


def _damaged(file: Path, reason: str) -> MergeError:
    return MergeError(reason, where=str(file), help=say("merging.damaged_help"))
