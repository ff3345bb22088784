"""Real data sets in the shapes that people bring are read without options, and labelled as the same rows by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from finetooth.config import Config, DataConfig, LabelsConfig, TokenizerConfig
from finetooth.labels import Setup, encode_records, make_setup
from finetooth.records import read_records, records_of
from finetooth.types import IGNORE_INDEX
from tests.shared_data import SHARED, needs_shared

pytestmark = needs_shared
FORMATS = SHARED / "data/formats"


def rows_of(name: str) -> list[dict[str, Any]]:
    text = (FORMATS / name).read_text(encoding="utf-8")
    rows: list[dict[str, Any]] = (
        [json.loads(line) for line in text.splitlines()] if name.endswith(".jsonl") else json.loads(text)
    )
    return rows


def alpaca_by_hand(row: dict[str, Any]) -> dict[str, Any]:
    question = row["instruction"] + ("\n" + row["input"] if row["input"] else "")
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": row["output"]}]}


def sharegpt_by_hand(row: dict[str, Any]) -> dict[str, Any]:
    messages: list[dict[str, Any]] = []
    for turn in row["conversations"]:
        if turn["from"] == "function_call":
            call = {"type": "function", "function": json.loads(turn["value"])}
            messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
        else:
            role = {"human": "user", "gpt": "assistant", "observation": "tool"}[turn["from"]]
            messages.append({"role": role, "content": turn["value"]})
    return {"messages": messages, "tools": json.loads(row["tools"])}


def parts_by_hand(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "messages": [
            {
                "role": turn["role"],
                "content": "".join(part["value"] for part in turn["content"]),
                "train": turn["loss_weight"] > 0,
            }
            for turn in row["messages"]
        ]
    }


FILES: dict[str, tuple[int, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "alpaca_en_demo.json": (999, alpaca_by_hand),
    "glaive_toolcall_en_demo.json": (300, sharegpt_by_hand),
    "identity.json": (91, alpaca_by_hand),
    "v1_sft_demo.jsonl": (500, parts_by_hand),
}


@pytest.fixture(scope="module")
def setup() -> Setup:
    config = Config(tokenizer=TokenizerConfig(template="chatml"), labels=LabelsConfig())
    return make_setup(str(SHARED / "data/tokenizers/llama2-pad-is-unk"), config)


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_read_whole_and_labelled_as_by_hand(name: str, setup: Setup) -> None:
    count, by_hand = FILES[name]
    ours = list(encode_records(setup, read_records([str(FORMATS / name)], DataConfig())))
    assert len(ours) == count
    theirs = encode_records(setup, records_of([by_hand(row) for row in rows_of(name)]))
    for one, other in zip(ours, theirs, strict=True):
        assert (one.input_ids, one.labels) == (other.input_ids, other.labels)
        assert any(label != IGNORE_INDEX for label in one.labels)


def test_tool_calls_are_learned_and_observations_are_not(setup: Setup) -> None:
    records = read_records([str(FORMATS / "glaive_toolcall_en_demo.json")], DataConfig())
    for row, encoded in zip(rows_of("glaive_toolcall_en_demo.json"), encode_records(setup, records), strict=True):
        learned = "\n".join(encoded.text[span.start : span.end] for span in encoded.spans if span.supervised)
        read = "\n".join(encoded.text[span.start : span.end] for span in encoded.spans if not span.supervised)
        for turn in row["conversations"]:
            if turn["from"] == "function_call":
                assert json.loads(turn["value"])["name"] in learned
            elif turn["from"] == "observation":
                assert turn["value"].strip() in read
                assert turn["value"].strip() not in learned


def test_a_loss_weight_of_zero_is_honoured(setup: Setup) -> None:
    rows = rows_of("v1_sft_demo.jsonl")[:20]
    for row in rows:
        row["messages"][-1]["loss_weight"] = 0.0
    assert all(set(one.labels) == {IGNORE_INDEX} for one in encode_records(setup, records_of(rows)))
    for row in rows:
        row["messages"][0]["loss_weight"] = 1.0
    for row, one in zip(rows, encode_records(setup, records_of(rows)), strict=True):
        learned = [one.text[span.start : span.end] for span in one.spans if span.supervised]
        assert len(learned) == 1
        assert row["messages"][0]["content"][0]["value"].strip() in learned[0]
