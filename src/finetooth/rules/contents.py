"""What is said in a record: each part of it with its role, apart from the template's scaffolding."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from finetooth.errors import FinetoothError
from finetooth.rules.facts import SetupFacts
from finetooth.rules.row import Row
from finetooth.template import ASSISTANT_ROLES, conversation_text, part_text
from finetooth.types import Message

_CODE = re.compile(r"(```+|~~~+).*?(?:\1|\Z)|`[^`\n]+`", re.DOTALL)
_JSON_LINES = re.compile(r"(.*):(\d+)")
_JSON_ROWS = re.compile(r"(.*\.json)\[(\d+)\]")


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of words and whose they are: a message's content, a prompt, a completion."""

    role: str
    text: str
    message_index: int | None
    """Index into `Record.messages`; `None` for rows that hold none."""
    start: int | None
    """Where it begins in the row's text, where that is known without a search."""

    @property
    def is_answer(self) -> bool:
        """Whether the model writes it."""
        return self.role in ASSISTANT_ROLES


def parts_of(row: Row) -> list[Part]:
    """Return what is said in a record, in its order; worked out once for each `Row`.

    In a conversation the parts are the messages' contents; a prompt and a completion given as strings are a part each;
    in a whole text they are the spans between the marks, the text of the marks left out.
    """
    known: list[Part] | None = row.__dict__.get("_parts")
    if known is None:
        known = row.__dict__["_parts"] = _parts(row)
    return known


def _parts(row: Row) -> list[Part]:
    record = row.record
    if record.messages is not None:
        return [
            Part(str(message.get("role", "")), text, index, None)
            for index, message in enumerate(record.messages)
            if (text := content_of(message))
        ]
    if record.prompt is not None or record.completion is not None:
        prompt = record.prompt or ""
        return [Part("user", prompt, None, 0), Part("assistant", record.completion or "", None, len(prompt))]
    return [Part(span.role, row.text[span.start : span.end], None, span.start) for span in row.spans]


def content_of(message: Message) -> str:
    """Return the text of a message's content, its parts joined; empty where there is none."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    try:
        return "".join(part_text(part) for part in content)
    except FinetoothError:
        return ""


def place_in_text(row: Row, part: Part, start: int, end: int) -> tuple[int, int] | None:
    """Return the characters of a row's text at which a range of a part stands; `None` where it is not there."""
    if part.start is not None:
        return part.start + start, part.start + end
    words = part.text.strip()
    lead = len(part.text) - len(part.text.lstrip())
    spans = [span for span in row.spans if span.message_index == part.message_index]
    position = row.text.find(words, spans[0].start if spans else 0)
    if position >= 0:
        return position + start - lead, position + end - lead
    # The template rewrote the content; the range alone may still stand there.
    wanted = part.text[start:end]
    for span in spans:
        position = row.text.find(wanted, span.start, span.end)
        if position >= 0:
            return position, position + len(wanted)
    return None


def without_code(text: str) -> str:
    """Return the text with fenced and inline code blanked out, every other character where it was."""
    if "`" not in text and "~~~" not in text:
        return text
    return _CODE.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), text)


def render_with(row: Row, messages: list[Message], *, with_tools: bool = True) -> str | None:
    """Return the text of a row's conversation with other messages, or without its tools.

    `None` where the template refuses it.
    """
    template = row.facts.template
    if template is None:
        return None
    try:
        return template.render(
            [template.in_content_form(message) for message in messages],
            tools=row.record.tools if with_tools else None,
            variables=row.record.chat_template_kwargs,
        )
    except FinetoothError:
        return None


def is_rendered_here(row: Row) -> bool:
    """Return whether the row's text is what the template in force makes of the row's messages.

    Not so where a trainer renders the turns as the row spells them, or swaps the template for one of its own.
    """
    known: bool | None = row.__dict__.get("_is_rendered_here")
    if known is None:
        template = row.facts.template
        try:
            known = template is not None and conversation_text(template, row.record) == row.text
        except FinetoothError:
            known = False
        row.__dict__["_is_rendered_here"] = known
    return known


def line_that_reads(row: Row) -> str | None:
    """Return a line of Python that binds `row` to the row as its file holds it; `None` where a line cannot."""
    where = row.record.where
    if match := _JSON_ROWS.fullmatch(where):
        return f"import json; row = json.load(open({match[1]!r}, encoding='utf-8'))[{match[2]}]"
    if (match := _JSON_LINES.fullmatch(where)) and match[1].endswith((".jsonl", ".json", ".ndjson")):
        return f"import json; row = json.loads(open({match[1]!r}, encoding='utf-8').readlines()[{int(match[2]) - 1}])"
    return None


def reproduction(row: Row, expression: str) -> tuple[str, ...]:
    """Return two lines of Python that print an expression of `row`, or none where a line cannot read the row."""
    reading = line_that_reads(row)
    return () if reading is None else (reading, f"print({expression})")


def template_argument(facts: SetupFacts) -> str | None:
    """Return the argument that gives `apply_chat_template` the template in force; `None` where a line cannot."""
    template = facts.template
    if template is None or facts.files is None:
        return None
    if template.source == facts.files.chat_templates.get("default"):
        return ""
    if template.name.endswith((".jinja", ".j2", ".jinja2")):
        return f", chat_template=open({template.name!r}, encoding='utf-8').read()"
    return None


def excerpt(text: str, width: int = 40) -> str:
    """Return the beginning of a text on one line, its newlines shown."""
    shown = text.replace("\n", "↵")
    return shown if len(shown) <= width else f"{shown[: width - 1]}…"


def json_forms(value: Any) -> tuple[str, ...]:
    """Return the forms in which a JSON encoder writes a text: with its characters as they are, and escaped."""
    import json

    text = str(value)
    return json.dumps(text, ensure_ascii=False)[1:-1], json.dumps(text)[1:-1]
