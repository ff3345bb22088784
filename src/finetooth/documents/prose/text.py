"""A user's own text on a terminal."""

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
from finetooth.view.paint import Styled, fold
from finetooth.view.visible import cells, harmless

_MIN_CELL = 8
"""Cells of a column below which a table's rows are written cell under cell."""
_GAP = 2


def render(pieces: Sequence[Piece], *, width: int) -> Iterator[Styled]:
    """Yield pieces line by line, an empty line between each two."""
    for number, piece in enumerate(pieces):
        if number:
            yield []
        yield from _piece(piece, width)


def with_address(text: str, url: str | None) -> Styled:
    """Return a text, and the address that belongs to it, whatever that is."""
    return [(harmless(text), ""), *([] if url is None else [(f" {harmless(web_address(url) or url)}", "quiet")])]


def _piece(piece: Piece, width: int) -> Iterator[Styled]:
    match piece:
        case ProseHeading():
            yield from fold([(text, style or "heading") for text, style in _inline(piece.inline)], width=width)
        case ProseText():
            for line in _lines(piece.inline):
                yield from fold(line, width=width)
        case ProseList():
            for number, item in enumerate(piece.items, piece.start or 0):
                bullet = "• " if piece.start is None else f"{number}. "
                yield from _hung(bullet, item, width)
        case ProseTable():
            yield from _table(piece, width)
        case ProseCode():
            yield from ([("  ", ""), (harmless(line), "")] for line in piece.lines)
        case ProseQuote():
            for line in render(piece.pieces, width=max(width - 2, 8)):
                yield [("│ ", "quiet"), *line]
        case _:
            yield [("─" * width, "quiet")]


def _hung(bullet: str, pieces: Sequence[Piece], width: int) -> Iterator[Styled]:
    """Yield an item of a list, its lines beside its bullet; the deepest are no narrower than a few words."""
    indent, is_first = len(bullet), True
    for piece in pieces:
        for line in _piece(piece, max(width - indent, 8)):
            yield [(bullet if is_first else " " * indent, "" if not is_first else "quiet"), *line]
            is_first = False
    if is_first:
        yield [(bullet, "quiet")]


def _table(table: ProseTable, width: int) -> Iterator[Styled]:
    rows = [[_flat(cell) for cell in row] for row in (table.head, *table.rows)]
    rows[0] = [[(text, style or "heading") for text, style in cell] for cell in rows[0]]
    count = max(len(table.head), 1)
    wanted = [max([_cells(row[index]) for row in rows]) for index in range(count)]
    room = width - _GAP * (count - 1)
    if sum(wanted) > room:
        wanted = [min(want, room // count) for want in wanted]
    if min(wanted) < _MIN_CELL and sum(wanted) + _GAP * (count - 1) >= width - count:
        yield from _stacked(rows, width)
        return
    for row in rows:
        columns = [fold(cell, width=max(want, 2)) for cell, want in zip(row, wanted, strict=True)]
        for number in range(max(map(len, columns))):
            line: list[tuple[str, str]] = []
            for column, want in zip(columns, wanted, strict=True):
                part = column[number] if number < len(column) else []
                line += [*part, (" " * (want - _cells(part) + _GAP), "")]
            yield line


def _stacked(rows: Sequence[Sequence[Styled]], width: int) -> Iterator[Styled]:
    for row in rows[1:]:
        for index, (head, cell) in enumerate(zip(rows[0], row, strict=True)):
            line = [*head, (": ", "quiet"), *cell]
            yield from fold(line, width=width, first_indent=2 if index else 0, indent=4)


def _cells(line: Styled) -> int:
    return sum(cells(text) for text, _ in line)


def _flat(inline: Inline) -> Styled:
    return [(text.replace("\n", " "), style) for text, style in _inline(inline)]


def _lines(inline: Inline) -> Iterator[Styled]:
    """Yield the lines between line breaks that were asked for."""
    line: list[tuple[str, str]] = []
    for text, style in _inline(inline):
        first, *others = text.split("\n")
        line.append((first, style))
        for other in others:
            yield line
            line = [(other, style)]
    yield line


def _inline(inline: Inline) -> Styled:
    line: list[tuple[str, str]] = []
    for index, stretch in enumerate(inline):
        line.append((_text(stretch), "strong" if "strong" in stretch.marks else ""))
        following = inline[index + 1].url if index + 1 < len(inline) else None
        if stretch.url is not None and stretch.url != following:
            line.append((f" <{harmless(stretch.url)}>", "quiet"))
    return line


def _text(stretch: Stretch) -> str:
    """Return the text of a stretch; marks that no terminal is sure to show are written as they were."""
    shown = "\n".join(map(harmless, stretch.text.split("\n")))
    if "code" in stretch.marks:
        return f"`{shown}`"
    return f"~~{shown}~~" if "struck" in stretch.marks else shown
