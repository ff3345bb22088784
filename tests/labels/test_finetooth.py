"""finetooth's own labels, shape by shape."""

from __future__ import annotations

from typing import Any

import pytest

from finetooth.config import Config, LabelsConfig, TokenizerConfig
from finetooth.errors import FinetoothError
from finetooth.labels import encode_records, make_setup
from finetooth.records import records_of
from finetooth.types import IGNORE_INDEX, Encoded

TURNS = [
    {"role": "user", "content": "一つ目"},
    {"role": "assistant", "content": "はい"},
    {"role": "user", "content": "二つ目"},
    {"role": "assistant", "content": "ええ"},
]


def encode(model: str, row: dict[str, Any], **labels: Any) -> Encoded:
    template = labels.pop("template", None)
    config = Config(labels=LabelsConfig(**labels), tokenizer=TokenizerConfig(template=template))
    (one,) = encode_records(make_setup(model, config), records_of([row]))
    return one


def learned(encoded: Encoded) -> list[str]:
    """Return the texts of the runs of supervised tokens."""
    runs: list[list[tuple[int, int]]] = []
    before = False
    for offset, label in zip(encoded.offsets, encoded.labels, strict=True):
        if label != IGNORE_INDEX:
            if not before:
                runs.append([])
            runs[-1].append(offset)
        before = label != IGNORE_INDEX
    return [encoded.text[run[0][0] : run[-1][1]] for run in runs]


@pytest.mark.parametrize(
    ("train_on", "expected"),
    [
        ("completion", [" はい</s>", " ええ</s>"]),
        ("assistant", [" はい</s>", " ええ</s>"]),
        ("last", [" ええ</s>"]),
        ("all", ["<s>[INST] 一つ目 [/INST] はい</s><s>[INST] 二つ目 [/INST] ええ</s>"]),
    ],
)
def test_train_on(train_on: str, expected: list[str], demo_model: str) -> None:
    assert learned(encode(demo_model, {"messages": TURNS}, train_on=train_on)) == expected


@pytest.mark.parametrize(
    ("train_on", "expected"),
    [("completion", [" ええ</s>"]), ("assistant", [" はい</s>", " ええ</s>"]), ("last", [" ええ</s>"])],
)
def test_the_prompts_own_answers_are_no_completion(train_on: str, expected: list[str], demo_model: str) -> None:
    row = {"prompt": TURNS[:3], "completion": TURNS[3:]}
    assert learned(encode(demo_model, row, train_on=train_on)) == expected


@pytest.mark.parametrize("key", ["train", "weight", "loss", "loss_weight", "loss_mask"])
def test_a_turns_own_key_overrules(key: str, demo_model: str) -> None:
    first_off = [TURNS[0], {**TURNS[1], key: 0}, *TURNS[2:]]
    assert learned(encode(demo_model, {"messages": first_off})) == [" ええ</s>"]
    question_on = [*TURNS[:2], {**TURNS[2], key: 1}, TURNS[3]]
    assert learned(encode(demo_model, {"messages": question_on}, train_on="last"))[0].startswith("二つ目")


def test_part_of_a_turn_is_learned(demo_model: str) -> None:
    parts = [{"type": "text", "text": "考えます。", "train": False}, {"type": "text", "text": "はい"}]
    row = {"messages": [TURNS[0], {"role": "assistant", "content": parts}]}
    assert learned(encode(demo_model, row)) == ["はい</s>"]
    detail = {"content": "考えます。はい", "train_detail": [{"begin_offset": 0, "end_offset": 4, "train": False}]}
    row = {"messages": [TURNS[0], {"role": "assistant", **detail}]}
    assert learned(encode(demo_model, row)) == ["はい</s>"]


def test_a_turn_key_of_another_type_is_an_error_with_its_place(demo_model: str) -> None:
    row = {"messages": [TURNS[0], {**TURNS[1], "train": "yes"}]}
    with pytest.raises(FinetoothError, match="neither a boolean nor a number") as caught:
        encode(demo_model, row)
    assert caught.value.where == "<memory>[0]"


class TestText:
    """Whole texts: roles come from marks."""

    TEXT = "<s>[INST] 一つ目 [/INST] はい</s><s>[INST] 二つ目 [/INST] ええ</s>"

    def test_the_templates_own_marks(self, demo_model: str) -> None:
        encoded = encode(demo_model, {"text": self.TEXT})
        assert learned(encoded) == [" はい</s>", " ええ</s>"]
        assert encoded.input_ids.count(1) == 2, "a BOS is spelled, and not added again"

    def test_a_given_mark(self, demo_model: str) -> None:
        text = "質問: 元気？\n答え: ええ、もちろん。"
        encoded = encode(demo_model, {"text": text}, response_template="答え:", instruction_template="質問:")
        assert learned(encoded) == [" ええ、もちろん。"]
        assert encoded.input_ids[0] == 1

    def test_an_end_that_the_tokenizer_adds_is_supervised(self, tmp_path: Any) -> None:
        from tests.small_tokenizers import save_model, unigram

        save_model(tmp_path, unigram())
        encoded = encode(str(tmp_path), {"text": "質問: 元気？ 答え: ええ。"}, response_template="答え:")
        eos = unigram().token_to_id("</s>")
        assert (encoded.input_ids[-1], encoded.labels[-1]) == (eos, eos)
        assert encoded.labels[0] == IGNORE_INDEX

    def test_without_marks_everything_is_supervised_and_says_so(self, demo_model: str) -> None:
        encoded = encode(demo_model, {"text": "ただの文章です。"})
        assert learned(encoded) == ["ただの文章です。"]
        assert "roles are unknown" in encoded.notes[0]


class TestPairs:
    """Prompts and completions given as strings."""

    def test_the_end_of_sequence_id_is_appended(self, demo_model: str) -> None:
        encoded = encode(demo_model, {"prompt": "一つ目 ->", "completion": " はい。"})
        assert encoded.labels[-1] == 2
        assert learned(encoded) == [" はい。"]
        assert encoded.text == "一つ目 -> はい。"

    def test_one_encoding_of_the_whole(self, demo_model: str) -> None:
        row = {"prompt": "一つ目 [/INST]", "completion": " はい。"}
        setup = make_setup(demo_model)
        whole = setup.tokenizer.encode([row["prompt"] + row["completion"]], add_special_tokens=True)[0].ids
        assert encode(demo_model, row).input_ids == [*whole, 2]


def test_cutting(demo_model: str) -> None:
    whole = encode(demo_model, {"messages": TURNS})
    start = encode(demo_model, {"messages": TURNS}, max_length=10)
    end = encode(demo_model, {"messages": TURNS}, max_length=10, truncation_mode="keep_end")
    assert (start.input_ids, start.labels) == (whole.input_ids[:10], whole.labels[:10])
    assert (end.input_ids, end.labels) == (whole.input_ids[-10:], whole.labels[-10:])


def test_a_missing_template_is_an_error_with_a_remedy(tmp_path: Any) -> None:
    from tests.small_tokenizers import llama_bpe, save_model

    save_model(tmp_path, llama_bpe())
    with pytest.raises(FinetoothError, match="no chat template") as caught:
        encode(str(tmp_path), {"messages": TURNS})
    assert "--template" in str(caught.value.help)
    assert learned(encode(str(tmp_path), {"messages": TURNS}, template="chatml"))
