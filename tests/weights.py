"""Small safetensors files, written without the library: matrices whose rows a test knows."""

from __future__ import annotations

import json
import math
import random
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Matrix = list[list[float]]


def matrix(num_rows: int, dim: int, seed: int = 0) -> Matrix:
    """Return rows of normal numbers, as initialized and as trained ones are."""
    generator = random.Random(seed)
    return [[generator.gauss(0, 1) for _ in range(dim)] for _ in range(num_rows)]


def encode(rows: Sequence[Sequence[float]], dtype: str) -> bytes:
    """Return the little-endian bytes of a matrix; BF16 is cut off."""
    flat = [value for row in rows for value in row]
    if dtype == "F16":
        return struct.pack(f"<{len(flat)}e", *flat)
    whole = struct.pack(f"<{len(flat)}f", *flat)
    return whole if dtype == "F32" else b"".join(whole[at + 2 : at + 4] for at in range(0, len(whole), 4))


def write_safetensors(path: Path, tensors: Mapping[str, Matrix], dtype: str = "F32") -> Path:
    """Write matrices as a safetensors file."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, rows in tensors.items():
        encoded = encode(rows, dtype)
        shape = [len(rows), len(rows[0])]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(encoded)]}
        data += encoded
    return write_raw(path, header, data)


def write_raw(path: Path, header: Any, data: bytes) -> Path:
    """Write a file with whatever header is given."""
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def write_model(directory: Path, tensors: Mapping[str, Matrix], *, dtype: str = "F32", shards: bool = False) -> None:
    """Write the weights of a model: one file, or one for each tensor and their index."""
    if not shards:
        write_safetensors(directory / "model.safetensors", tensors, dtype)
        return
    files = {}
    for number, (name, rows) in enumerate(tensors.items(), start=1):
        files[name] = f"model-{number:05}-of-{len(tensors):05}.safetensors"
        write_safetensors(directory / files[name], {name: rows}, dtype)
    index = {"metadata": {}, "weight_map": files}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def changed(rows: Matrix, spec: Mapping[str, Any], ids: Mapping[str, int]) -> Matrix:
    """Return a matrix with the rows of some tokens as a fixture wants them.

    Args:
        rows: The matrix.
        spec: `zero` and `mean` list tokens; `same` lists lists of them that share a row.
        ids: The ids of the tokens.
    """
    rows = [list(row) for row in rows]
    mean = [math.fsum(column) / len(rows) for column in zip(*rows, strict=True)]
    for token in spec.get("zero", ()):
        rows[ids[token]] = [0.0] * len(rows[0])
    for token in spec.get("mean", ()):
        # As transformers does: every row by itself a hair away.
        rows[ids[token]] = [value + 1e-5 * ids[token] for value in mean]
    for first, *others in spec.get("same", ()):
        for token in others:
            rows[ids[token]] = list(rows[ids[first]])
    return rows
