"""A user's own text as HTML."""

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
from finetooth.view.markup import escape

_TAGS = (("code", "code"), ("struck", "s"), ("emphasis", "em"), ("strong", "strong"))
"""Marks and their elements, the innermost first."""


def render(pieces: Sequence[Piece]) -> Iterator[str]:
    """Yield pieces as HTML."""
    for piece in pieces:
        yield from _piece(piece)


def link(text: str, url: str | None) -> str:
    """Return HTML as a link where its address is one of the web, and as it is where not.

    Args:
        text: HTML.
        url: The address, untrusted.
    """
    address = web_address(url)
    return text if address is None else f'<a href="{escape(address)}" rel="noreferrer noopener">{text}</a>'


def inline(stretches: Inline) -> str:
    """Return stretches as HTML."""
    return "".join(map(_stretch, stretches))


def _piece(piece: Piece) -> Iterator[str]:
    match piece:
        case ProseHeading():
            yield f"<h{piece.level}>{inline(piece.inline)}</h{piece.level}>\n"
        case ProseText():
            yield f"<p>{inline(piece.inline)}</p>\n"
        case ProseList():
            tag = "ul" if piece.start is None else "ol"
            start = "" if piece.start in (None, 1) else f' start="{piece.start}"'
            yield f"<{tag}{start}>\n"
            for item in piece.items:
                yield f"<li>{_item(item)}</li>\n"
            yield f"</{tag}>\n"
        case ProseTable():
            kinds = [' class="n"' if to_right else "" for to_right in piece.to_right]
            head = "".join(
                f'<th scope="col"{kind}>{inline(cell)}</th>' for kind, cell in zip(kinds, piece.head, strict=True)
            )
            yield f'<div class="wide"><table class="own"><thead><tr>{head}</tr></thead><tbody>\n'
            for row in piece.rows:
                cells = (f"<td{kind}>{inline(cell)}</td>" for kind, cell in zip(kinds, row, strict=True))
                yield f"<tr>{''.join(cells)}</tr>\n"
            yield "</tbody></table></div>\n"
        case ProseCode():
            lines = "\n".join(map(escape, piece.lines))
            yield f'<pre class="code" tabindex="0"><code>{lines}</code></pre>\n'
        case ProseQuote():
            yield f"<blockquote>\n{''.join(render(piece.pieces))}</blockquote>\n"
        case _:
            yield "<hr>\n"


def _item(pieces: Sequence[Piece]) -> str:
    """Return an item of a list; what begins with a paragraph needs no element for it."""
    if pieces and isinstance(pieces[0], ProseText):
        return inline(pieces[0].inline) + "".join(render(pieces[1:]))
    return "".join(render(pieces))


def _stretch(stretch: Stretch) -> str:
    shown = "<br>".join(map(escape, stretch.text.split("\n")))
    for mark, tag in _TAGS:
        if mark in stretch.marks:
            shown = f"<{tag}>{shown}</{tag}>"
    return link(shown, stretch.url)
