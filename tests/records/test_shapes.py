from __future__ import annotations

import copy
from types import MappingProxyType
from typing import Any

import pytest

from finetooth.config import DataConfig
from finetooth.errors import DataError
from finetooth.records import record_of
from finetooth.types import SHAPES, Record

WHERE = "data.jsonl:7"
TURNS = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]


def record(row: dict[str, Any], **config: Any) -> Record:
    before = copy.deepcopy(row)
    made = record_of(row, index=3, where=WHERE, config=DataConfig(**config))
    assert (made.index, made.where) == (3, WHERE)
    assert made.row is row
    assert row == before
    return made


def failure(row: Any, **config: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        record_of(row, index=0, where=WHERE, config=DataConfig(**config))
    assert caught.value.where == WHERE
    assert caught.value.help
    return caught.value


EXAMPLES: dict[str, dict[str, Any]] = {
    "encoded": {"input_ids": [1, 2, 3], "labels": [-100, 2, 3], "attention_mask": [1, 1, 1]},
    "prompt-completion": {"prompt": "q", "completion": "a"},
    "messages": {"messages": TURNS},
    "conversations": {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
    "alpaca": {"instruction": "q", "input": "", "output": "a"},
    "text": {"text": "qa"},
}
FIELDS: dict[str, dict[str, Any]] = {
    "encoded": EXAMPLES["encoded"],
    "prompt-completion": EXAMPLES["prompt-completion"],
    "messages": {"messages": TURNS},
    "conversations": {"messages": TURNS},
    "alpaca": {"messages": TURNS},
    "text": {"text": "qa"},
}


def filled(made: Record) -> dict[str, Any]:
    names = ("text", "prompt", "completion", "messages", "num_prompt_messages", "input_ids", "labels", "attention_mask")
    return {name: getattr(made, name) for name in names if getattr(made, name) is not None}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("forced", [True, False])
def test_shapes_are_detected_or_forced(shape: Any, forced: bool) -> None:
    made = record(EXAMPLES[shape], shape=shape if forced else "auto")
    assert made.shape == shape
    assert filled(made) == FIELDS[shape]


def test_columns_of_null_are_absent() -> None:
    empty = dict.fromkeys({name for row in EXAMPLES.values() for name in row} | {"chosen", "images", "tools"})
    for shape, row in EXAMPLES.items():
        made = record({**empty, **row})
        assert made.shape == shape
        assert filled(made) == FIELDS[shape]
        assert made.tools is None


@pytest.mark.parametrize(
    ("columns", "shape"),
    [
        ({"encoded", "text", "prompt-completion", "messages"}, "encoded"),
        ({"prompt-completion", "messages", "text"}, "prompt-completion"),
        ({"messages", "text", "alpaca"}, "messages"),
        ({"conversations", "text", "alpaca"}, "conversations"),
        ({"alpaca", "text"}, "alpaca"),
    ],
)
def test_where_columns_fit_several_shapes(columns: set[str], shape: str) -> None:
    row = {name: value for column in columns for name, value in EXAMPLES[column].items()}
    assert record(row).shape == shape
    # A forced shape overrules it.
    assert {record(row, shape=column).shape for column in columns} == columns


def test_a_prompt_beside_messages_is_no_pair() -> None:
    assert record({"prompt": "q", "messages": TURNS}).shape == "messages"


def test_response_is_a_completion_where_nothing_else_fits() -> None:
    made = record({"prompt": "q", "response": "a", "text": "qa"})
    assert (made.shape, made.prompt, made.completion) == ("prompt-completion", "q", "a")
    assert record({"prompt": "q", "response": "r", "completion": "c"}).completion == "c"
    assert record({"prompt": "q", "response": "r", "messages": TURNS}).shape == "messages"
    assert record({"prompt": "q", "response": "r"}, shape="prompt-completion").completion == "r"


def test_prompt_and_completion_as_messages() -> None:
    made = record({"prompt": TURNS[:1], "completion": TURNS[1:]})
    assert filled(made) == {"messages": TURNS, "num_prompt_messages": 1}
    assert made.messages is not None and made.messages[0] is TURNS[0]


def test_prompt_and_completion_of_two_kinds() -> None:
    error = failure({"prompt": "q", "completion": TURNS[1:]})
    assert error.what == "`prompt` is a string and `completion` a list of messages"
    assert error.help == "jq -c '.prompt |= [{role: \"user\", content: .}]' data.jsonl > sft.jsonl"
    error = failure({"prompt": TURNS[:1], "completion": "a"})
    assert error.what == "`completion` is a string and `prompt` a list of messages"
    assert error.help == "jq -c '.completion |= [{role: \"assistant\", content: .}]' data.jsonl > sft.jsonl"


def test_empty_strings_are_read() -> None:
    assert filled(record({"prompt": "", "completion": ""})) == {"prompt": "", "completion": ""}
    assert filled(record({"text": ""})) == {"text": ""}


def test_alpaca_with_all_its_columns() -> None:
    row = {"instruction": "do", "input": "this", "output": "done", "system": "s", "history": [["q", "a"], ("q2", "a2")]}
    assert record(row).messages == [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "a"},
        {"role": "user", "content": "q2"},
        {"role": "assistant", "content": "a2"},
        {"role": "user", "content": "do\nthis"},
        {"role": "assistant", "content": "done"},
    ]
    assert record({"instruction": "q", "output": "a", "input": None, "history": None, "system": ""}).messages == TURNS
    assert record({"instruction": "q", "output": "a", "history": []}).messages == TURNS


def test_another_text_column() -> None:
    assert record({"body": "x"}, text_field="body").text == "x"


def test_ids_without_labels() -> None:
    assert filled(record({"input_ids": [1]})) == {"input_ids": [1]}


@pytest.mark.parametrize("value", [None, "", [], "[]", "null"])
def test_no_tools(value: Any) -> None:
    assert record({"messages": TURNS, "tools": value}).tools is None


@pytest.mark.parametrize("shape", ["messages", "conversations", "alpaca", "text"])
def test_tools_and_template_arguments(shape: str) -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    row = {**EXAMPLES[shape], "tools": tools, "chat_template_kwargs": {"enable_thinking": False}}
    made = record(row)
    assert made.tools is tools
    assert made.chat_template_kwargs == {"enable_thinking": False}
    assert record({**row, "tools": '[{"name": "f"}]'}).tools == [{"name": "f"}]
    assert record({**row, "chat_template_kwargs": None}).chat_template_kwargs == {}


def test_rows_need_not_be_dicts() -> None:
    row = MappingProxyType({"messages": ({"role": "user", "content": "q"},)})
    assert record_of(row, index=0, where=WHERE).messages == TURNS[:1]


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ([1], "`row` is a list; expected an object"),
        ({"text": 5}, "`text` is the number `5`; expected a string"),
        ({"prompt": 5, "completion": "a"}, "`prompt` is the number `5`; expected a string or a list of messages"),
        ({"prompt": "q", "completion": {}}, "`completion` is an object; expected a string or a list of messages"),
        ({"prompt": [], "completion": TURNS}, "`prompt` is empty"),
        ({"prompt": ["q"], "completion": TURNS}, "`prompt[0]` is the string `q`; expected an object with role"),
        ({"instruction": 5, "output": "a"}, "`instruction` is the number `5`; expected a string"),
        ({"instruction": "q", "input": [], "output": "a"}, "`input` is a list; expected a string"),
        ({"instruction": "q", "output": {}}, "`output` is an object; expected a string"),
        ({"instruction": "q", "output": "a", "history": "x"}, "`history` is the string `x`; expected a list of pairs"),
        ({"instruction": "q", "output": "a", "history": [["q"]]}, "`history[0]` is a list; expected a pair of"),
        ({"instruction": "q", "output": "a", "history": [["q", 5]]}, "`history[0][1]` is the number `5`; expected"),
        ({"input_ids": "1 2"}, "`input_ids` is the string `1 2`; expected a list of integers"),
        ({"input_ids": [1, "2"]}, "`input_ids[1]` is the string `2`; expected an integer"),
        ({"input_ids": [1, 2.0]}, "`input_ids[1]` is the number `2.0`; expected an integer"),
        ({"input_ids": [[1]]}, "`input_ids[0]` is a list; expected an integer"),
        ({"input_ids": [1 << 70]}, "`input_ids[0]` is the number `1180591620717411303…`; expected an integer"),
        ({"input_ids": [1], "labels": [None]}, "`labels[0]` is null; expected an integer"),
        ({"input_ids": []}, "`input_ids` is empty"),
        ({"input_ids": [1, 2], "labels": [1]}, "`labels` has 1 elements, `input_ids` 2"),
        ({"input_ids": [1, 2], "attention_mask": [1]}, "`attention_mask` has 1 elements, `input_ids` 2"),
        ({"text": "a", "tools": {}}, "`tools` is an object; expected a list of tools, or its JSON"),
        ({"text": "a", "tools": "{}"}, "`tools` is the string `{}`; expected a list of tools"),
        ({"text": "a", "tools": "x(f)"}, "tools: invalid JSON at column 1: a value was expected: `x(f)`"),
        ({"text": "a", "chat_template_kwargs": "x"}, "`chat_template_kwargs` is the string `x`; expected an object"),
    ],
)
def test_values_of_the_wrong_type(row: Any, what: str) -> None:
    assert failure(row).what.startswith(what)


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({"text": "é\ud83d"}, "text"),
        ({"prompt": "é\ud83d", "completion": "a"}, "prompt"),
        ({"prompt": "q", "completion": "é\ud83d"}, "completion"),
        ({"instruction": "é\ud83d", "output": "a"}, "instruction"),
        ({"instruction": "q", "output": "é\ud83d"}, "output"),
        ({"instruction": "q", "input": "é\ud83d", "output": "a"}, "input"),
        ({"instruction": "q", "output": "a", "system": "é\ud83d"}, "system"),
        ({"instruction": "q", "output": "a", "history": [["é\ud83d", "a"]]}, "history[0][0]"),
        ({"text": "a", "tools": [{"name": "é\ud83d"}]}, "tools[0].name"),
        ({"text": "a", "chat_template_kwargs": {"date": "é\ud83d"}}, "chat_template_kwargs.date"),
    ],
)
def test_half_a_surrogate_pair(row: dict[str, Any], field: str) -> None:
    assert failure(row).what == (
        f"half of a surrogate pair, `\\ud83d`, in `{field}` at character 1: no tokenizer takes it"
    )


def test_half_a_surrogate_pair_in_a_column_that_is_not_read() -> None:
    assert record({"text": "a", "note": "\ud83d"}).text == "a"
