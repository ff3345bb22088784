"""Whatever comes, reading gives records or an error of ours: never a traceback of someone else's."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from finetooth.config import DataConfig
from finetooth.errors import DataError, FinetoothError
from finetooth.records import read_records, record_of
from finetooth.types import SHAPES

TEMPORARY = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)

SEEDS = [
    b'{"text": "a"}\n{"text": "\xe3\x81\x8a"}\n',
    b'[{"text": "a"}, {"messages": [{"role": "user", "content": "q"}]}]',
    b'{"data": [{"text": "a"}]}',
    b'{\n "text": "a",\n "n": [1, 2.5e3]\n}',
    b'prompt,completion\n"a ""b""",c\nd,e\n',
    '{"text": "a"}\n'.encode("utf-16"),
    gzip.compress(b'{"text": "a"}\n' * 50),
    zstandard.compress(b'{"text": "a"}\n' * 50),
    b"",
]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Draw a file that was whole once: cut, changed or lengthened."""
    content = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(content)))
        size = draw(st.integers(0, 5))
        content[at : at + size] = draw(st.binary(max_size=5) | st.sampled_from([b'"', b"[", b"}", b"\n", b"\\", b"\0"]))
    return bytes(content[: draw(st.integers(0, len(content) + 1))])


@TEMPORARY
@given(content=damaged() | st.binary(max_size=60), skip_broken=st.booleans())
@pytest.mark.parametrize("name", ["f.jsonl", "f.json", "f.csv", "f.tsv", "f", "f.json.gz", "f.parquet"])
def test_damaged_files(tmp_path: Path, name: str, content: bytes, skip_broken: bool) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    told: list[FinetoothError] = []
    try:
        records = list(read_records(path, DataConfig(skip_broken=skip_broken), on_broken=told.append))
    except FinetoothError as caught:
        told.append(caught)
    else:
        assert records
        assert [record.index for record in records] == list(range(len(records)))
    for error in told:
        assert error.where is not None and error.where.startswith(str(path))
        assert error.help
        assert len(error.what) < 1200


COLUMNS = [
    *("text", "prompt", "completion", "response", "messages", "conversations", "instruction", "input", "output"),
    *(
        "history",
        "system",
        "tools",
        "chat_template_kwargs",
        "input_ids",
        "labels",
        "attention_mask",
        "images",
        "chosen",
    ),
]
KEYS = ["role", "content", "from", "value", "type", "text", "tool_calls", "reasoning_content", "name", "arguments"]
WORDS = [
    "user",
    "assistant",
    "human",
    "gpt",
    "function_call",
    "text",
    "tool_call",
    "reasoning",
    "tools",
    "[]",
    "\ud83d",
]
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(WORDS) | st.text(max_size=3)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=500)
@given(row=st.dictionaries(st.sampled_from(COLUMNS), VALUES, max_size=5), shape=st.sampled_from(["auto", *SHAPES]))
@example(row={"input_ids": [float("nan")]}, shape="auto")
def test_rows_of_anything(row: dict[str, Any], shape: Any) -> None:
    before = json.dumps(row)
    try:
        record = record_of(row, index=0, where="f:1", config=DataConfig(shape=shape))
    except DataError as error:
        assert error.where == "f:1"
        assert error.help
    else:
        assert record.row is row
        for message in record.messages or []:
            assert isinstance(message["role"], str)
    assert json.dumps(row) == before
