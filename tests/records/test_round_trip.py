"""Whatever rows are written, in whatever arrangement and compression, the same rows are read."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

import zstandard
from hypothesis import given
from hypothesis import strategies as st

from finetooth.errors import DataError
from finetooth.records import bytestream, jsonstream

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
ROWS = st.lists(st.dictionaries(TEXT, VALUES, max_size=4), max_size=8)


def arranged(rows: list[dict[str, Any]], arrangement: str, *, ascii_only: bool) -> str:
    match arrangement:
        case "lines":
            return "".join(json.dumps(row, ensure_ascii=ascii_only) + "\n" for row in rows)
        case "lines without the last newline":
            return "\n".join(json.dumps(row, ensure_ascii=ascii_only) for row in rows)
        case "lines with carriage returns":
            return "".join(json.dumps(row, ensure_ascii=ascii_only) + "\r\n" for row in rows)
        case "array":
            return json.dumps(rows, ensure_ascii=ascii_only, separators=(",", ":"))
        case "array over lines":
            return json.dumps(rows, ensure_ascii=ascii_only, indent=2) + "\n"
        case _:
            return json.dumps({"data": rows}, ensure_ascii=ascii_only, indent=1)


def compressed(content: bytes, compression: str) -> bytes:
    match compression:
        case "gz":
            return gzip.compress(content)
        case "zst":
            return zstandard.compress(content)
        case _:
            return content


def pieces(content: bytes, size: int) -> Iterator[bytes]:
    return (content[i : i + size] for i in range(0, len(content), size))


@given(
    rows=ROWS,
    arrangement=st.sampled_from(
        [
            "lines",
            "lines without the last newline",
            "lines with carriage returns",
            "array",
            "array over lines",
            "wrapped",
        ]
    ),
    compression=st.sampled_from(["none", "gz", "zst"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le"]),
    ascii_only=st.booleans(),
    size=st.integers(1, 300),
)
def test_rows_read_back(
    rows: list[dict[str, Any]], arrangement: str, compression: str, encoding: str, ascii_only: bool, size: int
) -> None:
    content = compressed(arranged(rows, arrangement, ascii_only=ascii_only).encode(encoding), compression)

    def broken(error: DataError) -> None:
        raise error

    configured = "utf-8" if encoding.startswith("utf-8") else encoding
    chunks = bytestream.utf8(bytestream.decompressed(pieces(content, size), "f"), "f", configured)
    read = list(jsonstream.json_rows(chunks, "f", broken, is_lines=arrangement.startswith("lines")))
    assert [row for row, _ in read] == rows
    expected = [f"f:{i + 1}" if arrangement.startswith("lines") else f"f[{i}]" for i in range(len(rows))]
    assert [place for _, place in read] == expected
