"""A comparison as text, Markdown, a page, a picture, or JSON, to a file or to stdout."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from finetooth.comparing.comparison import Comparison
from finetooth.comparing.pages import document_of
from finetooth.documents import figures, html, markdown, text
from finetooth.documents.endings import format_of as by_ending
from finetooth.documents.illustrated import Tell, drawable_language, write_markdown
from finetooth.messages import speaking
from finetooth.writing import whole_file

Format = Literal["text", "markdown", "html", "png", "json"]
FORMATS: tuple[Format, ...] = ("html", "markdown", "png", "text", "json")


def format_of(path: Path) -> Format:
    """Return the format that a file's name asks for.

    Raises:
        ConfigError: Its ending is that of none.
    """
    return by_ending(path, FORMATS, example="comparison")


def render(comparison: Comparison, format_name: Format, *, width: int = 100, color: bool = False) -> Iterator[str]:
    """Yield a comparison in a format of text, piece by piece.

    Args:
        comparison: The comparison.
        format_name: Any but `png`.
        width: Cells of a terminal's line.
        color: Whether a terminal's text is coloured.
    """
    if format_name == "json":
        yield json.dumps(comparison.to_json(), ensure_ascii=False, indent=2, default=str) + "\n"
        return
    document = document_of(comparison)
    if format_name == "html":
        yield from html.render(document)
    elif format_name == "markdown":
        yield from markdown.render(document)
    else:
        yield from text.render(document, width=width, color=color)


def write(comparison: Comparison, path: Path, *, tell: Tell | None = None) -> list[Path]:
    """Write a comparison to a file, whole or not at all, as the file's ending says.

    Args:
        comparison: The comparison.
        path: The file; beside Markdown lie its pictures, where matplotlib is installed.
        tell: Told what a reader has to know of the pictures.

    Returns:
        The files that were written.

    Raises:
        FinetoothError: The ending is that of no format, or a file cannot be written.
    """
    format_name = format_of(path)
    tell = tell or (lambda sentence: None)
    if format_name == "png":
        write_picture(comparison, path, tell=tell)
        return [path]
    if format_name == "markdown":
        return write_markdown(lambda: document_of(comparison), path, tell=tell)
    if format_name == "json":
        with speaking("en"):
            pieces = list(render(comparison, format_name))
    else:
        pieces = list(render(comparison, format_name))
    with whole_file(path) as file:
        file.writelines(pieces)
    return [path]


def write_picture(comparison: Comparison, path: Path, *, tell: Tell) -> None:
    """Draw all figures into one PNG."""
    from finetooth.charts.png import write_png

    with speaking(drawable_language(tell)):
        document = document_of(comparison)
        charts = [(one.name, one.chart) for one in figures(document)]
        write_png(charts, path, title=document.title)
