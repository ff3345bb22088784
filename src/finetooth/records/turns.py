"""Turns of a conversation, in whatever spelling they come, as the messages that chat templates take.

A message that is in order already is passed on as it is, not copied: a million rows are read this way.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from finetooth.errors import DataError
from finetooth.messages import say
from finetooth.records.jsonstream import json_error
from finetooth.records.wording import closest, describe, excerpt, listed
from finetooth.types import Message

FROM_ROLES = {
    # ShareGPT's own, and the spellings of its descendants: FastChat, LLaMA-Factory's data/README.md, axolotl.
    "system": "system",
    "developer": "developer",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "observation": "tool",
    "tool": "tool",
    "function": "tool",
    "function_response": "tool",
    "ipython": "tool",
}
"""The role that a turn's `from` stands for."""
TEMPLATE_ROLES = ("system", "developer", "user", "assistant", "tool", "function", "ipython", "observation", "model")
KNOWN_ROLES = frozenset({*TEMPLATE_ROLES, *FROM_ROLES})
"""What `role` may be. It is passed on as it stands, `human` too: whether the template knows it is the template's."""

MEDIA_PARTS = frozenset(
    {"image", "image_url", "input_image", "audio", "audio_url", "input_audio", "video", "video_url", "file"}
)
_PART_TYPES = ("text", "reasoning", "thinking", "tool_call", "tools")
_CONTENTLESS = ("tool_calls", "function_call", "reasoning_content", "reasoning", "thinking")
"""Keys of which one makes up for a content of null, which OpenAI's format gives to a message that calls tools."""


class Turns:
    """The messages of one list of turns, and the tools that stood among their parts."""

    __slots__ = ("messages", "tools")

    def __init__(self, turns: Any, field: str, where: str) -> None:
        """Read a list of turns.

        Args:
            turns: The column's value.
            field: The column's name, for errors.
            where: The record's place.

        Raises:
            DataError: It is no list of messages, a role is unknown, a content is none, or a part is no text.
        """
        if not isinstance(turns, list | tuple):
            raise wrong_type(turns, field, "due_messages", where)
        if not turns:
            raise DataError(say("records.no_turns", field=field), where=where, help=say("records.fill_or_skip"))
        self.tools: list[Any] = []
        self.messages: list[Message] = [
            self._message(turn, f"{field}[{index}]", where) for index, turn in enumerate(turns)
        ]

    def _message(self, turn: Any, field: str, where: str) -> Message:
        if not isinstance(turn, Mapping):
            raise wrong_type(turn, field, "due_message", where)
        message: Message = turn if isinstance(turn, dict) else dict(turn)
        role = message.get("role")
        if role is None and message.get("from") is not None:
            message = _from_value(message, field, where)
        elif not isinstance(role, str) or role not in KNOWN_ROLES:
            raise _unknown_role(message, role, KNOWN_ROLES, TEMPLATE_ROLES, field, where)
        content = message.get("content")
        if isinstance(content, str):
            if not content.isascii():
                check_unicode(content, f"{field}.content", where)
        elif isinstance(content, list):
            message = self._with_parts(message, content, field, where)
        elif content is not None:
            raise wrong_type(content, f"{field}.content", "due_content", where)
        elif not any(message.get(key) for key in _CONTENTLESS):
            raise _no_content(message, field, where)
        if len(message) > 2:
            _check_extras(message, field, where)
        return message

    def _with_parts(self, turn: Message, parts: list[Any], field: str, where: str) -> Message:
        """Return a message whose parts are text, what else they were moved to the keys that templates read."""
        texts: list[Any] = []
        reasoning: list[str] = []
        tool_calls: list[Any] = []
        is_changed = False
        for index, part in enumerate(parts):
            place = f"{field}.content[{index}]"
            if not isinstance(part, Mapping):
                raise wrong_type(part, place, "due_part", where)
            kind = part.get("type")
            if kind == "text":
                text_part = _text_part(part, place, where)
                is_changed = is_changed or text_part is not part
                texts.append(text_part)
                continue
            if kind == "thinking":
                check_unicode(part, place, where)
                texts.append(part)
                continue
            if kind in MEDIA_PARTS:
                raise DataError(
                    say("records.media_part", kind=kind, field=place), where=where, help=say("records.skip_rows")
                )
            is_changed = True
            if kind == "reasoning":
                reasoning.append(_part_text(part, "reasoning", place, where))
            elif kind in ("tool_call", "tool_calls"):
                tool_calls += _tool_calls(_part_value(part, kind), f"{place}.value", where)
            elif kind == "tools":
                self.tools += tools_of(_part_value(part, kind), f"{place}.value", where) or []
            else:
                raise _unknown_part(part, place, where)
        if not is_changed:
            return turn
        changed: Message = {**turn, "content": texts if texts else ""}
        if reasoning:
            if turn.get("reasoning_content"):
                raise _twice("reasoning_content", f"{field}.reasoning_content", f"{field}.content", where)
            changed["reasoning_content"] = "".join(reasoning)
        if tool_calls:
            changed["tool_calls"] = [*(turn.get("tool_calls") or []), *tool_calls]
        return changed


