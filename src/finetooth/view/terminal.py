"""A record on a terminal: its sides under one text, character under character."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from finetooth.messages import say
from finetooth.types import IGNORE_INDEX, InspectedRecord, Side
from finetooth.view.columns import KINDS, Column, Region, find_regions, make_columns, share_vocabulary
from finetooth.view.groups import Group
from finetooth.view.layout import (
    DIFFERS,
    GAP_TICK,
    MASKED_TICK,
    SOME_TICK,
    SPECIAL_MARK,
    SUPERVISED_LINE,
    SUPERVISED_TICK,
    Grid,
    Row,
    lay_out,
)
from finetooth.view.paint import JOINT, Styled, fold, paint
from finetooth.view.pieces import readable_piece
from finetooth.view.sides import (
    KEPT,
    common_start,
    elision,
    list_regions,
    name_region,
    remarks,
    short_names,
    sides_by_text,
    stretches,
)
from finetooth.view.summary import SupervisedToken, summarize
from finetooth.view.visible import NEWLINE, SPACE, TAB, WIDE_SPACE, cells, harmless

MIN_WIDTH = 20
"""Narrower terminals are written to as if they had this many cells."""

DIFF_CONTEXT = 20
"""Characters shown around a difference."""


def render_terminal(
    inspected: InspectedRecord,
    *,
    width: int,
    color: bool,
    show_ids: bool = False,
    diff: bool = False,
    kept: int | None = KEPT,
    legend: bool = True,
) -> str:
    """Draw one record for a terminal, without a line break at its end.

    Args:
        inspected: The record and its sides. Sides whose texts differ are drawn one under the other.
        width: The cells of a line; none is longer.
        color: Whether escape sequences are written. They add nothing: without them the text is the same.
        show_ids: Whether every token's id stands under it.
        diff: Whether only the places are drawn in which sides differ.
        kept: How many characters of a long masked stretch are drawn on either side; `None` draws all.
        legend: Whether the signs are explained at the end.
    """
    page = _Page(inspected, width=max(width, MIN_WIDTH), show_ids=show_ids, kept=kept)
    lines = list(page.heading())
    for members in page.texts:
        if lines[-1]:
            lines.append([])
        for index in members:
            lines += page.side_heading(index)
        lines += page.difference(members) if diff else page.body(members)
    if len(page.texts) > 1:
        lines += [[], *page.parting_texts()]
    if legend:
        lines += [[], *_legend(page.width, several=len(page.sides) > 1)]
    return "\n".join(paint(line, color=color) for line in lines)


class _Page:
    """One record being drawn."""

    def __init__(self, inspected: InspectedRecord, *, width: int, show_ids: bool, kept: int | None) -> None:
        self.record = inspected.record
        self.sides = inspected.sides
        self.width = width
        self.show_ids = show_ids
        self.kept = kept
        self.texts = sides_by_text(self.sides)
        """The sides that hold the same text, by their numbers."""
        self.labels = short_names(self.sides, width=width)
        digits = max((len(str(len(side.encoded.text))) for side in self.sides), default=1)
        self.all_label = say("view.all_sides") if len(self.texts) < len(self.sides) else ""
        names = max(map(cells, (*self.labels, self.all_label)))
        self.gutter = (max(names, digits) if width >= 40 else names) + 1

    def heading(self) -> list[Styled]:
        """Say which record this is."""
        record = self.record
        place = f" · {harmless(record.where)} · {record.shape}"
        return fold(
            [(say("view.record", number=record.index), "heading"), (place, "quiet")], width=self.width, indent=2
        )

    def side_heading(self, index: int) -> list[Styled]:
        """Name a side, and give its numbers."""
        side = self.sides[index]
        encoded = side.encoded
        number = f"{index + 1} " if len(self.sides) > 1 else ""
        indent = len(number) if number else 2
        name: Styled = [
            (number, "quiet"),
            (harmless(encoded.model), "heading"),
            (f" · {harmless(encoded.labels_way)} · {encoded.loader}", "quiet"),
        ]
        lines = fold(name, width=self.width, indent=indent)
        for line in (_counts(side), *([(remark, "warning")] for remark in remarks(side))):
            lines += fold(line, width=self.width, first_indent=indent, indent=indent + 2)
        return lines

    def body(self, members: Sequence[int]) -> Iterator[Styled]:
        """Draw the text of some sides, which is the same, with a ruler for each."""
        columns = make_columns([self.sides[index] for index in members])
        if len(members) > 1:
            yield from self.listed(members, find_regions(columns))
        if not columns:
            yield from fold([(say("view.no_tokens"), "quiet")], width=self.width)
            return
        for first, end, elided in stretches(columns, kept=self.kept):
            yield []
            if elided:
                yield from fold([(elision(columns[first:end]), "quiet")], width=self.width, indent=2)
            else:
                yield from self.lines(members, columns[first:end])

    def lines(self, members: Sequence[int], columns: Sequence[Column]) -> Iterator[Styled]:
        """Draw columns that are next to each other."""
        sides = [self.sides[index] for index in members]

        def ids_of(side: int, group: Group) -> list[int]:
            return sides[side].encoded.input_ids[group.first_token : group.end_token]

        text = sides[0].encoded.text
        grid = lay_out(text, columns, num_sides=len(sides), show_ids=self.show_ids, ids_of=ids_of)
        apart = self.show_ids
        for start, end in grid.lines(self.width - self.gutter):
            agreed = not any(grid.differs[start:end]) and grid.alike(start, end)
            if start > 0 and (apart or not agreed):
                yield []
            apart = self.show_ids or not agreed
            labels = [self.labels[index] for index in members] if not agreed or len(members) == 1 else [self.all_label]
            yield from self.line(labels, grid, start, end)

    def line(self, labels: Sequence[str], grid: Grid, start: int, end: int) -> Iterator[Styled]:
        """Draw one line of the text: the text, the rulers under the labels given, and where the sides differ."""

        def row(label: str, row: Row) -> Styled:
            return [(label, "quiet"), *((cell.glyph, cell.style) for cell in row[start:end])]

        yield row(self._gutter(str(grid.chars[start]), right=True), grid.text)
        for place, label in enumerate(labels):
            yield row(self._gutter(label), grid.rulers[place])
            if self.show_ids:
                yield row(self._gutter(""), grid.ids[place])
        differs = grid.differs[start:end]
        if any(differs):
            marks = "".join(DIFFERS if cell else " " for cell in differs)
            yield [(self._gutter(""), ""), (marks, "differs")]

    def _gutter(self, label: str, *, right: bool = False) -> str:
        if cells(label) >= self.gutter:
            label = ""  # the number of a character, where the terminal is too narrow for it
        blanks = " " * (self.gutter - 1 - cells(label))
        return f"{blanks}{label} " if right else f"{label}{blanks} "

    def listed(self, members: Sequence[int], regions: Sequence[Region]) -> list[Styled]:
        """Say how many differences there are, and where, and what was not compared."""
        sides = [self.sides[index] for index in members]
        style = "differs" if regions else "quiet"
        lines = fold([(list_regions(regions), style)], width=self.width, indent=2)
        if not all(share_vocabulary(sides[0], side) for side in sides[1:]):
            lines += fold([(say("view.other_vocabulary"), "quiet")], width=self.width, indent=2)
        return lines

    def difference(self, members: Sequence[int]) -> Iterator[Styled]:
        """Draw the places alone in which sides of one text differ."""
        if len(self.sides) < 2:
            yield from fold([(say("view.one_side"), "quiet")], width=self.width)
            return
        if len(members) < 2:
            return
        sides = [self.sides[index] for index in members]
        columns = make_columns(sides)
        regions = find_regions(columns)
        yield from self.listed(members, regions)
        drawn_to = 0
        for first, end, inside in _hunks(sides[0].encoded.text, columns, regions):
            yield []
            if first > drawn_to:
                yield from self.skipped(columns[drawn_to:first])
                yield []
            yield from self.lines(members, columns[first:end])
            for region in inside:
                yield from fold([(name_region(region), "differs")], width=self.width, indent=2)
                for place, index in enumerate(members):
                    label = self.labels[index] + " "
                    tokens = _tokens(sides[place], columns[region.first_column : region.end_column], place)
                    line: Styled = [(label, "quiet"), *tokens]
                    yield from fold(line, width=self.width, first_indent=2, indent=4)
            drawn_to = end
        if regions and drawn_to < len(columns):
            yield []
            yield from self.skipped(columns[drawn_to:])

    def skipped(self, columns: Sequence[Column]) -> list[Styled]:
        """Say that columns are left out, for the sides agree in them."""
        num_chars = columns[-1].end - columns[0].start
        return fold([(say("view.same", num_chars=f"{num_chars:,}"), "quiet")], width=self.width)

    def parting_texts(self) -> Iterator[Styled]:
        """Say where the texts of the sides part, for what follows cannot be compared by character."""
        texts = [self.sides[members[0]].encoded.text for members in self.texts]
        common = common_start(texts)
        yield from fold([(say("view.texts_differ", position=common), "warning")], width=self.width, indent=2)
        for members, text in zip(self.texts, texts, strict=True):
            numbers = ",".join(str(index + 1) for index in members)
            around = text[max(common - DIFF_CONTEXT, 0) : common], text[common : common + DIFF_CONTEXT]
            before, after = (part.replace(" ", SPACE) for part in map(harmless, around))
            line: Styled = [(f"{numbers} ", "quiet"), (before, "masked"), (after, "parted")]
            yield from fold(line, width=self.width, indent=2)


def _counts(side: Side) -> Styled:
    summary = summarize(side)
    counts = say(
        "view.counts",
        num_tokens=f"{summary.num_tokens:,}",
        num_supervised=f"{summary.num_supervised:,}",
        share=f"{summary.share:.1%}",
    )
    if summary.first is None:
        return [(counts, "")]
    ends = say("view.ends", first=_named([summary.first]), last=_named(summary.last))
    return [(counts, ""), (" · ", "quiet"), (ends, "")]


def _named(tokens: Iterable[SupervisedToken]) -> str:
    return ", ".join(_named_token(token.label, token.piece) for token in tokens)


def _named_token(token_id: int, piece: str) -> str:
    return f"{token_id}{JOINT}'{harmless(piece)}'"


def _tokens(side: Side, columns: Sequence[Column], place: int) -> Iterator[tuple[str, str]]:
    """Name the tokens of a side in some columns, and say of each run of them whether it is supervised."""
    encoded = side.encoded
    groups = [group for column in columns for group in column.rows[place]]
    tokens = range(groups[0].first_token, groups[-1].end_token) if groups else range(0)
    if not tokens:
        yield say("view.no_tokens"), "quiet"
    for supervised, run in groupby(tokens, key=lambda token: encoded.labels[token] != IGNORE_INDEX):
        ids = [encoded.input_ids[token] for token in run]
        yield ", ".join(_named_token(token_id, readable_piece(side.pieces, token_id)) for token_id in ids), ""
        yield f" {say('view.supervised' if supervised else 'view.masked')} ", "quiet"


def _hunks(text: str, columns: Sequence[Column], regions: Sequence[Region]) -> Iterator[tuple[int, int, list[Region]]]:
    """Yield ranges of columns to draw for the regions, with the regions in each.

    Context is drawn around a region, no further than its lines of the text go.
    """
    index = 0
    while index < len(regions):
        inside = [regions[index]]
        while index + len(inside) < len(regions):
            following = regions[index + len(inside)]
            if following.start - inside[-1].end > 2 * DIFF_CONTEXT:
                break
            inside.append(following)
        first, end = inside[0].first_column, inside[-1].end_column
        while first > 0 and inside[0].start - columns[first - 1].start <= DIFF_CONTEXT:
            if text.endswith("\n", 0, columns[first].start):
                break
            first -= 1
        while end < len(columns) and columns[end].end - inside[-1].end <= DIFF_CONTEXT:
            if text.endswith("\n", 0, columns[end - 1].end):
                break
            end += 1
        yield first, end, inside
        index += len(inside)


def _legend(width: int, *, several: bool) -> list[Styled]:
    signs = [
        (MASKED_TICK, "view.sign_masked"),
        (SUPERVISED_TICK + SUPERVISED_LINE, "view.sign_supervised"),
        (f"{SUPERVISED_TICK}3", "view.sign_several"),
        (f"{SOME_TICK}3", "view.sign_some"),
        (SPECIAL_MARK, "view.sign_special"),
        (f"{MASKED_TICK}{SPECIAL_MARK}<s>", "view.sign_added"),
        (GAP_TICK, "view.sign_gap"),
        *([(DIFFERS, "view.sign_differs")] if several else []),
        (SPACE, "view.sign_space"),
        (NEWLINE, "view.sign_newline"),
        (TAB, "view.sign_tab"),
        (WIDE_SPACE, "view.sign_wide_space"),
    ]
    line: list[tuple[str, str]] = []
    for sign, key in signs:
        line += [("   " if line else "", ""), (f"{sign} {say(key)}".replace(" ", JOINT), "quiet")]
    lines = fold(line, width=width)
    if several:
        kinds = "   ".join(say(f"view.kind_{kind}").replace(" ", JOINT) for kind in KINDS)
        lines += fold([(kinds, "quiet")], width=width)
    return lines
