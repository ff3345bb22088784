from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from finetooth.config import DataConfig
from finetooth.fix.columns import answer_paths, end_path, text_path, with_changes
from finetooth.records import record_of
from tests.fix.stages import DIALOGUE, codes, demo, names, read_rows, repaired
from tests.small_tokenizers import byte_bpe, save_model

BOS = {"text": "<s>[INST] 紅茶は？ [/INST] 好きですわ。</s>"}


def rows_after(model: Path, rows: list[dict[str, Any]], folder: Path, **options: Any) -> list[dict[str, Any]]:
    one = repaired(model, rows, folder, **options)
    return rows if one.data is None else read_rows(one.data.paths[0])


@pytest.mark.parametrize("way", ["completion-collator", "causal-lm", "trl"])
def test_a_bos_that_the_tokenizer_adds_is_dropped_from_texts(way: str, tmp_path: Path) -> None:
    model = demo("supervised", tmp_path / "m")
    one = repaired(model, [BOS, {"text": BOS["text"][3:]}], tmp_path, way=way, response_template="[/INST]")
    assert "TOK001" in codes(one.before)
    assert "TOK001" not in codes(one.after)
    assert one.data is not None
    assert read_rows(one.data.paths[0]) == [{"text": BOS["text"][3:]}] * 2
    assert [edit.count for edit in one.edits if edit.name == "second-bos"] == [1]


def test_a_bos_of_a_prompt(tmp_path: Path) -> None:
    row = {"prompt": "<s>[INST] 紅茶は？ [/INST]", "completion": " 好きですわ。", "id": 7}
    after = rows_after(demo("supervised", tmp_path / "m"), [row], tmp_path, way="trl")
    assert after == [{"prompt": "[INST] 紅茶は？ [/INST]", "completion": " 好きですわ。", "id": 7}]


def test_finetooths_own_labels_never_double_it(tmp_path: Path) -> None:
    assert names(repaired(demo("supervised", tmp_path / "m"), [BOS], tmp_path)) == []


def test_a_bos_that_the_template_spells_is_left_and_said(tmp_path: Path) -> None:
    model = demo("supervised", tmp_path / "m")
    one = repaired(model, [DIALOGUE], tmp_path, way="completion-collator", response_template="[/INST]")
    assert "TOK001" in codes(one.after)
    assert one.data is None


@pytest.mark.parametrize(
    ("row", "path", "expected"),
    [
        ({"text": "[INST] a [/INST] b</s></s>"}, "text", "[INST] a [/INST] b</s>"),
        ({"text": "[INST] a [/INST] b</s>\n</s>\n"}, "text", "[INST] a [/INST] b</s>"),
        ({"prompt": "a", "completion": " b</s>\n</s>"}, "completion", " b</s>"),
    ],
)
def test_a_second_terminator_is_dropped(row: dict[str, Any], path: str, expected: str, tmp_path: Path) -> None:
    one = repaired(demo("supervised", tmp_path / "m"), [row], tmp_path, way="causal-lm")
    assert "LAB009" in codes(one.before)
    assert "LAB009" not in codes(one.after)
    assert one.data is not None
    assert read_rows(one.data.paths[0]) == [row | {path: expected}]


def test_a_newline_that_hides_the_first_from_the_trainer(tmp_path: Path) -> None:
    row = {"prompt": "a", "completion": " b</s>\n"}
    assert rows_after(demo("supervised", tmp_path / "m"), [row], tmp_path, way="trl") == [
        {"prompt": "a", "completion": " b</s>"}
    ]


@pytest.mark.parametrize("key", ["messages", "conversations"])
def test_a_terminator_in_the_content_of_an_answer(key: str, tmp_path: Path) -> None:
    names_of = ("role", "content", "user", "assistant") if key == "messages" else ("from", "value", "human", "gpt")
    role, content, user, assistant = names_of
    turns = [{role: user, content: "紅茶は？"}, {role: assistant, content: "好きですわ。</s>"}]
    row: dict[str, Any] = {key: turns} | ({"system": "s"} if key == "conversations" else {})
    one = repaired(demo("supervised", tmp_path / "m"), [row], tmp_path)
    assert "LAB009" in codes(one.before)
    assert "LAB009" not in codes(one.after)
    assert one.data is not None
    (after,) = read_rows(one.data.paths[0])
    assert after[key][1][content] == "好きですわ。"
    assert after | {key: turns} == row


SPACES = [
    {"prompt": "the cat ", "completion": "drinks a cup of tea"},
    {"prompt": "猫は ", "completion": "紅茶を見ました。"},
    {"prompt": "the cat", "completion": " drinks a cup of tea"},
]


