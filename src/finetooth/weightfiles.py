"""The headers of safetensors files, read without the library and without any weight."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_LIMIT = 100_000_000
"""Bytes of a header above which a file is none of safetensors: the library's own limit."""


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
