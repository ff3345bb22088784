"""TPL003 dropped-field."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from finetooth.rules.contents import (
    content_of,
    excerpt,
    is_rendered_here,
    json_forms,
    render_with,
    reproduction,
    template_argument,
)
from finetooth.rules.row import Row
from finetooth.rules.rule import Because, Hit, rule
from finetooth.template import ASSISTANT_ROLES
from finetooth.types import Message, Severity

Kind = Literal["content", "reasoning", "tool-call", "tools"]

_REASONING_KEYS = ("reasoning_content", "thinking", "reasoning")
_THINKING = re.compile(r"<think>(.*?)</think>|\A(.*?)</think>", re.DOTALL)
_SENTINEL = "finetooth sentinel"


@dataclass(frozen=True, slots=True)
class _Lost:
    """A field that a row holds and its text does not."""

    kind: Kind
    field: str
    """The path of the field, such as `messages[2].tool_calls[0].function.name`."""
    value: str
    role: str
    message_index: int | None
    in_history: bool = False
    """Whether a later user's message follows, so that templates drop thinking by design."""


@rule("TPL003", "dropped-field", severity="error")
def dropped_field(row: Row) -> Iterator[Hit]:
    """Find what a row holds and the chat template does not print.

    ## What it does
    Looks for each field of a conversation in the rendered text: every message's content, thinking (a key of its own, or
    between think tags), the name and the argument values of every tool call, and the names of the tools. What is not
    there as it stands, nor as JSON writes it, nor with other white space, is replaced by a word of ours and the
    conversation rendered again: where that word does not appear either, the template drops the field.

    Causes say what is dropped: `content` of a role (error), `tool-call` (error), `tools` (warning: the calls are
    learned, their definitions are not seen), `reasoning` of the last answer (warning), `history-reasoning` (info: most
    templates drop the thinking of earlier turns by design).

    ## Why it is bad
    The model never learns what was dropped, and nothing else shows it: the row trains, the loss falls. A dropped system
    message means that the persona of the data is not the persona of the training.

    ## Example
    A template that prints `user` and `assistant` turns alone, and rows that begin with a `system` message.

    ## Fix
    Choose a template that prints the field (`--template`), or move the words to a field that it prints: the system text
    into the first question, tool calls into the content.

    ## Fix safety
    Not fixed automatically: which template is right depends on what the model is served with.

    ## Sources
    TRL chat_templates/README.md (deepseek_r1_distill, lfm2; `supports_tool_calling`).
    """
    messages = row.record.messages
    if messages is None:
        return
    seen: set[str] = set()
    for lost in _lost(row, messages):
        code: str = "history-reasoning" if lost.kind == "reasoning" and lost.in_history else lost.kind
        if lost.kind == "content":
            code = f"content-of-{lost.role}"
        if code not in seen:
            seen.add(code)
            yield _hit(row, lost, code)


def _lost(row: Row, messages: list[Message]) -> Iterator[_Lost]:
    text = row.text
    last_user = -1
    for index, message in enumerate(messages):
        if message.get("role") == "user":
            last_user = index
    contents = []
    for index, message in enumerate(messages):
        content = message.get("content")
        if type(content) is str:
            # A healthy message is done with here; outer white space is TPL002's matter.
            if content not in text and content.strip() not in text:
                yield from _lost_content(row, index, message, content, index < last_user)
            contents.append(content)
        elif content:
            yield from _lost_content(row, index, message, content_of(message), index < last_user)
        if len(message) > 2:
            yield from _lost_extras(row, index, message, index < last_user)
    if len(set(contents)) < len(contents):
        yield from _lost_repetition(row, messages, contents)
    if row.record.tools:
        yield from _lost_tools(row)


def _lost_content(row: Row, index: int, message: Message, content: str, in_history: bool) -> Iterator[_Lost]:
    """Yield what of a content is not in the text as it stands."""
    role = str(message.get("role", ""))
    field = f"messages[{index}].content"
    if role in ASSISTANT_ROLES and "</think>" in content:
        thoughts = "".join((match[1] or match[2] or "") for match in _THINKING.finditer(content))
        answer = _THINKING.sub("", content)
        if thoughts.strip() and not appears(thoughts, row.text) and not _survives_in_thinking(row, index, content):
            yield _Lost("reasoning", field, thoughts, role, index, in_history)
        content = answer
    if appears(content, row.text):
        return
    if not _survives(row, index, {**message, "content": _SENTINEL}):
        yield _Lost("content", field, content, role, index)


def appears(value: str, text: str) -> bool:
    """Return whether a text holds a value: as it stands, as JSON writes it, or with other white space."""
    core = value.strip()
    if core in text:
        return True
    if any(form in text for form in json_forms(core)):
        return True
    return "".join(core.split()) in "".join(text.split())


def _survives(row: Row, index: int, message: Message) -> bool:
    """Return whether our word appears where a message that holds it takes the place of the row's own.

    Where that cannot be told (a trainer renders the turns in another way, the template refuses the change), the answer
    is yes: silence is better than a false alarm.
    """
    if not is_rendered_here(row):
        return True
    messages = list(row.record.messages or [])
    messages[index] = message
    rendered = render_with(row, messages)
    return rendered is None or _SENTINEL in rendered


def _survives_in_thinking(row: Row, index: int, content: str) -> bool:
    changed = _THINKING.sub(
        lambda match: f"{'<think>' if match[1] is not None else ''}{_SENTINEL}</think>", content, count=1
    )
    return _survives(row, index, {**(row.record.messages or [])[index], "content": changed})


