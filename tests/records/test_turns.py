from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from finetooth.errors import DataError
from finetooth.records import record_of
from finetooth.records.turns import FROM_ROLES, KNOWN_ROLES
from finetooth.types import Record

WHERE = "data.jsonl:7"
QUESTION = {"role": "user", "content": "q"}
CALL = {"name": "search", "arguments": {"q": "x"}}
STANDARD_CALL = {"type": "function", "function": CALL}


def record(row: dict[str, Any]) -> Record:
    """Return a row's record, whose row is the row, untouched."""
    before = copy.deepcopy(row)
    made = record_of(row, index=3, where=WHERE)
    assert made.row is row
    assert row == before
    return made


def messages(*turns: dict[str, Any], column: str = "messages", **columns: Any) -> list[dict[str, Any]]:
    made = record({column: list(turns), **columns}).messages
    assert made is not None
    return made


def failure(row: dict[str, Any]) -> DataError:
    with pytest.raises(DataError) as caught:
        record_of(row, index=0, where=WHERE)
    assert caught.value.where == WHERE
    assert caught.value.help
    return caught.value


def turn_failure(*turns: Any) -> DataError:
    return failure({"messages": list(turns)})


def test_messages_in_order_are_shared_not_copied() -> None:
    turns: list[dict[str, Any]] = [
        {"role": "system", "content": "s", "train": False},
        {"role": "user", "content": "お嬢様"},
        {"role": "assistant", "content": [{"type": "text", "text": "a", "train": True}], "weight": 0},
        {"role": "assistant", "content": None, "tool_calls": [STANDARD_CALL]},
        {"role": "tool", "content": "r", "tool_call_id": "1", "name": "search"},
    ]
    made = messages(*turns)
    assert made == turns
    assert all(ours is theirs for ours, theirs in zip(made, turns, strict=True))


@pytest.mark.parametrize("role", sorted(KNOWN_ROLES))
def test_roles_of_messages_are_passed_on(role: str) -> None:
    assert messages({"role": role, "content": "x"})[0]["role"] == role


def test_the_roles_that_templates_know_are_known() -> None:
    assert {
        "system",
        "developer",
        "user",
        "assistant",
        "tool",
        "function",
        "ipython",
        "observation",
        "model",
    } <= KNOWN_ROLES
    assert set(FROM_ROLES) <= KNOWN_ROLES


@pytest.mark.parametrize(
    ("source", "role"),
    [
        ("human", "user"),
        ("user", "user"),
        ("gpt", "assistant"),
        ("chatgpt", "assistant"),
        ("bing", "assistant"),
        ("bard", "assistant"),
        ("model", "assistant"),
        ("assistant", "assistant"),
        ("system", "system"),
        ("observation", "tool"),
        ("function_response", "tool"),
        ("tool", "tool"),
    ],
)
@pytest.mark.parametrize("column", ["messages", "conversations"])
def test_from_and_value(column: str, source: str, role: str) -> None:
    turn = {"from": source, "value": "x", "weight": 0, "loss": None}
    assert messages(turn, column=column) == [{"role": role, "content": "x", "weight": 0, "loss": None}]


def test_keys_that_arrow_adds_to_from_and_value_go() -> None:
    turn = {"role": None, "content": None, "from": "human", "value": "x"}
    assert messages(turn, column="conversations") == [{"role": "user", "content": "x"}]


@pytest.mark.parametrize(
    ("value", "calls"),
    [
        (json.dumps(CALL), [STANDARD_CALL]),
        (json.dumps([CALL, CALL]), [STANDARD_CALL, STANDARD_CALL]),
        (CALL, [STANDARD_CALL]),
        ([STANDARD_CALL], [STANDARD_CALL]),
        ('{"name": "now"}', [{"type": "function", "function": {"name": "now", "arguments": {}}}]),
        ('{"name": "f", "arguments": "{}"}', [{"type": "function", "function": {"name": "f", "arguments": "{}"}}]),
    ],
)
def test_function_calls(value: Any, calls: list[Any]) -> None:
    made = messages({"from": "function_call", "value": value, "weight": 1}, column="conversations")
    assert made == [{"role": "assistant", "content": "", "weight": 1, "tool_calls": calls}]


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ("search(q)", "conversations[0].value: invalid JSON at column 1: a value was expected: `search(q)`"),
        ("[]", "`conversations[0].value` is the string `[]`; expected a call with name and arguments, or a list"),
        ('["f"]', "`conversations[0].value` is the string `f`; expected a call with name"),
        ('{"arguments": {}}', "`conversations[0].value` is an object; expected a call with name"),
    ],
)  # fmt: skip
def test_a_function_call_that_is_none(value: str, what: str) -> None:
    assert failure({"conversations": [{"from": "function_call", "value": value}]}).what.startswith(what)


