"""Rows that are encoded already are shown as they are."""

from __future__ import annotations

import pytest

from finetooth.config import Config, LabelsConfig
from finetooth.errors import LabelsError
from finetooth.labels import encode_records, make_setup
from finetooth.records import records_of
from finetooth.tokenizer import load_tokenizer
from finetooth.types import IGNORE_INDEX, Encoded

AS_IS = Config(labels=LabelsConfig(way="as-is"))


def encoded(model: str, row: dict[str, list[int]]) -> Encoded:
    (one,) = encode_records(make_setup(model, AS_IS), records_of([row]))
    return one


def test_ids_and_labels_are_the_rows(demo_model: str) -> None:
    ids = load_tokenizer(demo_model).encode(["<s>[INST] はい [/INST] ええ</s>"], add_special_tokens=False)[0].ids
    labels = [IGNORE_INDEX] * 5 + ids[5:]
    one = encoded(demo_model, {"input_ids": ids, "labels": labels})
    assert (one.input_ids, one.labels) == (ids, labels)
    assert one.notes == ()
    assert one.text.replace(" ", "") == "<s>[INST]はい[/INST]ええ</s>"
    assert {span.role for span in one.spans} == {"user", "assistant"}


def test_a_row_without_labels_says_so(demo_model: str) -> None:
    one = encoded(demo_model, {"input_ids": [1, 5, 6]})
    assert one.labels == [1, 5, 6]
    assert "holds no labels" in one.notes[0]


@pytest.mark.parametrize("column", ["completion_mask", "assistant_masks"])
def test_labels_are_made_of_the_masks_of_a_preparation(demo_model: str, column: str) -> None:
    one = encoded(demo_model, {"input_ids": [1, 5, 6], column: [0, 1, 1]})
    assert one.labels == [IGNORE_INDEX, 5, 6]
    assert column in one.notes[0]


def test_padding_is_left_out_by_position(demo_model: str) -> None:
    row = {
        "input_ids": [2, 2, 1, 300, 2, 2],
        "labels": [-100, -100, 1, 300, 2, -100],
        "attention_mask": [0, 0, 1, 1, 1, 0],
    }
    one = encoded(demo_model, row)
    assert one.input_ids == [1, 300, 2]
    assert one.labels == [1, 300, 2]


def test_a_row_of_text_is_refused_with_a_remedy(demo_model: str) -> None:
    with pytest.raises(LabelsError) as caught:
        list(encode_records(make_setup(demo_model, AS_IS), records_of([{"text": "はい"}])))
    assert caught.value.where == "<memory>[0]"
    assert caught.value.help == "--labels finetooth"


def test_an_encoded_row_is_refused_by_the_ways_that_need_text(demo_model: str) -> None:
    with pytest.raises(LabelsError, match="needs text") as caught:
        list(encode_records(make_setup(demo_model), records_of([{"input_ids": [1, 2]}])))
    assert caught.value.help == "--labels as-is"


def test_the_same_labels_as_the_way_that_prepared_them(demo_model: str) -> None:
    rows = [{"prompt": "こんにちは。", "completion": "ごきげんよう、わたくしですわ。🦜"}]
    prepared = list(encode_records(make_setup(demo_model, Config(labels=LabelsConfig(way="trl"))), records_of(rows)))
    for one in prepared:
        again = encoded(demo_model, {"input_ids": one.input_ids, "labels": one.labels})
        assert again.labels == one.labels
        learned = [
            again.text[start:end] for (start, end), label in zip(again.offsets, again.labels, strict=True) if label >= 0
        ]
        assert "".join(dict.fromkeys(learned)).startswith("ご")
        assert learned[-1] == "</s>"
