"""A probe's report as a document: how often answers end how, and the answers themselves."""

from __future__ import annotations

from collections.abc import Iterator

from finetooth.documents import Block, Document, Heading, Paragraph, Row, Table
from finetooth.documents.blocks import Line
from finetooth.messages import say
from finetooth.probing.judging import Answer
from finetooth.probing.report import RATES, ProbeReport

_GOOD = "stop"
"""The one rate that is good where it is high; all others count faults."""
_MAX_CHARS = 240
"""Characters of an answer that are shown; its end is what matters here, and stays."""


def document_of(report: ProbeReport) -> Document:
    """Return a report as a document, in the language in force."""
    return Document(title=report.model, tool="finetooth probe", blocks=tuple(_blocks(report)))


def _blocks(report: ProbeReport) -> Iterator[Block]:
    ids = ", ".join(map(str, report.stop_ids)) or say("cli_probe.no_stops")
    head = say("cli_probe.head", model=report.model, count=report.num_prompts, tokens=report.max_new_tokens, ids=ids)
    yield Paragraph(line=[(head, "heading")])
    heads = [say(f"probing.head_{name}") for name in ("answers", "share", "interval")]
    yield Table(head=heads, rows=[_rate(report, name) for name in RATES])
    if report.samples:
        yield Heading(text=say("probing.answers"), level=3)
        rows = [Row(label=[(one.prompt.question, "")], cells=[_answer(one)]) for one in report.samples]
        yield Table(corner=say("probing.head_question"), head=[say("probing.head_answer")], rows=rows, is_prose=True)


def _rate(report: ProbeReport, name: str) -> Row:
    count, total = report.counts[name], report.num_prompts
    low, high = report.interval(name)
    is_bad = count < total if name == _GOOD else count > 0
    style = "bad" if is_bad else "good" if name == _GOOD and total else ""
    cells: list[Line] = [
        [(f"{count:,} / {total:,}", style)],
        [(f"{report.rate(name):.0%}", style)],
        [(f"{low:.0%}–{high:.0%}", "quiet")],
    ]
    return Row(label=[(say(f"cli_probe.{name}"), "")], cells=cells)


def _answer(answer: Answer) -> Line:
    """Return an answer with its literal terminators marked, and how it ended."""
    end = say("comparing.stopped_there" if answer.stopped else "comparing.cut_there")
    mark = (f" {end}", "good" if answer.stopped else "bad")
    shown = answer.shown.strip()
    if not shown:
        return [(say("comparing.empty"), "bad"), mark]
    if len(shown) > _MAX_CHARS:
        shown = f"{shown[: _MAX_CHARS // 2]} … {shown[-_MAX_CHARS // 2 :]}"
    line: list[tuple[str, str]] = []
    for number, part in enumerate(shown.split(answer.leaked) if answer.leaked else [shown]):
        if number:
            line.append((str(answer.leaked), "differs"))
        if part:
            line.append((part, ""))
    return [*line, mark]