def test_a_space_at_the_boundary_moves_where_a_token_straddles(tmp_path: Path) -> None:
    model = save_model(tmp_path / "m", byte_bpe())
    one = repaired(model, SPACES, tmp_path, way="trl")
    assert "LAB007" in codes(one.before)
    assert "LAB007" not in codes(one.after)
    assert one.data is not None
    after = read_rows(one.data.paths[0])
    assert after[0] == SPACES[2]
    assert all(new in (old, moved(old)) for new, old in zip(after, SPACES, strict=True))


def moved(row: dict[str, str]) -> dict[str, str]:
    return {"prompt": row["prompt"].rstrip(), "completion": " " + row["completion"]}


def test_elsewhere_it_moves_only_with_unsafe(tmp_path: Path) -> None:
    model = save_model(tmp_path / "m", byte_bpe())
    rows = [{"prompt": "the cat ", "completion": "drinks"}, {"prompt": "猫 ", "completion": "𠮷"}]
    safe = repaired(model, rows, tmp_path / "safe", way="trl")
    assert [edit.name for edit in safe.offered] == ["boundary-space-everywhere"]
    assert safe.data is not None
    assert read_rows(safe.data.paths[0]) == [moved(rows[0]), rows[1]]
    bold = repaired(model, rows, tmp_path / "bold", unsafe=True, way="trl")
    assert bold.data is not None
    assert read_rows(bold.data.paths[0]) == [moved(row) for row in rows]
    assert bold.offered == ()


@pytest.mark.parametrize("way", ["causal-lm", "completion-collator"])
@pytest.mark.parametrize("row", [{"text": "[INST] a [/INST] b"}, {"prompt": "[INST] a [/INST]", "completion": " b"}])
def test_an_end_is_written_where_nobody_appends_one(way: str, row: dict[str, str], tmp_path: Path) -> None:
    one = repaired(demo("supervised", tmp_path / "m"), [row], tmp_path, way=way, response_template="[/INST]")
    assert "LAB003" in codes(one.before)
    assert "LAB003" not in codes(one.after)
    assert one.after.parts[0].endings == {"stops": 1}
    assert one.data is not None
    last = "text" if "text" in row else "completion"
    assert read_rows(one.data.paths[0]) == [row | {last: row[last] + "</s>"}]


def test_rows_without_words_are_dropped(tmp_path: Path) -> None:
    rows = [
        {"prompt": "a", "completion": " b"},
        {"prompt": "a", "completion": "  "},
        {"prompt": "a", "completion": "</s>"},
    ]
    one = repaired(demo("supervised", tmp_path / "m"), rows, tmp_path)
    assert one.data is not None
    assert read_rows(one.data.paths[0]) == rows[:1]
    assert [(edit.name, edit.count) for edit in one.edits] == [("empty-row", 2)]


def test_an_empty_answer_among_others_stays(tmp_path: Path) -> None:
    turns = [*DIALOGUE["messages"], {"role": "user", "content": "では"}, {"role": "assistant", "content": ""}]
    one = repaired(demo("supervised", tmp_path / "m"), [{"messages": turns}], tmp_path)
    assert "DAT004" in codes(one.after)
    assert one.data is None


def test_where_nothing_is_found_nothing_changes(tmp_path: Path) -> None:
    one = repaired(demo("supervised", tmp_path / "m"), [DIALOGUE], tmp_path)
    assert (one.edits, one.offered, one.left, one.data) == ((), (), (), None)
    assert one.model.changes() == []
    assert one.before is one.after


@pytest.mark.parametrize(
    ("row", "first", "last", "answers"),
    [
        ({"text": "a"}, ("text",), ("text",), [("text",)]),
        ({"prompt": "a", "completion": "b"}, ("prompt",), ("completion",), [("completion",)]),
        ({"prompt": "a", "response": "b"}, ("prompt",), ("response",), [("response",)]),
        (
            {"prompt": [{"role": "user", "content": "a"}], "completion": [{"role": "assistant", "content": "b"}]},
            None,
            None,
            [("completion", 0, "content")],
        ),
        ({"instruction": "a", "output": "b", "history": [["c", "d"]]}, None, None, [("history", 0, 1), ("output",)]),
        (
            {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}], "system": "s"},
            None,
            None,
            [("conversations", 1, "value")],
        ),
    ],
)
def test_where_the_words_stand(row: dict[str, Any], first: Any, last: Any, answers: Any) -> None:
    record = record_of(row, index=0, where="a:1")
    config = DataConfig()
    assert (text_path(record, config), end_path(record, config)) == (first, last)
    assert list(answer_paths(record, config)) == answers
    changed = with_changes(row, {answers[0]: "new"})
    assert list(answer_paths(record_of(changed, index=0, where="a:1"), config)) == answers
    assert "new" in str(changed)
    assert "new" not in str(row)