def _lost_extras(row: Row, index: int, message: Message, in_history: bool) -> Iterator[_Lost]:
    """Yield the thinking and the tool calls of a message that are not in the text."""
    role = str(message.get("role", ""))
    for key in _REASONING_KEYS:
        thoughts = message.get(key)
        if isinstance(thoughts, str) and thoughts.strip():
            if not appears(thoughts, row.text) and not _survives(row, index, {**message, key: _SENTINEL}):
                yield _Lost("reasoning", f"messages[{index}].{key}", thoughts, role, index, in_history)
            break  # templates are given the first of them under every name
    calls = message.get("tool_calls")
    if isinstance(calls, list):
        for number, call in enumerate(calls):
            if isinstance(call, Mapping):
                yield from _lost_call(row, index, message, number, call)


def _lost_call(row: Row, index: int, message: Message, number: int, call: Mapping[str, Any]) -> Iterator[_Lost]:
    """Yield what of a tool call is not in its turn."""
    function = call.get("function") if isinstance(call.get("function"), Mapping) else call
    assert isinstance(function, Mapping)
    turn = "".join(row.text[span.start : span.end] for span in row.spans if span.message_index == index)
    turn = turn or row.text
    path = f"messages[{index}].tool_calls[{number}]"

    def survives(changed: Mapping[str, Any]) -> bool:
        calls = list(message["tool_calls"])
        calls[number] = {**call, "function": changed} if function is not call else changed
        return _survives(row, index, {**message, "tool_calls": calls})

    name = function.get("name")
    # The name alone may stand in the list of tools: it has to be in the turn.
    if isinstance(name, str) and name and name not in turn and not survives({**function, "name": _SENTINEL}):
        yield _Lost("tool-call", f"{path}.name", name, "assistant", index)
        return
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        if not appears(arguments, turn) and not survives({**function, "arguments": json.dumps({"a": _SENTINEL})}):
            yield _Lost("tool-call", f"{path}.arguments", arguments, "assistant", index)
        return
    if isinstance(arguments, Mapping):
        for key, value in arguments.items():
            if all(appears(leaf, turn) for leaf in _leaves(value)):
                continue
            changed = {**arguments, key: _SENTINEL}
            if not survives({**function, "arguments": changed}):
                shown = json.dumps(value, ensure_ascii=False, default=str)
                yield _Lost("tool-call", f"{path}.arguments.{key}", shown, "assistant", index)
                return


def _leaves(value: Any) -> Iterator[str]:
    """Yield the texts and numbers of a JSON value; true, false and null are written in too many ways to look for."""
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _leaves(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(item)
    elif isinstance(value, str | int) and not isinstance(value, bool):
        yield str(value)


def _lost_repetition(row: Row, messages: list[Message], contents: list[str]) -> Iterator[_Lost]:
    """Yield contents that the row holds more often than its text does."""
    for content in {content for content in contents if contents.count(content) > 1 and content.strip()}:
        due, found = contents.count(content), row.text.count(content.strip())
        if found >= due:
            continue
        for index, message in enumerate(messages):
            if message.get("content") == content and not _survives(row, index, {**message, "content": _SENTINEL}):
                field = f"messages[{index}].content"
                yield _Lost("content", field, content, str(message.get("role", "")), index)
                break


def _lost_tools(row: Row) -> Iterator[_Lost]:
    """Yield the tools where the text names none of them."""
    names = []
    for tool in row.record.tools or []:
        function = tool.get("function", tool) if isinstance(tool, Mapping) else None
        name = function.get("name") if isinstance(function, Mapping) else None
        if isinstance(name, str) and name:
            names.append(name)
    # The calls name tools as well: what they print is taken out before the text is searched.
    called = "".join(row.text[span.start : span.end] for span in row.spans if span.role in ASSISTANT_ROLES)
    for name in names:
        if row.text.count(name) > called.count(name):
            return
    if names and is_rendered_here(row) and render_with(row, row.record.messages or [], with_tools=False) == row.text:
        yield _Lost("tools", "tools", ", ".join(names), "system", None)


def _hit(row: Row, lost: _Lost, code: str) -> Hit:
    template = row.facts.template
    severity: Severity = "error"
    if lost.kind == "reasoning":
        severity = "info" if lost.in_history else "warning"
    elif lost.kind == "tools":
        severity = "warning"
    key = {
        "content": "rules_tpl.dropped_content",
        "reasoning": "rules_tpl.dropped_history_reasoning" if lost.in_history else "rules_tpl.dropped_reasoning",
        "tool-call": "rules_tpl.dropped_call",
        "tools": "rules_tpl.dropped_tools",
    }[lost.kind]
    return Hit(
        key,
        {"field": lost.field, "role": lost.role, "value": excerpt(lost.value.strip())},
        help="rules_tpl.dropped_help",
        because=Because(
            code=code,
            key="rules_tpl.dropped_cause",
            values={"template": template.name if template else "", "field": lost.field},
            evidence={
                "field": lost.field,
                "role": lost.role,
                "message_index": lost.message_index,
                "value": excerpt(lost.value.strip(), 200),
                "template": template.name if template else "",
                "role_in_template": bool(template and re.search(rf"['\"]{re.escape(lost.role)}['\"]", template.source)),
            },
        ),
        severity=severity,
        reproduction=_reproduction(row, lost),
    )


def _reproduction(row: Row, lost: _Lost) -> tuple[str, ...]:
    files = row.facts.files
    lines = reproduction(row, "row")
    template = template_argument(row.facts)
    if not lines or files is None or template is None or row.record.shape != "messages":
        return ()
    return (
        f"{lines[0]}; from transformers import AutoTokenizer",
        f"print(AutoTokenizer.from_pretrained({str(files.directory)!r})"
        f".apply_chat_template(row['messages'], tools=row.get('tools'), tokenize=False{template}))",
    )
