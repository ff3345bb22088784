"""A user's own text as Markdown again: written anew from its pieces, so that nothing is left that was text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from finetooth.documents.prose.tree import (
    Inline,
    Piece,
    ProseCode,
    ProseHeading,
    ProseList,
    ProseQuote,
    ProseTable,
    ProseText,
    Stretch,
)
from finetooth.documents.web import web_address
from finetooth.formats.markdown import block as code_block
from finetooth.formats.markdown import escape

# As HTML: asterisks beside Japanese punctuation are no emphasis to CommonMark.
_TAGS = (("code", "code"), ("struck", "s"), ("emphasis", "em"), ("strong", "b"))
"""Marks and their elements, the innermost first."""


def render(pieces: Sequence[Piece]) -> Iterator[str]:
    """Yield pieces as Markdown, each with its line's end."""
    for piece in pieces:
        yield _piece(piece)


def link(text: str, url: str | None) -> str:
    """Return Markdown as a link where its address is one of the web, and as it is where not.

    Args:
        text: Markdown.
        url: The address, untrusted.
    """
    address = web_address(url)
    if address is None:
        return text
    # References to characters are read in addresses as well, and GitHub looks for formulas between dollar signs.
    return f"[{text}](<{address.replace('&', '&amp;').replace('$', '%24')}>)"


def bare_link(url: str | None) -> str | None:
    """Return a link whose text is its address; `None` where that is none of the web."""
    address = web_address(url)
    return None if address is None else f"<{address.replace('$', '%24')}>"


def inline(stretches: Inline) -> str:
    """Return stretches as one line of Markdown."""
    return "".join(map(_stretch, stretches))


def _piece(piece: Piece) -> str:
    match piece:
        case ProseHeading():
            return f"{'#' * piece.level} {inline(piece.inline)}\n"
        case ProseText():
            return f"{inline(piece.inline)}\n"
        case ProseList():
            return "".join(_items(piece))
        case ProseTable():
            ruler = "|" + "".join("--:|" if to_right else "---|" for to_right in piece.to_right)
            lines = [_row(piece.head), ruler, *map(_row, piece.rows)]
            return "\n".join(lines) + "\n"
        case ProseCode():
            return code_block(piece.lines)
        case ProseQuote():
            lines = "\n".join(render(piece.pieces)).removesuffix("\n").split("\n")
            return "".join(f"> {line}".rstrip() + "\n" for line in lines)
        case _:
            return "---\n"


def _items(piece: ProseList) -> Iterator[str]:
    for number, item in enumerate(piece.items, piece.start or 0):
        bullet = "- " if piece.start is None else f"{number}. "
        lines = _item(item).removesuffix("\n").split("\n")
        yield f"{bullet}{lines[0]}".rstrip() + "\n"
        for line in lines[1:]:
            yield f"{' ' * len(bullet)}{line}".rstrip() + "\n" if line else "\n"


def _item(pieces: Sequence[Piece]) -> str:
    """Return an item of a list; a list in it follows its text closely, where Markdown takes that for a list."""
    written = ""
    for number, piece in enumerate(pieces):
        closely = (
            isinstance(piece, ProseList) and piece.start in (None, 1) and isinstance(pieces[number - 1], ProseText)
        )
        written += "\n" if number and not closely else ""
        written += _piece(piece)
    return written


def _row(cells: Sequence[Inline]) -> str:
    return "|" + "".join(f" {inline(cell)} |" for cell in cells)


def _stretch(stretch: Stretch) -> str:
    shown = "<br>".join(map(escape, stretch.text.split("\n")))
    for mark, tag in _TAGS:
        if mark in stretch.marks:
            shown = f"<{tag}>{shown}</{tag}>"
    return link(shown, stretch.url)
