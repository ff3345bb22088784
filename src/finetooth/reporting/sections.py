"""The sections of a report: which there are, their order, and the document that they make.

A section is a function that yields blocks. What yields none is left out, but for the last, which is there to be
written in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from finetooth.documents import Block, Contents, Document, Heading, Paragraph, References
from finetooth.errors import ConfigError
from finetooth.messages import say
from finetooth.reporting import defining, doing, showing
from finetooth.reporting.citing import Citations
from finetooth.reporting.inspected import file_name
from finetooth.version import __version__

if TYPE_CHECKING:
    from finetooth.reporting.progress import ProgressReport

Section = Callable[["ProgressReport", Citations], Iterator[Block]]

SECTIONS: Mapping[str, Section] = {
    "summary": showing.summary,
    "since": doing.since,
    "setups": doing.setups,
    "example": doing.example,
    "loss": defining.loss,
    "curves": showing.curves,
    "labels": showing.labels,
    "findings": showing.findings,
    "endings": showing.endings,
    "outputs": showing.outputs,
    "merges": showing.merges,
    "versions": doing.versions,
}
"""What reads the report, in the order of its sections."""

NEXT, REFERENCES = "next", "references"
NAMES = (*SECTIONS, NEXT, REFERENCES)
"""The names of all sections, in their order."""


def refuse_unknown(names: Iterable[str]) -> None:
    """Refuse the name of a section that is none.

    Raises:
        ConfigError: There is no such section.
    """
    for name in names:
        if name not in NAMES:
            raise ConfigError(say("reporting.no_section", name=name), where=name, help=", ".join(NAMES))


def document_of(report: ProgressReport) -> Document:
    """Return a report as a document, in the language in force."""
    citations = Citations(report)
    blocks: list[Block] = []
    number = 0
    for name in NAMES:
        if name in report.without:
            continue
        found = list(_blocks(name, report, citations))
        own = report.texts.get(name)
        if not found and own is None:
            continue
        number += 1
        blocks.append(Heading(text=say("reporting.numbered", number=number, title=say(f"reporting.section_{name}"))))
        blocks += found
        if own is not None:
            blocks.append(own)
    return Document(title=_title(report), tool=_made(report), is_signed=True, blocks=(Contents(), *blocks))


def _blocks(name: str, report: ProgressReport, citations: Citations) -> Iterator[Block]:
    if name == REFERENCES:
        if citations.items:
            yield References(items=citations.items)
    elif name == NEXT:
        if NEXT not in report.texts:
            yield Paragraph(line=[(say("reporting.to_be_written"), "quiet")], tone="quiet")
    else:
        yield from SECTIONS[name](report, citations)


def _title(report: ProgressReport) -> str:
    if report.title is not None:
        return report.title
    names = [entry.name for entry in report.comparison.entries] or [file_name(one.data) for one in report.inspected]
    return say("reporting.title", names=say("comparing.comma").join(names))


def _made(report: ProgressReport) -> str:
    day = say("reporting.day", year=report.day.year, month=report.day.month, day=report.day.day)
    parts = [day, *([report.author] if report.author else []), f"finetooth {__version__} report"]
    return " · ".join(parts)
