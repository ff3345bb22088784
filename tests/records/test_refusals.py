from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from finetooth.config import DataConfig
from finetooth.errors import DataError
from finetooth.records import record_of
from tests.records.files import failure, read, write

TURNS = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
QUESTION, ANSWER = TURNS[:1], TURNS[1:]


def refusal(row: dict[str, Any], where: str = "data.jsonl:7", **config: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        record_of(row, index=0, where=where, config=DataConfig(**config))
    assert caught.value.where == where
    assert caught.value.help
    return caught.value


PAIR = "`chosen`, `rejected`"
PREFERENCES: list[tuple[dict[str, Any], str, str]] = [
    ({"prompt": "q", "chosen": "a", "rejected": "b"}, PAIR, "{prompt, completion: .chosen}"),
    ({"prompt": QUESTION, "chosen": ANSWER, "rejected": ANSWER}, PAIR, "{prompt, completion: .chosen}"),
    ({"prompt": "q", "chosen": TURNS, "rejected": TURNS}, PAIR, "{messages: .chosen}"),
    ({"chosen": TURNS, "rejected": TURNS}, PAIR, "{messages: .chosen}"),
    ({"chosen": "a", "rejected": "b"}, PAIR, "{text: .chosen}"),
    (
        {"instruction": "q", "input": "", "chosen": "a", "rejected": "b"},
        PAIR,
        "{instruction, input, output: .chosen}",
    ),
    (
        {"conversations": [{"from": "human", "value": "q"}], "chosen": {"from": "gpt", "value": "a"}, "rejected": {}},
        PAIR,
        "{conversations: (.conversations + [.chosen])}",
    ),
    (
        {"prompt": "q", "completion": "a", "label": True},
        "`completion`, `label`",
        "select(.label) | {prompt, completion}",
    ),
    ({"instruction": "q", "output": "a", "kto_tag": True}, "`kto_tag`", "select(.kto_tag) | del(.kto_tag)"),
]


@pytest.mark.parametrize(("row", "columns", "program"), PREFERENCES)
def test_preference_rows(row: dict[str, Any], columns: str, program: str) -> None:
    error = refusal(row)
    assert error.what == (f"a preference row ({columns}); finetooth reads text rows for supervised fine-tuning alone")
    assert error.help == f"jq -c '{program}' data.jsonl > sft.jsonl"
    assert refusal(row, where="d/x.json[3]").help == f"jq -c '.[] | {program}' d/x.json > sft.jsonl"
    assert refusal(row, where="<memory>[3]").help == f"jq -c '{program}' data.jsonl > sft.jsonl"


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
@pytest.mark.parametrize(("row", "columns", "program"), PREFERENCES)
@pytest.mark.parametrize("name", ["data.jsonl", "data.json"])
def test_the_remedies_for_preference_rows_work(
    tmp_path: Path, row: dict[str, Any], columns: str, program: str, name: str
) -> None:
    path = write(tmp_path / name, json.dumps(row if name == "data.jsonl" else [row]))
    remedy = failure(path).help
    assert remedy is not None
    subprocess.run(remedy, shell=True, check=True, cwd=tmp_path)
    (record,) = read(tmp_path / "sft.jsonl")
    assert record.completion == "a" or record.text == "a" or (record.messages or [])[-1]["content"] == "a"


@pytest.mark.parametrize(
    "row",
    [
        {"chosen_input_ids": [1], "rejected_input_ids": [2]},
        {"prompt": "q", "completions": ["a", "b"], "labels": [True, False]},
    ],
)
def test_further_preference_rows(row: dict[str, Any]) -> None:
    error = refusal(row)
    assert error.what.startswith("a preference row (")
    assert error.help == "leave such rows out: `--set data.skip_broken=true`"


def test_a_preference_row_that_holds_messages_is_read_where_these_are_asked_for() -> None:
    row = {"messages": TURNS, "chosen": TURNS, "rejected": TURNS}
    assert refusal(row).help == "--set data.shape=messages"
    assert record_of(row, index=0, where="x", config=DataConfig(shape="messages")).messages == TURNS


@pytest.mark.parametrize(
    "row", [{"text": "a", "label": 3}, {"text": "a", "label": True}, {"text": "a", "chosen": None}]
)
def test_rows_that_are_no_preference(row: dict[str, Any]) -> None:
    assert record_of(row, index=0, where="x").text == "a"


@pytest.mark.parametrize("shape", ["auto", "messages"])
@pytest.mark.parametrize("column", ["image", "images", "pixel_values", "audio", "video", "videos"])
def test_columns_of_images_sound_and_video(column: str, shape: str) -> None:
    error = refusal({"messages": TURNS, column: ["x.png"]}, shape=shape)
    assert error.what == (
        f"a row with images, sound or video (column `{column}`); "
        "finetooth reads text rows for supervised fine-tuning alone"
    )
    assert error.help == f"jq -c 'del(.{column})' data.jsonl > sft.jsonl"


def test_an_encoded_row_with_images() -> None:
    assert "pixel_values" in refusal({"input_ids": [1], "pixel_values": [[0.5]]}).what


@pytest.mark.parametrize("value", [None, [], ""])
def test_columns_of_images_that_are_empty(value: Any) -> None:
    assert record_of({"messages": TURNS, "images": value}, index=0, where="x").shape == "messages"


SHAPES = "`text` | `prompt` + `completion` | `messages` | `conversations` | `instruction` + `output` | `input_ids`"


@pytest.mark.parametrize(
    ("row", "columns", "remedy"),
    [
        ({"mesages": TURNS}, "`mesages`", "rename the column `mesages` to `messages`"),
        ({"id": 1, "Text": "x"}, "`id`, `Text`", "rename the column `Text` to `text`"),
        ({"question": "q", "answer": "a"}, "`question`, `answer`",
         "rename the columns `question` to `prompt` and `answer` to `completion`"),
        ({"id": 1, "body": "x"}, "`id`, `body`", "--set data.text_field=body"),
        ({"left": "x", "right": "x"}, "`left`, `right`",
         "rename the columns to those of one shape, such as `prompt` and `completion`"),
        ({f"c{i}": i for i in range(15)}, ", ".join(f"`c{i}`" for i in range(12)) + " and 3 more",
         "rename the columns to those of one shape, such as `prompt` and `completion`"),
    ],
)  # fmt: skip
def test_columns_of_no_shape(row: dict[str, Any], columns: str, remedy: str) -> None:
    error = refusal(row)
    assert error.what == f"the columns {columns} fit no known shape; a row needs {SHAPES}"
    assert error.help == remedy


@pytest.mark.parametrize("row", [{}, {"text": None, "messages": None}])
def test_a_row_without_values(row: dict[str, Any]) -> None:
    assert refusal(row).what == "the row has no columns with a value"


KNOWN = "(known shapes: text, prompt-completion, messages, conversations, alpaca, encoded)"


@pytest.mark.parametrize(
    ("row", "config", "what", "remedy"),
    [
        ({"prompt": "q"}, {},
         f"`completion` is missing for the shape prompt-completion; columns found: `prompt` {KNOWN}",
         "fill it in, or leave such rows out: `--set data.skip_broken=true`"),
        ({"prompt": "q", "completon": "a"}, {},
         f"`completion` is missing for the shape prompt-completion; columns found: `prompt`, `completon` {KNOWN}",
         "rename the column `completon` to `completion`"),
        ({"prompt": "q", "answer": "a"}, {},
         f"`completion` is missing for the shape prompt-completion; columns found: `prompt`, `answer` {KNOWN}",
         "rename the column `answer` to `completion`"),
        ({"instruction": "q", "ouput": "a"}, {},
         f"`output` is missing for the shape alpaca; columns found: `instruction`, `ouput` {KNOWN}",
         "rename the column `ouput` to `output`"),
        ({"text": "q"}, {"shape": "alpaca"},
         f"`instruction`, `output` is missing for the shape alpaca; columns found: `text` {KNOWN}",
         "--set data.shape=auto"),
        ({"texts": "q"}, {"shape": "text"}, f"`text` is missing for the shape text; columns found: `texts` {KNOWN}",
         "rename the column `texts` to `text`"),
    ],
)  # fmt: skip
def test_a_missing_column(row: dict[str, Any], config: dict[str, Any], what: str, remedy: str) -> None:
    error = refusal(row, **config)
    assert (error.what, error.help) == (what, remedy)


def test_a_text_column_that_is_named_otherwise() -> None:
    error = refusal({"bdy": "x"}, text_field="body")
    assert error.help == "rename the column `bdy` to `body`"
