"""The blocks of a document shared out over slides: how much a slide holds is reckoned, for no browser is asked.

A slide is `LINES` lines high and `CELLS` cells wide, both at the size of its prose; slides.css draws it so. Reckoning
errs on the safe side, and a slide that holds more than reckoned grows and can be scrolled: nothing is cut off.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from finetooth.documents.blocks import (
    Block,
    Code,
    Contents,
    Document,
    Figure,
    Formula,
    Heading,
    Line,
    List,
    Paragraph,
    References,
    Table,
    Tokens,
)
from finetooth.documents.prose import Prose
from finetooth.documents.prose.tree import (
    Inline,
    Piece,
    ProseCode,
    ProseHeading,
    ProseList,
    ProseQuote,
    ProseTable,
    ProseText,
)
from finetooth.messages import say
from finetooth.view.visible import cells, harmless

LINES = 17.0
"""Lines of prose below a slide's heading."""
CELLS = 96
"""Cells of such a line: half as many kanji."""
_FIGURES = 2
"""Figures beside each other on a slide."""
_GAP = 0.6
"""Lines between blocks."""
_T = TypeVar("_T")

_SMALL = 0.82
"""The size of tables and code, of that of prose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slide:
    """Blocks that fit on a slide."""

    title: str
    """The heading of its section; empty before the first."""
    blocks: Sequence[Block]
    number: int
    """Which of its section's slides it is, from 1."""
    of: int
    """How many its section has."""


def slides_of(document: Document) -> list[Slide]:
    """Return the slides of a document: one a section, or as many as its blocks take."""
    slides: list[Slide] = []
    for title, blocks in _sections(document.blocks):
        pages = list(_pages(_parts(blocks)))
        slides += [
            Slide(title=title, blocks=page, number=number, of=len(pages)) for number, page in enumerate(pages, 1)
        ]
    return slides


def fits_below_title(slide: Slide) -> bool:
    """Return whether what stands before the first section is short enough for the slide of the title."""
    return not slide.title and slide.of == 1 and _total(slide.blocks) <= LINES / 2


def height(block: Block) -> float:
    """Return about how many lines a block takes on a slide."""
    match block:
        case Heading():
            return 2.0
        case Paragraph():
            return _wrapped(_text(block.line), CELLS) + (0.9 if block.tone in ("warning", "good") else 0)
        case Table():
            return _SMALL * (1.5 + sum(_row_height(block, index) for index in range(len(block.rows))))
        case Figure():
            return _figures_height([block])
        case Code():
            return _SMALL * (1.2 + sum(_wrapped(line, CELLS) for line in block.lines))
        case List():
            return sum(_wrapped(_text(item), CELLS - 4) + 0.25 for item in block.items)
        case References():
            return sum(_wrapped(f"{one.text} {one.url or ''}", CELLS - 6) + 0.25 for one in block.items)
        case Formula():
            return 3.0
        case Prose():
            return sum(map(_piece_height, block.pieces)) + _GAP * max(len(block.pieces) - 1, 0)
        case _:
            return 1.0


def _sections(blocks: Iterable[Block]) -> Iterator[tuple[str, list[Block]]]:
    title: str | None = None
    section: list[Block] = []
    for block in blocks:
        if isinstance(block, Heading) and block.level <= 2:
            if title is not None or section:
                yield title or "", section
            title, section = block.text, []
        elif not isinstance(block, Contents):
            section.append(block)
    if title is not None or section:
        yield title or "", section


def _parts(blocks: Iterable[Block]) -> Iterator[list[Block]]:
    """Yield the blocks in parts that stay together: what can be cut is cut, figures are put side by side."""
    beside: list[Block] = []
    for block in blocks:
        if isinstance(block, Figure):
            if block.chart.drawn:
                beside.append(block)
            if len(beside) == _FIGURES:
                yield beside
                beside = []
            continue
        if beside:
            yield beside
            beside = []
        if isinstance(block, Tokens):
            # Tokens of several set-ups under each other are for a page that can be scrolled.
            pointer = say("documents.tokens_elsewhere", summary=block.summary)
            yield [Paragraph(line=[(pointer, "")], tone="quiet")]
        else:
            yield from ([piece] for piece in _cut(block))
    if beside:
        yield beside


