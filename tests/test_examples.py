"""Rows as a run keeps them: the same row comes back, with its pieces, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from finetooth.config import DataConfig, LabelsConfig
from finetooth.demo import DIALOGUES, TOKENIZERS, data_path, tokenizer_path
from finetooth.examples import MAX_TOKENS, Example, examples_of
from finetooth.inspection import open_records
from finetooth.labels import Setup, make_setup
from finetooth.records import records_of
from finetooth.types import InspectedRecord, Record
from finetooth.view.terminal import render_terminal


def setup_of(name: str) -> Setup:
    loaded = make_setup(str(tokenizer_path(name)))
    labels = LabelsConfig(way="completion-collator", response_template="[/INST]")
    return Setup(tokenizer=loaded.tokenizer, template=loaded.template, labels=labels)


def dialogues() -> Iterator[Record]:
    return open_records(str(data_path(DIALOGUES["ja"])), DataConfig())


@pytest.mark.parametrize(
    ("name", "branch"),
    list(zip(TOKENIZERS, ("split-by-normalizer", "masked-by-pad", "stops"), strict=True)),
)
def test_there_and_back(name: str, branch: str) -> None:
    examples = list(examples_of(setup_of(name), dialogues()))
    assert [one.encoded.record_index for one in examples] == [0, 1, 2]
    for one in examples:
        again = Example.from_json(json.loads(json.dumps(one.to_json())))
        assert again == one
        assert again.terminator.branch == branch


def test_the_view_needs_no_tokenizer() -> None:
    """What is kept draws the same picture as the tokenizer itself."""
    setup = setup_of("supervised")
    (kept, *_) = examples_of(setup, dialogues())
    record = Record(index=0, where=kept.encoded.where, shape="messages", row={})
    own = type(kept.side)(encoded=kept.encoded, pieces=setup.tokenizer)
    drawn = [
        render_terminal(InspectedRecord(record=record, sides=[side]), width=100, color=False)
        for side in (kept.side, own)
    ]
    assert drawn[0] == drawn[1]


def test_rows_that_are_too_long_or_broken_are_passed_over() -> None:
    rows: list[dict[str, Any]] = [
        {"messages": [{"role": "user", "content": "a"}, {"role": "tool", "content": "b"}]},  # the template refuses
        {"prompt": "はい？", "completion": "長い。" * MAX_TOKENS},
        {"prompt": "はい？", "completion": "ええ。"},
    ]
    found = list(examples_of(make_setup(str(tokenizer_path("supervised"))), records_of(rows)))
    assert [one.encoded.record_index for one in found] == [2]


@pytest.mark.parametrize("damage", [{"labels": [1]}, {"ending": None}, {"offsets": [[0]]}, {"spans": [{"x": 1}]}])
def test_what_is_no_example(damage: dict[str, object]) -> None:
    (line, *_) = (one.to_json() for one in examples_of(setup_of("supervised"), dialogues()))
    with pytest.raises((KeyError, TypeError, ValueError)):
        Example.from_json({**line, **damage})