def _from_value(turn: Message, field: str, where: str) -> Message:
    source = turn["from"]
    role = FROM_ROLES.get(source) if isinstance(source, str) else None
    if role is None:
        raise _unknown_role(turn, source, FROM_ROLES, tuple(FROM_ROLES), field, where)
    value = turn.get("value")
    if value is None:
        value = turn.get("content")
    message: Message = {"role": role, "content": value}
    message.update((key, held) for key, held in turn.items() if key not in ("from", "value", "role", "content"))
    if source == "function_call":
        # Templates take an empty content beside the calls; some fail where there is none.
        message["content"] = ""
        message["tool_calls"] = _tool_calls(value, f"{field}.value", where)
    elif value is None and not any(message.get(key) for key in _CONTENTLESS):
        raise _no_content(turn, field, where, due="value")
    return message


def _tool_calls(value: Any, field: str, where: str) -> list[Any]:
    """Return calls in OpenAI's form, from JSON of one call or a list, each `{"name", "arguments"}`."""
    calls = _parsed(value, field, where) if isinstance(value, str) else value
    if isinstance(calls, Mapping):
        calls = [calls]
    if not isinstance(calls, list) or not calls:
        raise wrong_type(value, field, "due_tool_call", where)
    return [_tool_call(call, field, where) for call in calls]


def _tool_call(call: Any, field: str, where: str) -> Any:
    if isinstance(call, Mapping):
        if isinstance(call.get("function"), Mapping):
            return call
        if isinstance(call.get("name"), str):
            function = {"name": call["name"], "arguments": call.get("arguments", {})}
            return {"type": "function", "function": function}
    raise wrong_type(call, field, "due_tool_call", where)


def tools_of(value: Any, field: str, where: str) -> list[Any] | None:
    """Return the tools of a column, a list or its JSON; `None` for none.

    Raises:
        DataError: It is neither.
    """
    if value is None or value == "":
        return None
    tools = _parsed(value, field, where) if isinstance(value, str) else value
    if tools is None:
        return None
    if not isinstance(tools, list):
        raise wrong_type(value, field, "due_tools", where)
    check_unicode(tools, field, where)
    return tools or None


def _parsed(text: str, field: str, where: str) -> Any:
    error = None
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as caught:
        error = json_error(caught, text, where)
    raise DataError(say("records.in_field", field=field, what=error.what), where=where, help=error.help)


def _text_part(part: Mapping[str, Any], field: str, where: str) -> Mapping[str, Any]:
    text = part.get("text")
    if isinstance(text, str):
        check_unicode(text, f"{field}.text", where)
        return part
    text = _part_text(part, "text", field, where)
    return {
        "type": "text",
        "text": text,
        **{key: held for key, held in part.items() if key not in ("type", "text", "value")},
    }


def _part_value(part: Mapping[str, Any], kind: str) -> Any:
    """Return what a part holds: LLaMA-Factory spells it `value`, others by the part's type."""
    value = part.get("value")
    return part.get(kind) if value is None else value


