"""DAT003 unexpected-role."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from finetooth.rules.contents import reproduction
from finetooth.rules.row import Row
from finetooth.rules.rule import Because, Hit, rule
from finetooth.template import ASSISTANT_ROLES
from finetooth.types import Severity

_SYSTEM_ROLES = ("system", "developer")
_TOOL_ROLES = ("tool", "function", "ipython", "observation")
_KNOWN_ROLES = frozenset({*_SYSTEM_ROLES, *_TOOL_ROLES, *ASSISTANT_ROLES, "user"})

_USUAL = (
    ["user", "assistant"],
    ["system", "user", "assistant"],
)
"""The orders of most rows, which need no further look."""


@rule("DAT003", "unexpected-role", severity="warning")
def unexpected_role(row: Row) -> Iterator[Hit]:
    """Find conversations whose roles are unknown or stand in an order that teaches nothing.

    ## What it does
    Looks at the roles of a conversation in their order. Causes:

    - `unknown-role`: a `role` that is a name of another format (`human`, `gpt`) and that the template in force does not
      name, so that it is printed as it stands or left out;
    - `no-answer` (error): no message is the model's, so the row teaches nothing;
    - `ends-with-prompt`: the last message is a user's, a system's or a tool's: nothing is learned after it;
    - `two-users`, `two-answers`: the same side speaks twice in a row (an answer and a tool call in two messages are
      one);
    - `late-system`: a system message after the conversation has begun;
    - `tool-without-call`: a tool's result that no tool call goes before;
    - `answer-first` (info): the model speaks before any user; a greeting, where the template takes it.

    A role that no format knows is refused when the row is read.

    ## Why it is bad
    A conversation that ends with a question trains on nothing, or on the turn before alone, and its cost is paid all
    the same. Turns out of order give texts that inference never makes. Other software drops such rows in silence, so
    that the data set is smaller than it looks.

    ## Example
    `[{"role": "user", "content": "Hello"}, {"role": "user", "content": "Anyone?"}]`

    ## Fix
    Join neighbouring turns of one side, drop the trailing question, move the system text to the front, rename roles.

    ## Fix safety
    Not fixed automatically: which turn is missing is not known.

    ## Sources
    LLaMA-Factory's converters, torchtune's `validate_messages` and mistral-finetune's
    `validate_data.py` each drop or refuse other orders; Axolotl says "Last turn is not trainable".
    """
    messages = row.record.messages
    if messages is None:
        return
    roles = [str(message.get("role", "")) for message in messages]
    if row.facts.way == "trl" and row.record.shape == "conversations":
        yield from _unknown(row, _as_spelt(row))
    if roles in _USUAL:
        return
    yield from _unknown(row, roles)
    plain = [_side(role) for role in roles]
    prompt_length = row.record.num_prompt_messages or 0
    if "assistant" not in plain[prompt_length:]:
        yield _hit(row, roles, len(roles) - 1, "no-answer", "error")
    elif plain[-1] != "assistant":
        yield _hit(row, roles, len(roles) - 1, "ends-with-prompt", "warning")
    yield from _out_of_order(row, roles, plain)


def _as_spelt(row: Row) -> list[str]:
    """Return the roles as a row of `from` and `value` spells them, which SFTTrainer hands to the template unchanged."""
    turns = row.record.row.get("conversations") or []
    return [str(turn.get("role") or turn.get("from") or "") for turn in turns]


def _side(role: str) -> str:
    """Return whose a role is: system, user, assistant or tool; the role itself where nobody knows."""
    if role in ASSISTANT_ROLES:
        return "assistant"
    if role in _SYSTEM_ROLES:
        return "system"
    return "tool" if role in _TOOL_ROLES else role


def _unknown(row: Row, roles: Sequence[str]) -> Iterator[Hit]:
    template = row.facts.template
    for index, role in enumerate(roles):
        if role in _KNOWN_ROLES:
            continue
        if template is not None and re.search(rf"['\"]{re.escape(role)}['\"]", template.source):
            continue
        yield _hit(row, roles, index, "unknown-role", "warning")
        return


def _out_of_order(row: Row, roles: Sequence[str], sides: Sequence[str]) -> Iterator[Hit]:
    messages = row.record.messages or []
    has_begun = has_user = False
    for index, side in enumerate(sides):
        before = sides[index - 1] if index else ""
        if side == "system":
            if has_begun:
                yield _hit(row, roles, index, "late-system", "warning")
            continue
        if side == "user":
            if before == "user":
                yield _hit(row, roles, index, "two-users", "warning")
            has_user = True
        elif side == "assistant":
            if before == "assistant" and not _calls(messages[index]) and not _calls(messages[index - 1]):
                yield _hit(row, roles, index, "two-answers", "warning")
            if not has_user and not has_begun:
                yield _hit(row, roles, index, "answer-first", "info")
        elif side == "tool" and before != "tool" and not (index and _calls(messages[index - 1])):
            yield _hit(row, roles, index, "tool-without-call", "warning")
        has_begun = True


def _calls(message: dict[str, object]) -> bool:
    """Return whether a message calls a tool, in a key of its own or in its words."""
    content = message.get("content")
    if message.get("tool_calls") or message.get("function_call"):
        return True
    return isinstance(content, str) and re.search(r"tool_?call|<function|python_tag", content, re.I) is not None


def _hit(row: Row, roles: Sequence[str], index: int, cause: str, severity: Severity) -> Hit:
    span = next((span for span in row.spans if span.message_index == index), None)
    key = cause.replace("-", "_")
    path = f"messages[{index}]"
    return Hit(
        f"rules_dat.role_{key}",
        {"role": roles[index], "field": path},
        help=f"rules_dat.role_{key}_help",
        because=Because(
            code=cause,
            key="rules_dat.role_cause",
            values={"roles": _shown(roles, index), "field": path},
            evidence={"roles": list(roles[:32]), "message_index": index},
        ),
        start=span.start if span else None,
        end=span.end if span else None,
        severity=severity,
        reproduction=_reproduction(row),
    )


def _shown(roles: Sequence[str], index: int) -> str:
    """Return the roles around a message, a line."""
    start, end = max(0, index - 3), min(len(roles), index + 2)
    inside = ", ".join(roles[start:end])
    return f"{'…, ' if start else ''}{inside}{', …' if end < len(roles) else ''}"


def _reproduction(row: Row) -> tuple[str, ...]:
    if row.record.shape == "messages":
        return reproduction(row, "[turn.get('role', turn.get('from')) for turn in row['messages']]")
    if row.record.shape == "conversations" and "conversations" in row.record.row:
        return reproduction(row, "[turn.get('from', turn.get('role')) for turn in row['conversations']]")
    return ()
