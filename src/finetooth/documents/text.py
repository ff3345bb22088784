"""A document on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from finetooth.charts.blocks import curve_of_blocks
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
    Row,
    Table,
    Tokens,
)
from finetooth.documents.prose import Prose
from finetooth.documents.prose import text as prose
from finetooth.documents.sections import sections
from finetooth.messages import say
from finetooth.view.paint import Styled, fold, paint
from finetooth.view.visible import cells, harmless

MIN_WIDTH = 20
"""Narrower terminals are written to as if they had this many cells."""

_GAP = 2
_MIN_CELL = 11
"""Cells of a column below which a table is written column under column."""
_MAX_LABEL = 32
_CURVE = 40
"""Characters of a curve at most."""
_TONES = {"plain": "", "quiet": "quiet", "warning": "warning", "good": "good"}


def render(document: Document, *, width: int, color: bool) -> Iterator[str]:
    """Yield a document for a terminal, line by line, line breaks included.

    Code to paste is not folded: a terminal wraps it, and what is copied from there stays whole.

    Args:
        document: The document.
        width: The cells that no other line exceeds.
        color: Whether escape sequences are written. They add nothing: without them the text is the same.
    """
    width = max(width, MIN_WIDTH)
    is_first = not document.is_signed
    if document.is_signed:
        for line in fold([(harmless(document.title), "strong")], width=width):
            yield paint(line, color=color) + "\n"
        for line in fold([(harmless(document.tool), "quiet")], width=width):
            yield paint(line, color=color) + "\n"
    for block in document.blocks:
        lines = list(_block(block, document, width))
        if not lines:
            continue
        if not is_first:
            yield "\n"
        is_first = False
        for line in lines:
            yield paint(line, color=color) + "\n"


def _block(block: Block, document: Document, width: int) -> Iterator[Styled]:
    if isinstance(block, Heading):
        yield from _heading(block, width)
    elif isinstance(block, Paragraph):
        tone = _TONES[block.tone]
        line = [(text, style or tone) for text, style in _safe(block.line)]
        mark = [("! ", "warning")] if block.tone == "warning" else []
        yield from fold([*mark, *line], width=width, indent=2 * len(mark))
    elif isinstance(block, Table):
        yield from _table(block, width)
    elif isinstance(block, Figure):
        yield from _figure(block, width)
    elif isinstance(block, Code):
        yield from ([("  ", ""), (harmless(line), "")] for line in block.lines)
    elif isinstance(block, List):
        for item in block.items:
            yield from fold([("• ", "quiet"), *_safe(item)], width=width, indent=2)
    elif isinstance(block, Contents):
        yield from fold(_named(say("documents.contents")), width=width)
        for _, title in sections(document):
            yield from fold([("• ", "quiet"), (harmless(title), "")], width=width, first_indent=2, indent=4)
    elif isinstance(block, Formula):
        number = [] if block.number is None else [(f"  ({block.number})", "quiet")]
        yield from fold([(block.term.plain, ""), *number], width=width, first_indent=4, indent=6)
    elif isinstance(block, References):
        yield from _references(block, width)
    elif isinstance(block, Prose):
        yield from prose.render(block.pieces, width=width)
    else:
        assert isinstance(block, Tokens), "a block that no terminal shows"


def _heading(block: Heading, width: int) -> Iterator[Styled]:
    line: Styled = [("── ", "quiet"), (harmless(block.text), "heading")] if block.level == 2 else _named(block.text)
    left = width - sum(cells(text) for text, _ in line) - 1
    if block.level == 2 and left > 0:
        yield [*line, (f" {'─' * left}", "quiet")]
    else:
        yield from fold(line, width=width, indent=3 if block.level == 2 else 0)


def _named(text: str) -> Styled:
    return [(harmless(text), "heading")]


def _safe(line: Line) -> list[tuple[str, str]]:
    return [(f"`{harmless(text)}`", "") if style == "code" else (harmless(text), style) for text, style in line]


def _table(table: Table, width: int) -> Iterator[Styled]:
    label_cells = min(max((_cells(row.label) for row in table.rows), default=0), _MAX_LABEL)
    label_cells = max(label_cells, min(cells(harmless(table.corner)), _MAX_LABEL))
    count = max(len(table.head), 1)
    wanted = [
        max([cells(harmless(head)), *(_cells(row.cells[index]) for row in table.rows if index < len(row.cells))])
        for index, head in enumerate(table.head)
    ]
    widths = _shared(wanted, width - label_cells - _GAP * count)
    if any(room < min(_MIN_CELL, want) for room, want in zip(widths, wanted, strict=True)):
        yield from _stacked(table, width)
        return
    head = Row(label=[(table.corner, "quiet")], cells=[[(name, "heading")] for name in table.head])
    yield from _row(head, label_cells, widths)
    for row in table.rows:
        yield from _row(row, label_cells, widths)


def _cells(line: Line) -> int:
    return max((sum(cells(text) for text, _ in _safe(part)) for part in _broken(line)), default=0)


def _broken(line: Line) -> list[Line]:
    """Return the lines that a cell has: a stretch that is nothing but a line break begins another.

    A line break within what was read is shown by a sign instead.
    """
    lines: list[list[tuple[str, str]]] = [[]]
    for text, style in line:
        if text == "\n":
            lines.append([])
        else:
            lines[-1].append((text, style))
    return [*lines]


def _shared(wanted: Sequence[int], room: int) -> list[int]:
    """Return the cells of each column: what it wants, or a fair part of what there is."""
    if sum(wanted) <= room:
        return list(wanted)
    widths = [0] * len(wanted)
    left, waiting = room, sorted(range(len(wanted)), key=lambda index: wanted[index])
    while waiting:
        index = waiting.pop(0)
        widths[index] = min(wanted[index], left // (len(waiting) + 1))
        left -= widths[index]
    return widths


def _row(row: Row, label_cells: int, widths: Sequence[int]) -> Iterator[Styled]:
    columns = [_folded(row.label, label_cells) if row.label else [[]]]
    columns += [_folded(cell, max(room, 2)) for cell, room in zip(row.cells, widths, strict=False)]
    all_widths = [label_cells, *widths]
    for number in range(max(map(len, columns))):
        line: list[tuple[str, str]] = []
        for column, room in zip(columns, all_widths, strict=False):
            part = column[number] if number < len(column) else []
            line += [*part, (" " * (room - sum(cells(text) for text, _ in part) + _GAP), "")]
        yield line


def _folded(line: Line, width: int) -> list[Styled]:
    return [part for one in _broken(line) for part in fold(_safe(one), width=width)]


def _stacked(table: Table, width: int) -> Iterator[Styled]:
    """Write each row as its label, and its cells under it, each with its column's name."""
    for row in table.rows:
        if row.label:
            for part in _broken(row.label):
                yield from fold([(text, style or "heading") for text, style in _safe(part)], width=width)
        for name, cell in zip(table.head, row.cells, strict=False):
            first, *others = _broken(cell)
            line = [(f"{harmless(name)}{say('documents.colon')}", "quiet"), *_safe(first)]
            yield from fold(line, width=width, first_indent=2, indent=4)
            for part in others:
                yield from fold(_safe(part), width=width, first_indent=4, indent=4)


