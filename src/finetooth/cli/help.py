"""Lay out help pages in either language: click's own wrapping takes a kanji for one column, and breaks at spaces."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator

import click

from finetooth.messages import say
from finetooth.view.paint import NOT_FIRST, NOT_LAST


def columns(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def wrap(text: str, width: int) -> list[str]:
    """Return a paragraph as lines of at most `width` columns; words in Latin script are never cut."""
    lines: list[str] = []
    line = ""
    for piece in _pieces(text):
        if line and columns(line) + columns(piece.rstrip()) > width:
            lines.append(line.rstrip())
            line = ""
        line += piece if line else piece.lstrip()
    return [*lines, line.rstrip()] if line.strip() else lines


def _pieces(text: str) -> Iterator[str]:
    """Cut a text where a line may end: after spaces, and around wide characters that may stand at its end or start."""
    piece = ""
    for char in text:
        wide = columns(char) == 2
        ends = (
            piece and (piece[-1].isspace() or wide or columns(piece[-1]) == 2) and piece.rstrip()[-1:] not in NOT_LAST
        )
        if ends and not char.isspace() and char not in NOT_FIRST:
            yield piece
            piece = ""
        piece += char
    if piece:
        yield piece


class HelpFormatter(click.HelpFormatter):
    """Write help pages with headings in the language in force."""

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        """Write the usage line, on one line: it is short, since options are not spelled out in it."""
        self.write(f"{prefix or say('cli.usage')} {prog} {args}".rstrip() + "\n")

    def write_heading(self, heading: str) -> None:
        """Write a section's heading."""
        self.write(f"{heading}\n")

    def write_text(self, text: str) -> None:
        """Write paragraphs, wrapped; lines that are indented stand as they are."""
        indent = " " * self.current_indent
        for block in text.strip("\n").split("\n\n"):
            self.write_paragraph()
            if block.startswith(" "):
                self.write("".join(f"{indent}{line}\n" for line in block.splitlines()))
            else:
                lines = wrap(" ".join(block.split("\n")), self.width - self.current_indent)
                self.write("".join(f"{indent}{line}\n" for line in lines))

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 28, col_spacing: int = 2) -> None:
        """Write terms on the left and their sentences on the right."""
        rows = list(rows)
        first = min(max((columns(term) for term, _ in rows), default=0), col_max) + col_spacing
        indent = " " * self.current_indent
        for term, sentence in rows:
            lines = wrap(sentence, max(self.width - self.current_indent - first, 20))
            if columns(term) > first - col_spacing or not lines:
                self.write(f"{indent}{term}\n")
            else:
                self.write(f"{indent}{term}{' ' * (first - columns(term))}{lines.pop(0)}\n")
            self.write("".join(f"{indent}{' ' * first}{line}\n" for line in lines))