def test_conversations_may_hold_role_and_content() -> None:
    made = record({"conversations": [QUESTION]})
    assert (made.shape, made.messages) == ("conversations", [QUESTION])


def test_a_system_column_goes_in_front() -> None:
    system = {"role": "system", "content": "s"}
    turn = {"from": "human", "value": "q"}
    assert messages(turn, column="conversations", system="s") == [system, QUESTION]
    assert messages(turn, column="conversations", system="") == [QUESTION]
    assert messages(turn, column="conversations", system=None) == [QUESTION]
    same = {"from": "system", "value": "s"}
    assert messages(same, turn, column="conversations", system="s") == [system, QUESTION]


def test_two_system_prompts() -> None:
    error = failure({"conversations": [{"from": "system", "value": "one"}, QUESTION], "system": "two"})
    assert error.what == "system given twice: in `conversations[0]` and in `system`"
    assert error.help == "remove `system`"
    error = failure({"conversations": [QUESTION], "system": 5})
    assert error.what == "`system` is the number `5`; expected a string"


def test_parts_of_llama_factory() -> None:
    made = messages(
        {"role": "user", "content": [{"type": "text", "value": "q", "train": 0}], "loss_weight": 0.0},
        {
            "role": "assistant",
            "content": [
                {"type": "reasoning", "value": "one "},
                {"type": "text", "text": None, "value": "a"},
                {"type": "reasoning", "value": "two"},
                {"type": "tool_call", "value": json.dumps(CALL)},
            ],
            "loss_weight": 1.0,
        },
        {"role": "assistant", "content": [{"type": "tool_call", "value": json.dumps(CALL)}]},
    )
    assert made == [
        {"role": "user", "content": [{"type": "text", "text": "q", "train": 0}], "loss_weight": 0.0},
        {
            "role": "assistant",
            "content": [{"type": "text", "text": "a"}],
            "loss_weight": 1.0,
            "reasoning_content": "one two",
            "tool_calls": [STANDARD_CALL],
        },
        {"role": "assistant", "content": "", "tool_calls": [STANDARD_CALL]},
    ]


def test_calls_of_parts_follow_those_of_the_message() -> None:
    other = {"type": "function", "function": {"name": "other", "arguments": {}}}
    turn = {"role": "assistant", "content": [{"type": "tool_call", "value": CALL}], "tool_calls": [other]}
    assert messages(turn)[0]["tool_calls"] == [other, STANDARD_CALL]


def test_a_part_of_tools_is_the_records_tools() -> None:
    parts = [{"type": "text", "text": "s"}, {"type": "tools", "value": json.dumps([CALL])}]
    made = record({"messages": [{"role": "system", "content": parts}]})
    assert made.tools == [CALL]
    assert made.messages == [{"role": "system", "content": parts[:1]}]
    error = failure({"messages": [{"role": "system", "content": parts}], "tools": [CALL]})
    assert error.what == "tools given twice: in `tools` and in `content`"


def test_reasoning_given_twice() -> None:
    turn = {"role": "assistant", "content": [{"type": "reasoning", "value": "b"}], "reasoning_content": "a"}
    assert turn_failure(turn).what == (
        "reasoning_content given twice: in `messages[0].reasoning_content` and in `messages[0].content`"
    )


def test_parts_of_thinking_are_passed_on() -> None:
    turn = {"role": "assistant", "content": [{"type": "thinking", "thinking": "t"}, {"type": "text", "text": "a"}]}
    assert messages(turn)[0] is turn


