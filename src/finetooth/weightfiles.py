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
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if length > _LIMIT:
            raise ValueError(f"{file} has no header of safetensors")
        header = json.loads(opened.read(length))
    if not isinstance(header, dict):
        raise ValueError(f"{file} has no header of safetensors")
    entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
    end = max((entry["data_offsets"][1] for entry in entries.values()), default=0)
    if file.stat().st_size != 8 + length + end:
        raise ValueError(f"{file} is not as long as its header says")
    return entries