def _cut(block: Block) -> Iterator[Block]:
    """Yield a block in pieces that fit on a slide each, and are put together again where several do."""
    match block:
        case Table():
            yield from (replace(block, rows=[row]) for row in block.rows)
        case List():
            yield from (replace(block, items=[item]) for item in block.items)
        case References():
            yield from (replace(block, items=[item], first=block.first + i) for i, item in enumerate(block.items))
        case Code():
            yield from (replace(block, lines=[line]) for line in block.lines)
        case Paragraph() if height(block) > LINES:
            for stretches in _shares(
                [(sentence, style) for text, style in block.line for sentence in _sentences(text)]
            ):
                yield replace(block, line=stretches)
        case Prose():
            for piece in block.pieces:
                yield from (replace(block, pieces=[part]) for part in _cut_piece(piece))
        case _:
            yield block


def _cut_piece(piece: Piece) -> Iterator[Piece]:
    if _piece_height(piece) <= LINES / 2:
        yield piece
        return
    match piece:
        case ProseList():
            for number, item in enumerate(piece.items):
                start = None if piece.start is None else piece.start + number
                yield replace(piece, items=[item], start=start)
        case ProseTable():
            yield from (replace(piece, rows=[row]) for row in piece.rows)
        case ProseCode():
            yield from (replace(piece, lines=[line]) for line in piece.lines)
        case ProseText() if _piece_height(piece) > LINES:
            sentences = [(part, one) for one in piece.inline for part in _sentences(one.text)]
            for share in _shares(sentences):
                yield replace(piece, inline=[replace(one, text=part) for part, one in share])
        case _:
            yield piece


def _sentences(text: str) -> list[str]:
    """Return a text in sentences; one that has no end for lines on end is cut anywhere."""
    sentences = re.split(r"(?<=[。！？\n])|(?<=[.!?] )", text)
    return [part for sentence in sentences for part in re.findall(r".{1,300}", sentence, re.DOTALL)]


def _shares(sentences: Iterable[tuple[str, _T]]) -> Iterator[list[tuple[str, _T]]]:
    """Yield sentences, each with what belongs to it, in shares that fill most of a slide."""
    share: list[tuple[str, _T]] = []
    taken = 0.0
    for text, other in sentences:
        lines = cells(harmless(text)) * 1.05 / CELLS + text.count("\n")
        if share and taken + lines > LINES - 2:
            yield share
            share, taken = [], 0.0
        share.append((text, other))
        taken += lines
    if share:
        yield share


def _pages(parts: Iterable[list[Block]]) -> Iterator[list[Block]]:
    """Yield the blocks of each slide; a section without any has one all the same."""
    page: list[Block] = []
    is_empty = True
    for part in parts:
        wanted = _with(page, part)
        if page and _total(wanted) > LINES:
            kept: list[Block] = []
            # A heading goes with what follows it.
            while len(page) > 1 and _is_heading(page[-1]):
                kept.insert(0, page.pop())
            yield page
            is_empty = False
            wanted = _with(kept, part)
        page = wanted
    if page or is_empty:
        yield page


def _is_heading(block: Block) -> bool:
    return isinstance(block, Heading) or (
        isinstance(block, Prose) and bool(block.pieces) and isinstance(block.pieces[-1], ProseHeading)
    )


def _total(blocks: Sequence[Block]) -> float:
    """Return how many lines blocks take; figures stand beside each other."""
    heights = [height(block) for block in blocks if not isinstance(block, Figure)]
    figures = [block for block in blocks if isinstance(block, Figure)]
    heights += [_figures_height(figures[at : at + _FIGURES]) for at in range(0, len(figures), _FIGURES)]
    return sum(heights) + _GAP * max(len(heights) - 1, 0)