def _references(references: References, width: int) -> Iterator[Styled]:
    indent = len(f"[{references.first + len(references.items) - 1}] ")
    for number, one in enumerate(references.items, references.first):
        mark = f"[{number}] ".rjust(indent)
        yield from fold([(mark, "quiet"), *prose.with_address(one.text, one.url)], width=width, indent=indent)


def _figure(figure: Figure, width: int) -> Iterator[Styled]:
    chart = figure.chart
    if not chart.drawn:
        return
    title: Line = [(f"{figure.name}  ", "quiet"), (chart.title, "heading"), (f"  {figure.caption}", "quiet")]
    yield from fold(_safe(title), width=width, indent=2)
    names = [harmless(series.name) for series in chart.drawn]
    name_cells = min(max(map(cells, names)), max(8, width // 3))
    number = _share if chart.share else _number
    ends = [(number(one.points[0][1]), number(one.points[-1][1])) for one in chart.drawn]
    first_cells, last_cells = (max(len(end[place]) for end in ends) for place in (0, 1))
    room = min(_CURVE, width - 2 - name_cells - first_cells - last_cells - 6)
    for series, name, (first, last) in zip(chart.drawn, names, ends, strict=True):
        (shown,) = fold([(name, "")], width=name_cells)[:1]
        pad = " " * (name_cells - sum(cells(text) for text, _ in shown) + 2)
        curve = curve_of_blocks(series.points, chart, width=room) if room >= 6 else "…"
        style = "quiet" if series.dashed else ""
        numbers: Line = [(first.rjust(first_cells), ""), (f"  {curve}  ", style), (last.rjust(last_cells), "heading")]
        yield [("  ", ""), *shown, (pad, ""), *numbers]


def _share(value: float) -> str:
    return f"{value:.3f}"


def _number(value: float) -> str:
    return f"{value:.3g}" if abs(value) >= 1000 or 0 < abs(value) < 0.001 else f"{value:.3f}"
