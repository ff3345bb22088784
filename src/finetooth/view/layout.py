"""Columns laid out on a grid of terminal cells, and cut into lines that fit.

A text takes one row, shared by all sides, for the sides hold the same characters. Under it each side has a row of
rulers: a tick where a token begins, a solid line under what is supervised. So the layout says everything without a
colour, survives a paste into an issue, and stands exactly under the characters whatever their width.

    こんにちは。お会いできて嬉しいですわ。</s>
    |_|_|_|_|_|_|_|_|_|_|_|_|3|_|_|_|_|_|_|_||   `</`, `s`, `>`, supervised; 3 tokens for one kanji
    |_|_|_|_|_|_|_|_|_|_|_|_|3|_|_|_|_|_|_|_'*     `</s>`, special, masked

Rulers are ASCII: box-drawing characters would be prettier, and are two cells wide in many a Japanese terminal and font.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from finetooth.view.columns import Column, begins_line
from finetooth.view.groups import Group
from finetooth.view.visible import cells, char_cells, visible_char

Style = Literal["", "masked", "supervised", "special", "special-supervised", "some", "parted", "gap", "differs"]
"""What a cell is, for the painter to colour."""

MASKED_TICK = "'"
SUPERVISED_TICK = "|"
SUPERVISED_LINE = "_"
SOME_TICK = "!"
GAP_TICK = "x"
SPECIAL_MARK = "*"
DIFFERS = "^"


@dataclass(frozen=True, slots=True)
class Cell:
    """One terminal cell. The second cell of a wide character holds the empty string."""

    glyph: str = " "
    style: Style = ""


Row = list[Cell]
_BLANK = Cell()


@dataclass(slots=True, kw_only=True)
class Grid:
    """Rows of cells of equal length: the text, and for each side its rulers and its ids."""

    text: Row
    rulers: list[Row]
    ids: list[Row]
    differs: list[bool]
    """By cell, whether the sides differ there."""
    chars: list[int]
    """By cell, the index of the character that stands there or is next."""
    boundaries: set[int] = field(default_factory=set)
    """Cells at which a column begins."""
    line_ends: set[int] = field(default_factory=set)
    """Cells before which a line of the text ends. Empty lines stay on the line before them, as `↵↵↵`."""

    def __len__(self) -> int:
        return len(self.text)

    def alike(self, start: int, end: int) -> bool:
        """Return whether all sides have the same rulers and ids between two cells."""
        return all(row[start:end] == rows[0][start:end] for rows in (self.rulers, self.ids) for row in rows)

    def lines(self, width: int) -> Iterator[tuple[int, int]]:
        """Cut the grid into lines of at most `width` cells: where the text does, else between columns."""
        assert width >= 2, "a wide character takes two cells"
        start = 0
        while start < len(self):
            end = min(start + width, len(self))
            broken = [cell for cell in range(start + 1, end + 1) if cell in self.line_ends]
            if broken:
                end = broken[0]
            elif end < len(self):
                whole = [cell for cell in range(start + 1 + width // 2, end + 1) if cell in self.boundaries]
                end = whole[-1] if whole else self._last_cut(start, end)
            yield start, end
            start = end

    def _last_cut(self, start: int, end: int) -> int:
        rows = (self.text, *self.rulers, *self.ids)
        while end > start + 1 and any(row[end].glyph == "" for row in rows):
            end -= 1
        return end


def lay_out(text: str, columns: Sequence[Column], *, num_sides: int, show_ids: bool, ids_of: IdsOf) -> Grid:
    """Place columns on a grid.

    Args:
        text: The text of the sides.
        columns: The columns to place, next to each other in the text.
        num_sides: How many rulers to draw.
        show_ids: Whether a row of ids stands under each ruler, which spreads the text.
        ids_of: Gives the ids of a group of a side.
    """
    grid = Grid(
        text=[], rulers=[[] for _ in range(num_sides)], ids=[[] for _ in range(num_sides)], differs=[], chars=[]
    )
    for column in columns:
        grid.boundaries.add(len(grid))
        if begins_line(text, column):
            grid.line_ends.add(len(grid))
        _place(grid, text, column, show_ids=show_ids, ids_of=ids_of)
    return grid


IdsOf = Callable[[int, Group], list[int]]


def _place(grid: Grid, text: str, column: Column, *, show_ids: bool, ids_of: IdsOf) -> None:
    """Append one column to a grid."""
    labels = [
        [(group, _ruler(group), " ".join(map(str, ids_of(side, group))) if show_ids else "") for group in row]
        for side, row in enumerate(column.rows)
    ]
    starts = {group.start for row in column.rows for group in row}
    base = len(grid)
    # Where each group begins and ends, in cells; filled as the walk along the characters passes them.
    begun: list[list[int]] = [[] for _ in labels]
    ended: list[list[int]] = [[] for _ in labels]
    for position in range(column.start, column.end + 1):
        closing = [
            side
            for side, row in enumerate(labels)
            if len(ended[side]) < len(begun[side]) and row[len(ended[side])][0].end == position
        ]
        for side in closing:
            _, ruler, ids = labels[side][len(ended[side])]
            _pad(grid, begun[side][-1] + max(cells(ruler), len(ids) + 1 if ids else 0))
        for side in closing:
            ended[side].append(len(grid))
        # Tokens without text, in the order of each side, those of all sides from the same cell on.
        inserted_from = len(grid)
        for side, row in enumerate(labels):
            cell = inserted_from
            while (done := len(begun[side])) < len(row) and row[done][0].start == row[done][0].end == position:
                _, ruler, ids = row[done]
                begun[side].append(cell)
                cell += max(cells(ruler), len(ids)) + 1
                ended[side].append(cell - 1)  # a blank parts it from what follows
            _pad(grid, cell)
        for side, row in enumerate(labels):
            done = len(begun[side])
            if done < len(row) and row[done][0].start == position and row[done][0].has_text:
                begun[side].append(len(grid))
        if position < column.end:
            style = _text_style(column, position)
            _put_char(grid, text[position], style, cut_before=position in starts)
        grid.chars += [position] * (len(grid) - len(grid.chars))
    for side, row in enumerate(labels):
        _draw(grid, side, row, begun[side], ended[side], show_ids=show_ids)
    grid.differs += [bool(column.differs)] * (len(grid) - base)


def _pad(grid: Grid, length: int) -> None:
    grid.text += [_BLANK] * (length - len(grid.text))


def _put_char(grid: Grid, char: str, style: Style, *, cut_before: bool) -> None:
    shown = visible_char(char, grid=True)
    if len(shown) == 1 and char_cells(shown) == 0:
        if not cut_before and grid.text and grid.text[-1].glyph.strip():
            grid.text[-1] = Cell(grid.text[-1].glyph + shown, grid.text[-1].style)
            return
        # A mark that a token begins with has no character to sit on: the dotted circle carries it.
        shown = "◌" + shown
    grid.text += _cells_of(shown, style)


def _cells_of(shown: str, style: Style) -> Row:
    row: Row = []
    for char in shown:
        width = char_cells(char)
        if width == 0 and row:
            last = max(index for index, cell in enumerate(row) if cell.glyph)
            row[last] = Cell(row[last].glyph + char, style)
        else:
            row.append(Cell(char, style))
            row += [Cell("", style)] * (width - 1)
    return row


def _ruler(group: Group) -> str:
    """Return what the ruler of a group must at least hold: its tick, and what its text does not tell."""
    if group.num_tokens == 0:
        return GAP_TICK
    tick = {"all": SUPERVISED_TICK, "none": MASKED_TICK, "some": SOME_TICK}[group.supervised]
    special = SPECIAL_MARK if group.special else ""
    if not group.has_text:
        return tick + special + "".join(visible_char(char, grid=True) for char in group.shown)
    return tick + (str(group.num_tokens) if group.num_tokens > 1 else "") + special


def _draw(
    grid: Grid,
    side: int,
    row: Sequence[tuple[Group, str, str]],
    begun: Sequence[int],
    ended: Sequence[int],
    *,
    show_ids: bool,
) -> None:
    """Draw the ruler, and the ids, of one side under the column just placed."""
    rulers, ids_row = grid.rulers[side], grid.ids[side]
    for (group, ruler, ids), start, end in zip(row, begun, ended, strict=True):
        rulers += [_BLANK] * (start - len(rulers))
        style = _group_style(group)
        drawn = _cells_of(ruler, style)
        # A masked token without text is named, and no line follows; under text the line runs to the group's end.
        fill = Cell(SUPERVISED_LINE, style) if group.supervised != "none" else Cell(" ", style)
        rulers += drawn + [fill] * (end - start - len(drawn))
        if show_ids:
            ids_row += [_BLANK] * (start - len(ids_row))
            ids_row += [Cell(char, "masked" if group.supervised == "none" else "") for char in ids]
    rulers += [_BLANK] * (len(grid) - len(rulers))
    ids_row += [_BLANK] * (len(grid) - len(ids_row))


def _group_style(group: Group) -> Style:
    if group.num_tokens == 0:
        return "gap"
    if group.supervised == "some":
        return "some"
    if group.special:
        return "special" if group.supervised == "none" else "special-supervised"
    return "masked" if group.supervised == "none" else "supervised"


def _text_style(column: Column, position: int) -> Style:
    """Return the style of a character: that of its groups where the sides agree."""
    styles = {_group_style(group) for row in column.rows for group in row if group.start <= position < group.end}
    if len(styles) == 1:
        return styles.pop()
    plain = {style.removeprefix("special-") if style != "special" else "masked" for style in styles}
    if len(plain) > 1:
        return "parted"
    # The sides agree in what is supervised, not in whether it is one special token.
    return "supervised" if plain == {"supervised"} else "masked"