def _with(page: Sequence[Block], part: Sequence[Block]) -> list[Block]:
    """Return a page with a part after it; what was cut from one block is one again."""
    joined = list(page)
    for block in part:
        merged = _joined(joined[-1], block) if joined else None
        if merged is None:
            joined.append(block)
        else:
            joined[-1] = merged
    return joined


def _joined(first: Block, second: Block) -> Block | None:
    match first, second:
        case (Table(), Table()) if (first.head, first.corner) == (second.head, second.corner):
            return replace(first, rows=[*first.rows, *second.rows])
        case (List(), List()):
            return replace(first, items=[*first.items, *second.items])
        case (References(), References()):
            return replace(first, items=[*first.items, *second.items])
        case (Code(), Code()):
            return replace(first, lines=[*first.lines, *second.lines])
        case (Prose(), Prose()):
            last, *_ = first.pieces[-1:]
            merged = _joined_pieces(last, second.pieces[0])
            if merged is None:
                return replace(first, pieces=[*first.pieces, *second.pieces])
            return replace(first, pieces=[*first.pieces[:-1], merged, *second.pieces[1:]])
        case _:
            return None


def _joined_pieces(first: Piece, second: Piece) -> Piece | None:
    match first, second:
        case (ProseList(), ProseList()) if first.start is None and second.start is None:
            return replace(first, items=[*first.items, *second.items])
        case (ProseList(), ProseList()) if first.start is not None and second.start == first.start + len(first.items):
            return replace(first, items=[*first.items, *second.items])
        case (ProseTable(), ProseTable()) if first.head == second.head:
            return replace(first, rows=[*first.rows, *second.rows])
        case (ProseCode(), ProseCode()):
            return replace(first, lines=[*first.lines, *second.lines])
        case _:
            return None


def _row_height(table: Table, index: int) -> float:
    """Return the lines of a row, in lines of its table: the columns share what the labels leave."""
    row, room = table.rows[index], CELLS / _SMALL
    column = room * 0.79 / max(len(table.head), 1) - 3
    widths = [(row.label, room * 0.21 - 3), *((cell, column) for cell in row.cells)]
    lines = max(_wrapped(_text(line), width) for line, width in widths)
    return lines + (0.85 if table.is_prose else 0.5)


def _figures_height(figures: Sequence[Figure]) -> float:
    """Return the lines of figures beside each other: the chart, its legend, its caption."""
    chart, width = (12.0, CELLS * 0.8) if len(figures) == 1 else (7.4, CELLS * 0.47)
    below = 0
    for one in figures:
        legend = sum(cells(harmless(series.name)) + 7 for series in one.chart.drawn)
        caption = f"{one.name} {one.chart.title} {one.caption} {one.dashes}"
        below = max(below, math.ceil(legend / width) + _wrapped(caption, width / 0.85))
    return chart + below


def _piece_height(piece: Piece) -> float:
    match piece:
        case ProseHeading():
            return 1.6
        case ProseText():
            return _wrapped(_plain(piece.inline), CELLS)
        case ProseList():
            return sum(0.25 + sum(map(_piece_height, item)) for item in piece.items)
        case ProseTable():
            width = CELLS / _SMALL / max(len(piece.head), 1) - 3
            rows = (max(_wrapped(_plain(cell), width) for cell in row) + 0.5 for row in (piece.head, *piece.rows))
            return _SMALL * sum(rows)
        case ProseCode():
            return _SMALL * (1.2 + sum(_wrapped(line, CELLS) for line in piece.lines))
        case ProseQuote():
            return sum(map(_piece_height, piece.pieces)) + 0.6
        case _:
            return 1.0


def _text(line: Line) -> str:
    return "".join(text for text, _ in line)


def _plain(inline: Inline) -> str:
    return "".join(stretch.text for stretch in inline)


def _wrapped(text: str, width: float) -> int:
    """Return how many lines a text takes, a bit more than evenly: lines end at words."""
    lines = (max(1, math.ceil(cells(harmless(part)) * 1.05 / max(width, 4))) for part in text.split("\n"))
    return sum(lines)