@pytest.mark.parametrize("kind", ["image", "image_url", "input_audio", "video"])
def test_parts_that_are_no_text(kind: str) -> None:
    error = turn_failure(QUESTION, {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": kind}]})
    assert error.what == (
        f"a part of the type `{kind}` in `messages[1].content[1]`; "
        "finetooth reads text rows for supervised fine-tuning alone"
    )


@pytest.mark.parametrize(
    ("part", "what", "remedy"),
    [
        ({"type": "txt", "text": "a"}, "unknown type of part, the string `txt`, in", "did you mean `text`?"),
        ({"type": "refusal"}, "unknown type of part, the string `refusal`, in", "leave such rows out"),
        ({"text": "a"}, "unknown type of part, null, in", "leave such rows out"),
        ("a", "`messages[0].content[0]` is the string `a`; expected an object with type and text", "make"),
        ({"type": "text"}, "`messages[0].content[0].text` is null; expected a string", "make"),
        ({"type": "text", "value": 5}, "`messages[0].content[0].value` is the number `5`; expected a string", "make"),
        ({"type": "reasoning", "value": []}, "`messages[0].content[0].value` is a list; expected a string", "make"),
        ({"type": "tool_call", "value": "{"}, "messages[0].content[0].value: invalid JSON at column 2", "correct"),
    ],
)
def test_parts_that_are_wrong(part: Any, what: str, remedy: str) -> None:
    error = turn_failure({"role": "user", "content": [part]})
    assert error.what.startswith(what)
    assert error.help is not None and error.help.startswith(remedy)


@pytest.mark.parametrize(
    ("role", "meant"),
    [("asistant", "assistant"), ("User", "user"), ("SYSTEM", "system"), ("assistent", "assistant"), ("humn", "human")],
)
def test_a_role_that_was_misspelt(role: str, meant: str) -> None:
    error = turn_failure(QUESTION, {"role": role, "content": "x"})
    assert error.what == (
        f"unknown role `{role}` in `messages[1].role` "
        "(known: system, developer, user, assistant, tool, function, ipython, observation, model)"
    )
    assert error.help == f"did you mean `{meant}`?"


def test_a_role_like_no_other() -> None:
    assert turn_failure({"role": "narrator", "content": "x"}).help == (
        "leave such rows out: `--set data.skip_broken=true`"
    )
    error = failure({"conversations": [{"from": "Human", "value": "x"}]})
    assert error.what.startswith("unknown role `Human` in `conversations[0].from` (known: system, developer, human,")
    assert error.help == "did you mean `human`?"


@pytest.mark.parametrize(
    ("turns", "what"),
    [
        ([{"role": 5, "content": "x"}], "`messages[0].role` is the number `5`; expected a string"),
        ([{"content": "x"}], "`messages[0]` has no role (keys: `content`)"),
        ([{"role": "user"}], "`messages[0]` has no content (keys: `role`)"),
        ([{"role": "user", "content": None}], "`messages[0]` has no content (keys: `role`, `content`)"),
        ([{"role": "user", "content": 5}], "`messages[0].content` is the number `5`; expected a string or a list"),
        ([{"role": "user", "content": True}], "`messages[0].content` is the boolean `true`; expected"),
        ([{"role": "user", "content": {}}], "`messages[0].content` is an object; expected"),
        ([{"from": "gpt", "value": None}], "`messages[0]` has no value (keys: `from`, `value`)"),
        ([{"from": "gpt", "value": 5}], "`messages[0].content` is the number `5`; expected"),
        (["hello"], "`messages[0]` is the string `hello`; expected an object with role and content"),
        ([], "`messages` is empty"),
        ("hello", "`messages` is the string `hello`; expected a list of messages"),
        ({"role": ["user"]}, "`messages` is an object; expected a list of messages"),
        ([{"role": "user", "content": "", "tool_calls": "[]"}], "`messages[0].tool_calls` is the string `[]`; "),
    ],
)  # fmt: skip
def test_messages_that_are_wrong(turns: Any, what: str) -> None:
    assert failure({"messages": turns}).what.startswith(what)


def test_a_key_that_was_misspelt() -> None:
    assert turn_failure({"role": "user", "contents": "x"}).help == "rename the key `contents` to `content`"


@pytest.mark.parametrize("key", ["tool_calls", "reasoning_content", "thinking", "function_call"])
def test_a_content_of_null_beside_calls_or_thoughts(key: str) -> None:
    turn = {"role": "assistant", "content": None, key: ["x"]}
    assert messages(turn) == [turn]
    assert messages({"role": "assistant", key: ["x"]}) == [{"role": "assistant", key: ["x"]}]


@pytest.mark.parametrize(
    ("turn", "field"),
    [
        ({"role": "user", "content": "é\ud83d"}, "messages[0].content"),
        ({"role": "user", "content": [{"type": "text", "text": "é\ud83d"}]}, "messages[0].content[0].text"),
        ({"role": "user", "content": [{"type": "text", "value": "é\ud83d"}]}, "messages[0].content[0].value"),
        ({"role": "assistant", "content": "a", "reasoning_content": "é\ud83d"}, "messages[0].reasoning_content"),
        (
            {"role": "assistant", "content": "", "tool_calls": [{"function": {"arguments": "é\ud83d"}}]},
            "messages[0].tool_calls[0].function.arguments",
        ),
        ({"role": "assistant", "content": "", "tool_calls": [{"é\ud83d": 1}]}, "messages[0].tool_calls[0]"),
    ],
)
def test_half_a_surrogate_pair_is_found_wherever_a_template_may_read(turn: dict[str, Any], field: str) -> None:
    assert turn_failure(turn).what == (
        f"half of a surrogate pair, `\\ud83d`, in `{field}` at character 1: no tokenizer takes it"
    )