def _part_text(part: Mapping[str, Any], kind: str, field: str, where: str) -> str:
    value = _part_value(part, kind)
    value = part.get("text") if value is None else value
    if not isinstance(value, str):
        raise wrong_type(value, f"{field}.{'value' if 'value' in part else 'text'}", "due_string", where)
    check_unicode(value, f"{field}.value", where)
    return value


def _check_extras(turn: Message, field: str, where: str) -> None:
    for key, held in turn.items():
        if key == "tool_calls" and held is not None and not isinstance(held, list):
            raise wrong_type(held, f"{field}.tool_calls", "due_tool_calls", where)
        if key not in ("role", "content") and isinstance(held, str | list | dict):
            check_unicode(held, f"{field}.{key}", where)


def check_unicode(value: Any, field: str, where: str) -> None:
    """Raise where a string holds half of a surrogate pair, which an escape of JSON can make and no tokenizer takes."""
    if isinstance(value, str):
        if value.isascii():
            return
        try:
            value.encode("utf-8")
            return
        except UnicodeEncodeError as caught:
            start = caught.start
        raise DataError(
            say("records.lone_surrogate", escape=f"\\u{ord(value[start]):04x}", field=field, position=start),
            where=where,
            help=say("records.lone_surrogate_help"),
        )
    if isinstance(value, Mapping):
        for key, held in value.items():
            check_unicode(key, field, where)
            check_unicode(held, f"{field}.{key}", where)
    elif isinstance(value, list | tuple):
        for index, held in enumerate(value):
            check_unicode(held, f"{field}[{index}]", where)


def wrong_type(value: Any, field: str, due: str, where: str) -> DataError:
    """Return the error for a value of another type than is due; `due` is a key of the messages."""
    return DataError(
        say("records.wrong_type", field=field, found=describe(value), due=say(f"records.{due}")),
        where=where,
        help=say("records.wrong_type_help", field=field, due=say(f"records.{due}")),
    )


def _unknown_role(turn: Message, role: Any, known: Any, told: tuple[str, ...], field: str, where: str) -> DataError:
    key = "role" if role is turn.get("role") and turn.get("from") is None else "from"
    if role is None:
        return DataError(
            say("records.no_role", field=field, keys=listed(turn)), where=where, help=say("records.no_role_help")
        )
    if not isinstance(role, str):
        return wrong_type(role, f"{field}.{key}", "due_string", where)
    best = closest(role, known)
    return DataError(
        say("records.unknown_role", role=excerpt(role, width=40), field=f"{field}.{key}", known=", ".join(told)),
        where=where,
        help=say("records.did_you_mean", name=best) if best else say("records.skip_rows"),
    )


def _no_content(turn: Message, field: str, where: str, due: str = "content") -> DataError:
    best = closest(due, (key for key in turn if key != due))
    remedy = say("records.rename_key", found=best, due=due) if best else say("records.fill_or_skip")
    return DataError(say("records.no_content", field=field, due=due, keys=listed(turn)), where=where, help=remedy)


def _unknown_part(part: Mapping[str, Any], field: str, where: str) -> DataError:
    kind = part.get("type")
    best = closest(kind, _PART_TYPES) if isinstance(kind, str) else None
    return DataError(
        say("records.unknown_part", kind=describe(kind), field=field, known=", ".join(_PART_TYPES)),
        where=where,
        help=say("records.did_you_mean", name=best) if best else say("records.skip_rows"),
    )


def _twice(what: str, first: str, second: str, where: str) -> DataError:
    return DataError(
        say("records.twice", what=what, first=first, second=second),
        where=where,
        help=say("records.twice_help", name=second),
    )


def with_system(messages: list[Message], system: Any, where: str) -> list[Message]:
    """Return messages with the text of a `system` column in front.

    Raises:
        DataError: It is no string, or the messages begin with another system prompt.
    """
    if system is None or system == "":
        return messages
    if not isinstance(system, str):
        raise wrong_type(system, "system", "due_string", where)
    check_unicode(system, "system", where)
    if messages and messages[0].get("role") == "system":
        if messages[0].get("content") != system:
            raise _twice("system", "conversations[0]", "system", where)
        return messages
    return [{"role": "system", "content": system}, *messages]
