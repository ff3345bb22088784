"""Answers to the same prompts, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from finetooth.comparing.entry import Entry
from finetooth.documents import Block, Heading, Paragraph, Row, Table
from finetooth.documents.blocks import Line
from finetooth.messages import say

MAX_CHARS = 200
"""Characters of an answer that are shown; its end is what matters here, and stays."""


def answer_table(entries: Sequence[Entry], count: int) -> Iterator[Block]:
    """Yield the table of answers to the first prompts that several runs were asked, or to anyone's."""
    answers = [_answers(entry) for entry in entries]
    prompts: dict[tuple[int, str], int] = {}
    for found in answers:
        for key in found:
            prompts[key] = prompts.get(key, 0) + 1
    chosen = sorted(prompts, key=lambda key: -prompts[key])[:count]
    if not chosen:
        return
    yield Heading(text=say("comparing.answers"))
    rows = [
        Row(
            label=[(question or say("comparing.record_number", number=record), "")],
            cells=[found.get((record, question), [("?", "quiet")]) for found in answers],
        )
        for record, question in chosen
    ]
    yield Table(corner=say("comparing.question"), head=[entry.name for entry in entries], rows=rows, is_prose=True)
    yield Paragraph(line=[(say("comparing.answers_note"), "")], tone="quiet")


def _answers(entry: Entry) -> dict[tuple[int, str], Line]:
    """Return an entry's answers by record and question: those of its probe, or else its last samples."""
    probed = [one for one in (entry.probe or {}).get("samples") or [] if isinstance(one, dict)]
    if probed:
        return {(int(one.get("record", -1)), _question(one.get("question"))): _probed(one) for one in probed}
    return {
        (int(one.get("record", -1)), _question(one.get("prompt"))): _shown(
            str(one.get("text", "")), stopped=bool(one.get("stopped")), leaked=None
        )
        for one in entry.samples
    }


def _question(text: Any) -> str:
    shown = " ".join(str(text or "").split())
    return shown if len(shown) <= MAX_CHARS else f"…{shown[-MAX_CHARS:]}"


def _probed(sample: Mapping[str, Any]) -> Line:
    return _shown(
        str(sample.get("shown", sample.get("text", ""))),
        stopped=bool(sample.get("stopped")),
        leaked=sample.get("leaked") or None,
    )


def _shown(text: str, *, stopped: bool, leaked: Any) -> Line:
    """Return an answer with its literal terminators marked, and how it ended."""
    end = say("comparing.stopped_there") if stopped else say("comparing.cut_there")
    mark = (f" {end}", "good" if stopped else "bad")
    if not text.strip():
        return [(say("comparing.empty"), "bad"), mark]
    if len(text) > MAX_CHARS:
        half = MAX_CHARS // 2
        text = f"{text[:half]} … {text[-half:]}"
    line: list[tuple[str, str]] = []
    parts = text.split(str(leaked)) if leaked else [text]
    for number, part in enumerate(parts):
        if number:
            line.append((str(leaked), "differs"))
        if part:
            line.append((part, ""))
    return [*line, mark]
