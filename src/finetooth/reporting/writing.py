"""A report as a page, a deck, PDF, Markdown with its pictures, or text, to a file or to stdout."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from finetooth.documents import html, markdown, pdf, text
from finetooth.documents import slides as decks
from finetooth.documents.endings import format_of as by_ending
from finetooth.documents.illustrated import Tell, write_markdown
from finetooth.errors import ConfigError
from finetooth.messages import say
from finetooth.reporting.progress import ProgressReport
from finetooth.writing import whole_file

Format = Literal["text", "markdown", "html", "slides", "pdf"]
FORMATS: tuple[Format, ...] = ("html", "pdf", "markdown", "text")
"""What files hold; slides are asked for beside."""


def format_of(path: Path) -> Format:
    """Return the format that a file's name asks for.

    Raises:
        ConfigError: Its ending is that of none.
    """
    return by_ending(path, FORMATS, example="report")


def refuse_slides(path: Path) -> None:
    """Refuse to make slides of what has no pages.

    Raises:
        ConfigError: The file's ending is that of Markdown or text.
    """
    if format_of(path) not in ("html", "pdf"):
        raise ConfigError(say("reporting.no_slides"), where=f"-o {path}", help=f"-o {path.with_suffix('.html')}")


def render(report: ProgressReport, format_name: Format, *, width: int = 100, color: bool = False) -> Iterator[str]:
    """Yield a report in a format of text, piece by piece.

    Args:
        report: The report.
        format_name: Any but `pdf`.
        width: Cells of a terminal's line.
        color: Whether a terminal's text is coloured.
    """
    document = report.document()
    if format_name == "html":
        yield from html.render(document)
    elif format_name == "slides":
        yield from decks.render(document)
    elif format_name == "markdown":
        yield from markdown.render(document)
    else:
        yield from text.render(document, width=width, color=color)


def write(report: ProgressReport, path: Path, *, slides: bool = False, tell: Tell | None = None) -> list[Path]:
    """Write a report to a file, whole or not at all, as the file's ending says.

    Args:
        report: The report.
        path: The file; beside Markdown lie its pictures, where matplotlib is installed.
        slides: Whether a page or a PDF is a deck of slides.
        tell: Told what a reader has to know of the pictures.

    Returns:
        The files that were written.

    Raises:
        FinetoothError: The ending is that of no format, a file cannot be written, or PDF is asked for where no browser
            is installed.
    """
    format_name = format_of(path)
    if slides:
        refuse_slides(path)
    if format_name == "markdown":
        return write_markdown(report.document, path, tell=tell or (lambda sentence: None))
    if format_name == "pdf":
        document = report.document()
        pdf.write(decks.render(document) if slides else html.render(document, is_for_pdf=True), path)
        return [path]
    with whole_file(path) as file:
        file.writelines(render(report, "slides" if slides else format_name))
    return [path]
