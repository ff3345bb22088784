"""What shape a row has, and the record that it makes.

Where a row's columns fit several shapes, the first of these is taken, and `data.shape` overrules it:

1. `encoded`: `input_ids`.
2. `prompt-completion`: `prompt` and `completion`. Before `messages`, as TRL 1.16 reads such rows.
3. `messages`. 4. `conversations`. 5. `alpaca`: `instruction` and `output`.
6. `prompt-completion` spelt `prompt` and `response`: only where nothing above fits.
7. `text`: the column `data.text_field`. Last, since many data sets carry a rendering beside the turns.

A column whose value is null is absent: Arrow gives every row every column.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from typing import Any

from finetooth.config import DataConfig
from finetooth.errors import DataError
from finetooth.messages import say
from finetooth.records import refusals
from finetooth.records.turns import Turns, check_unicode, tools_of, with_system, wrong_type
from finetooth.types import Message, Record, Shape

Row = Mapping[str, Any]
Fields = dict[str, Any]
"""What a shape fills of a `Record`."""


def record_of(row: Row, *, index: int, where: str, config: DataConfig | None = None) -> Record:
    """Return the record that a row makes. The row is kept as it is, and shared where nothing changes.

    Args:
        row: The row as it was read.
        index: Its number in the data.
        where: Its place.
        config: `shape` and `text_field` are used; `None` takes the defaults.

    Raises:
        DataError: The row is of no known shape, holds preferences, images, sound or video, or a value is wrong.
    """
    config = DataConfig() if config is None else config
    if not isinstance(row, Mapping):
        raise wrong_type(row, "row", "due_object", where)
    if config.shape == "auto":
        shape = detect_shape(row, where, config)
    else:
        shape = config.shape
        refusals.refuse_media(row, where)
        missing = refusals.missing_columns(row, shape, config)
        if missing:
            raise refusals.incomplete(row, shape, missing, where, config)
    fields = _BUILDERS[shape](row, where, config)
    get = row.get
    if get("tools") is not None:
        tools = tools_of(get("tools"), "tools", where)
        if tools and fields.get("tools"):
            raise refusals.tools_twice(where)
        fields["tools"] = tools or fields.get("tools")
    kwargs = get("chat_template_kwargs")
    if kwargs is not None:
        if not isinstance(kwargs, Mapping):
            raise wrong_type(kwargs, "chat_template_kwargs", "due_object", where)
        check_unicode(kwargs, "chat_template_kwargs", where)
        fields["chat_template_kwargs"] = kwargs
    return Record(index=index, where=where, shape=shape, row=row, **fields)


def detect_shape(row: Row, where: str, config: DataConfig) -> Shape:
    """Return the shape that a row's columns tell.

    Raises:
        DataError: They tell none, or one that finetooth does not read.
    """
    get = row.get
    if get("input_ids") is not None:
        refusals.refuse_media(row, where)
        return "encoded"
    refusals.refuse_media(row, where)
    refusals.refuse_preference(row, where)
    has_prompt = get("prompt") is not None
    if has_prompt and get("completion") is not None:
        return "prompt-completion"
    if get("messages") is not None:
        return "messages"
    if get("conversations") is not None:
        return "conversations"
    if get("instruction") is not None and get("output") is not None:
        return "alpaca"
    if has_prompt and get("response") is not None:
        return "prompt-completion"
    if get(config.text_field) is not None:
        return "text"
    raise refusals.shapeless(row, where, config)


def _encoded(row: Row, where: str, config: DataConfig) -> Fields:
    fields: Fields = {}
    for name in ("input_ids", "labels", "attention_mask"):
        value = row.get(name)
        if value is None:
            continue
        if hasattr(value, "tolist"):  # a data set in the format of numpy or torch
            value = value.tolist()
        if not isinstance(value, list):
            raise wrong_type(value, name, "due_integers", where)
        try:
            array("q", value)  # the cheapest test of every element
        except (TypeError, OverflowError):
            odd, found = next((i, held) for i, held in enumerate(value) if not _is_int64(held))
            raise wrong_type(found, f"{name}[{odd}]", "due_integer", where) from None
        fields[name] = value
    num_ids = len(fields["input_ids"])
    if num_ids == 0:
        raise DataError(say("records.no_ids"), where=where, help=say("records.skip_rows"))
    for name in ("labels", "attention_mask"):
        if name in fields and len(fields[name]) != num_ids:
            raise DataError(
                say("records.uneven", name=name, found=len(fields[name]), due=num_ids),
                where=where,
                help=say("records.skip_rows"),
            )
    return fields


def _is_int64(value: Any) -> bool:
    return isinstance(value, int) and -(1 << 63) <= value < 1 << 63


def _prompt_completion(row: Row, where: str, config: DataConfig) -> Fields:
    name = "completion" if row.get("completion") is not None else "response"
    prompt, completion = row["prompt"], row[name]
    if isinstance(prompt, str) and isinstance(completion, str):
        check_unicode(prompt, "prompt", where)
        check_unicode(completion, name, where)
        return {"prompt": prompt, "completion": completion}
    if isinstance(prompt, list) and isinstance(completion, list):
        prompt_turns = Turns(prompt, "prompt", where)
        completion_turns = Turns(completion, name, where)
        return {
            "messages": prompt_turns.messages + completion_turns.messages,
            "num_prompt_messages": len(prompt_turns.messages),
            "tools": (prompt_turns.tools + completion_turns.tools) or None,
        }
    for field, value in (("prompt", prompt), (name, completion)):
        if not isinstance(value, str | list):
            raise wrong_type(value, field, "due_string_or_messages", where)
    raise refusals.mixed(prompt, completion, name, where)


def _messages(row: Row, where: str, config: DataConfig) -> Fields:
    turns = Turns(row["messages"], "messages", where)
    return {"messages": turns.messages, "tools": turns.tools or None}


def _conversations(row: Row, where: str, config: DataConfig) -> Fields:
    turns = Turns(row["conversations"], "conversations", where)
    return {"messages": with_system(turns.messages, row.get("system"), where), "tools": turns.tools or None}


def _alpaca(row: Row, where: str, config: DataConfig) -> Fields:
    messages: list[Message] = []
    for index, pair in enumerate(_history(row.get("history"), where)):
        for side, role in enumerate(("user", "assistant")):
            content = _string(pair[side], f"history[{index}][{side}]", where)
            messages.append({"role": role, "content": content})
    question = _string(row["instruction"], "instruction", where)
    given = row.get("input")
    if given is not None and _string(given, "input", where):
        # LLaMA-Factory's data/README.md joins them so.
        question = f"{question}\n{given}"
    messages.append({"role": "user", "content": question})
    messages.append({"role": "assistant", "content": _string(row["output"], "output", where)})
    return {"messages": with_system(messages, row.get("system"), where)}


def _history(history: Any, where: str) -> list[Any]:
    if history is None or history == "":
        return []
    if not isinstance(history, list):
        raise wrong_type(history, "history", "due_pairs", where)
    for index, pair in enumerate(history):
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise wrong_type(pair, f"history[{index}]", "due_pair", where)
    return history


def _text(row: Row, where: str, config: DataConfig) -> Fields:
    return {"text": _string(row[config.text_field], config.text_field, where)}


def _string(value: Any, field: str, where: str) -> str:
    if not isinstance(value, str):
        raise wrong_type(value, field, "due_string", where)
    check_unicode(value, field, where)
    return value


_BUILDERS: dict[Shape, Callable[[Row, str, DataConfig], Fields]] = {
    "encoded": _encoded,
    "prompt-completion": _prompt_completion,
    "messages": _messages,
    "conversations": _conversations,
    "alpaca": _alpaca,
    "text": _text,
}
