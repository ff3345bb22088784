"""Rows of real data sets, against those that datasets reads from the same files."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

from finetooth.records import read_records
from tests.shared_data import SHARED, needs_shared

FORMATS = SHARED / "data" / "formats"
OJOUSAMA = SHARED / "data" / "ojousama"
FILES = [
    (FORMATS / "alpaca_en_demo.json", "alpaca", 999),
    (FORMATS / "glaive_toolcall_en_demo.json", "conversations", 300),
    (FORMATS / "v1_sft_demo.jsonl", "messages", 500),
    (FORMATS / "identity.json", "alpaca", 91),
    (OJOUSAMA / "ojousamatalkscript200.jsonl", "prompt-completion", 202),
    (OJOUSAMA / "ojousamatalkscript200_gpt-3.5-1106ver.jsonl", "messages", 202),
    (SHARED / "data" / "report-example" / "text.jsonl", "text", 1),
]
pytestmark = needs_shared


def rows_by_datasets(path: Path, cache: Path) -> list[dict[str, Any]]:
    import datasets  # not at the top: it reads HF_HUB_OFFLINE, which conftest sets, when it is imported

    datasets.disable_progress_bars()
    rows = datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=str(cache))
    return list(rows)


@pytest.mark.parametrize(("path", "shape", "num_rows"), FILES, ids=[path.name for path, _, _ in FILES])
def test_rows_are_those_of_datasets(path: Path, shape: str, num_rows: int, tmp_path: Path) -> None:
    records = list(read_records(path))
    assert len(records) == num_rows
    assert {record.shape for record in records} == {shape}
    assert [record.row for record in records] == rows_by_datasets(path, tmp_path)


@pytest.mark.parametrize("ending", ["jsonl", "json", "jsonl.gz", "json.zst", "parquet"])
def test_a_data_set_reads_alike_in_every_format(ending: str, tmp_path: Path) -> None:
    expected = list(read_records(FORMATS / "glaive_toolcall_en_demo.json"))
    rows = [dict(record.row) for record in expected]
    path = tmp_path / f"data.{ending}"
    if ending == "parquet":
        import datasets

        datasets.disable_progress_bars()
        datasets.Dataset.from_list(rows).to_parquet(path)
    else:
        is_lines = ending.startswith("jsonl")
        content = "\n".join(json.dumps(row) for row in rows) if is_lines else json.dumps(rows, indent=1)
        compressors: dict[str, Callable[[bytes], bytes]] = {"gz": gzip.compress, "zst": zstandard.compress}
        compress = compressors.get(ending.rpartition(".")[2], bytes)
        path.write_bytes(compress(content.encode()))
    records = list(read_records(path))
    assert [record.row for record in records] == rows
    assert [record.messages for record in records] == [record.messages for record in expected]
    assert [record.tools for record in records] == [record.tools for record in expected]


def test_weights_of_turns_are_kept() -> None:
    for record in read_records(FORMATS / "v1_sft_demo.jsonl"):
        assert record.messages is not None
        assert [(turn["role"], turn["loss_weight"]) for turn in record.messages] == [("user", 0.0), ("assistant", 1.0)]
        for turn, source in zip(record.messages, record.row["messages"], strict=True):
            assert turn["content"] == [{"type": "text", "text": part["value"]} for part in source["content"]]


def test_calls_and_tools_are_standard() -> None:
    num_calls = 0
    for record in read_records(FORMATS / "glaive_toolcall_en_demo.json"):
        assert record.messages is not None
        assert record.tools == (json.loads(record.row["tools"]) or None)
        for turn, source in zip(record.messages, record.row["conversations"], strict=True):
            if source["from"] == "function_call":
                (call,) = turn["tool_calls"]
                assert call["function"] == json.loads(source["value"])
                assert turn["content"] == ""
                num_calls += 1
            else:
                assert turn["content"] == source["value"]
            assert turn["role"] == {"human": "user", "observation": "tool"}.get(source["from"], "assistant")
    assert num_calls == 211


def test_alpaca_as_turns() -> None:
    for record in read_records(FORMATS / "alpaca_en_demo.json"):
        assert record.messages is not None
        question, answer = record.messages
        row = record.row
        assert question["content"] == row["instruction"] + ("\n" + row["input"] if row["input"] else "")
        assert answer == {"role": "assistant", "content": row["output"]}
