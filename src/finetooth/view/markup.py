"""One record as HTML: a table of numbers, and the tokens of its sides, character under character.

Browsers wrap the text, so alignment cannot come from a grid as it does on a terminal. Where sides differ, each column
is a small box with one row a side, and boxes flow like words; where they agree, one row stands for all.

The markup is terse, for a token's share of it decides the size of the file: `<t-k i=30589 class=s>こ</t-k>`. Custom
element names carry no meaning that a screen reader would announce, and may carry attributes of their own. What these
attributes are is said in `page.js`, which reads them.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from finetooth.messages import say
from finetooth.types import IGNORE_INDEX, InspectedRecord, Side
from finetooth.view.columns import Column, begins_line, find_regions, make_columns, share_vocabulary
from finetooth.view.groups import REPEATS_FOLDED, Group
from finetooth.view.pieces import readable_piece
from finetooth.view.sides import (
    KEPT,
    common_start,
    elision,
    list_regions,
    remarks,
    short_names,
    sides_by_text,
    stretches,
)
from finetooth.view.summary import Summary, SupervisedToken, summarize
from finetooth.view.visible import NEWLINE, SPACE, TAB, WIDE_SPACE, cells, harmless, visible_char

LINE_CELLS = 96
"""Width at which a line is cut where sides differ, so that their names stand beside every line."""

MERGED_CELLS = 12
"""Width up to which columns in which the sides agree share a box: less markup, and still places to wrap."""

GUTTERS = ((6, "g6"), (10, "g10"), (14, "g14"), (18, "g18"), (22, "g22"), (28, "g28"), (34, "g34"), (10**6, "g40"))
"""Widths of the gutter, each a class of `view.css`: the page's policy forbids style attributes."""

_FAINT = frozenset((SPACE, NEWLINE, TAB, WIDE_SPACE))


def escape(text: str) -> str:
    """Return untrusted text as HTML, nothing in it that a browser acts on."""
    return html.escape(harmless(text))


def record_markup(inspected: InspectedRecord, *, titles: bool = False) -> Iterator[str]:
    """Yield one record as HTML.

    Args:
        inspected: The record and its sides.
        titles: Whether each token says what it is in its `title`, for pages that run no script.
    """
    record, sides = inspected.record, inspected.sides
    yield f'<section class="record"><h2>{escape(say("view.record", number=record.index))} '
    yield f"<small>{escape(record.where)} · {escape(record.shape)}</small></h2>\n"
    yield from _table(sides)
    names = short_names(sides, width=100)
    texts = sides_by_text(sides)
    if len(texts) > 1:
        position = common_start([sides[members[0]].encoded.text for members in texts])
        yield f'<p class="warn">{escape(say("view.texts_differ", position=position))}</p>\n'
    for members in texts:
        yield from _tokens(sides, members, names, apart=len(texts) > 1, titles=titles)
    if not titles:
        data = {"num_sides": len(sides), "pieces": _pieces(sides)}
        yield f'<script type="application/json" class="data">{as_script(data)}</script>'
    yield "</section>\n"


def as_script(data: object) -> str:
    """Return JSON that may stand in a script element: nothing in it can end the element, or open a comment."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    # A lone surrogate has no UTF-8.
    return "".join(f"\\u{ord(char):04x}" if "\ud800" <= char <= "\udfff" else char for char in text)


def _pieces(sides: Sequence[Side]) -> list[dict[int, str | tuple[str, str | None]]]:
    """Return each side's pieces by id, with their bytes where these are not the piece itself; one table if shared."""
    shared = all(share_vocabulary(sides[0], side) and sides[0].pieces.name == side.pieces.name for side in sides[1:])
    tables: list[dict[int, str | tuple[str, str | None]]] = []
    for side in sides:
        if not shared or not tables:
            tables.append({})
        table = tables[-1]
        for token_id in {*side.encoded.input_ids, *side.encoded.labels} - {IGNORE_INDEX}:
            piece, raw = side.pieces.piece(token_id), side.pieces.piece_bytes(token_id)
            shown = harmless(piece)
            plain = raw is not None and raw == shown.encode("utf-8", "surrogatepass")
            table[token_id] = shown if plain else (shown, raw.hex(" ") if raw is not None else None)
    return tables


def _table(sides: Sequence[Side]) -> Iterator[str]:
    """Yield the numbers, one row a side."""
    if not sides:
        return
    summaries = [summarize(side) for side in sides]
    heads = ["", "model", "labels_way", "loader", "num_tokens", "num_supervised", "share", "first", "last"]
    yield '<div class="wide"><table><thead><tr>'
    yield "".join(f"<th>{escape(say(f'view.head_{head}')) if head else ''}</th>" for head in heads)
    yield "</tr></thead><tbody>\n"
    for number, (side, summary) in enumerate(zip(sides, summaries, strict=True), start=1):
        encoded = side.encoded
        firsts = [_first(other) for other in summaries]
        lasts = [other.last for other in summaries]
        numbers: list[tuple[str, object, Iterable[object]]] = [
            (f"{summary.num_tokens:,}", summary.num_tokens, (other.num_tokens for other in summaries)),
            (f"{summary.num_supervised:,}", summary.num_supervised, (other.num_supervised for other in summaries)),
            (f"{summary.share:.1%}", None, ()),
        ]
        yield f'<tr><td class="n">{number}</td><th scope="row">{escape(encoded.model)}</th>'
        yield f"<td>{escape(encoded.labels_way)}</td><td>{escape(encoded.loader)}</td>"
        for shown, value, values in numbers:
            yield f'<td class="n">{_marked(shown, any(other != value for other in values))}</td>'
        yield f"<td>{_named(_first(summary), firsts)}</td><td>{_named(summary.last, lasts)}</td></tr>\n"
    yield "</tbody></table></div>\n"
    for number, side in enumerate(sides, start=1):
        for remark in remarks(side):
            named = f"{number} " if len(sides) > 1 else ""
            yield f'<p class="warn">{named}{escape(remark)}</p>\n'


def _first(summary: Summary) -> tuple[SupervisedToken, ...]:
    return () if summary.first is None else (summary.first,)


def _marked(shown: str, differs: bool) -> str:
    return f'<span class="x">{shown}</span>' if differs else shown


def _named(tokens: Sequence[SupervisedToken], of_all: Sequence[Sequence[SupervisedToken]]) -> str:
    """Name supervised tokens, those marked whose place, from the end, is taken by another id on some side."""
    named = []
    for place in range(-len(tokens), 0):
        token = tokens[place]
        differs = any(len(other) < -place or other[place].label != token.label for other in of_all)
        named.append(_marked(f"<code>{token.label} &#x27;{escape(token.piece)}&#x27;</code>", differs))
    return ", ".join(named) or "–"


def _tokens(
    sides: Sequence[Side], members: Sequence[int], names: Sequence[str], *, apart: bool, titles: bool
) -> Iterator[str]:
    """Yield the tokens of the sides that hold one text."""
    chosen = [sides[index] for index in members]
    columns = make_columns(chosen)
    if apart:
        yield f'<p class="quiet">{", ".join(escape(names[index]) for index in members)}</p>\n'
    several = len(members) > 1
    regions = find_regions(columns)
    if several:
        yield f'<p class="{"warn" if regions else "quiet"}">{escape(list_regions(regions))}</p>\n'
        if not all(share_vocabulary(chosen[0], side) for side in chosen[1:]):
            yield f'<p class="quiet">{escape(say("view.other_vocabulary"))}</p>\n'
    if not columns:
        yield f'<p class="quiet">{escape(say("view.no_tokens"))}</p>\n'
        return
    labels = [names[index] for index in members] if several else [""]
    painter = _Painter(chosen, labels, titles=titles)
    # Beside the name and the number stand a blank between them, and half a one on the left and a whole on the right.
    width = max(*map(cells, labels), cells(painter.all_label)) + len(str(columns[-1].end)) + 3
    gutter = next(name for limit, name in GUTTERS if width <= limit)
    number = " ".join(map(str, members))
    yield f'<div class="tokens {gutter}{" several" if several else ""}" data-sides="{number}" role="group">\n'
    for first, end, elided in stretches(columns, kept=KEPT):
        part = columns[first:end]
        if elided:
            differs = " d" if find_regions(part) else ""
            yield f'<details class="m{differs}"><summary>{escape(elision(part))}</summary>\n'
        yield from painter.lines(part)
        if elided:
            yield "</details>\n"
    yield "</div>\n"


class _Painter:
    """Writes columns as lines of marks, and remembers which role was named last."""

    def __init__(self, sides: Sequence[Side], labels: Sequence[str], *, titles: bool) -> None:
        self.sides = sides
        self.labels = labels
        self.titles = titles
        self.all_label = say("view.all_sides") if len(sides) > 1 else ""
        self.same_ids = all(share_vocabulary(sides[0], side) for side in sides[1:])
        self.roles: list[str | None] = [None] * len(sides)
        self.tabs = set(range(len(sides)))

    def lines(self, columns: Sequence[Column]) -> Iterator[str]:
        """Yield lines: a line of the text each, cut at a width where the sides differ in it."""
        text = self.sides[0].encoded.text
        line: list[Column] = []
        for column in columns:
            if line and begins_line(text, column):
                yield from self.text_line(line)
                line = []
            line.append(column)
        yield from self.text_line(line)

    def text_line(self, columns: Sequence[Column]) -> Iterator[str]:
        """Yield one line of the text: whole where one row stands for all, else cut at a width."""
        if self.is_one_row(columns):
            yield self.line(columns)
            return
        line: list[Column] = []
        used = 0
        for column in columns:
            width = max(sum(cells(group.shown) for group in row) for row in column.rows)
            if line and used + width > LINE_CELLS:
                yield self.line(line)
                line, used = [], 0
            line.append(column)
            used += width
        yield self.line(line)

    def is_one_row(self, columns: Sequence[Column]) -> bool:
        """Return whether one row stands for all sides: where it would read the same on each."""
        return self.same_ids and not any(column.differs or _unlike(column) for column in columns)

    def line(self, columns: Sequence[Column]) -> str:
        """Return one line."""
        firsts = []
        for place in range(len(self.sides)):
            groups = [group for column in columns for group in column.rows[place]]
            firsts.append(groups[0].first_token if groups else 0)
        start = columns[0].start
        one_row = self.is_one_row(columns)
        classes = "l" + (" d" if any(column.differs for column in columns) else "") + ("" if one_row else " v")
        opening = f'<div class="{classes}" data-c={start} data-k="{" ".join(map(str, firsts))}">'
        if one_row:
            marks = "".join(self.mark(0, group) for column in columns for group in column.rows[0])
            self.roles = [self.roles[0]] * len(self.roles)
            label = f"{escape(self.all_label)} " if self.all_label else ""
            return f'{opening}<span class="g">{label}{start}</span><div class="t">{marks}</div></div>\n'
        rows = "".join(
            f"<t-r>{escape(label)}{'' if place else f'<b>{start}</b>'}</t-r>" for place, label in enumerate(self.labels)
        )
        boxes = "".join(self.box(box) for box in self._boxes(columns))
        return f'{opening}<t-c class="g">{rows}</t-c><div class="t">{boxes}</div></div>\n'

    def _boxes(self, columns: Sequence[Column]) -> Iterator[list[Column]]:
        """Yield the columns of each box: one where sides differ, some where they agree."""
        box: list[Column] = []
        used = 0
        for column in columns:
            width = max(sum(cells(group.shown) for group in row) for row in column.rows)
            # Rows in one box are aligned only as long as every mark in them is as wide on every side.
            apart = bool(column.differs) or not self.same_ids or _unlike(column)
            if box and (apart or used + width > MERGED_CELLS):
                yield box
                box, used = [], 0
            box.append(column)
            used += width
            if apart:
                yield box
                box, used = [], 0
        if box:
            yield box

    def box(self, columns: Sequence[Column]) -> str:
        """Return one box, with a row a side."""
        rows = []
        for place in range(len(self.sides)):
            rows.append("".join(self.mark(place, group) for column in columns for group in column.rows[place]))
        differs = ' class="d"' if columns[0].differs else ""
        return f"<t-c{differs}>{''.join(f'<t-r>{row}</t-r>' for row in rows)}</t-c>"

    def mark(self, place: int, group: Group) -> str:
        """Return the mark of one group."""
        encoded = self.sides[place].encoded
        ids = encoded.input_ids[group.first_token : group.end_token]
        labels = encoded.labels[group.first_token : group.end_token]
        folded = not group.has_text and len(ids) >= REPEATS_FOLDED
        attributes: dict[str, Any] = {}
        if ids:
            attributes["i"] = ids[0] if folded else " ".join(map(str, ids))
        if folded:
            attributes["q"] = len(ids)
        elif len(ids) > 1:
            attributes["m"] = len(ids)
        if group.end - group.start != 1:
            attributes["n"] = group.end - group.start
        if any(label not in (IGNORE_INDEX, token_id) for label, token_id in zip(labels, ids, strict=True)) or (
            group.supervised == "some"
        ):
            attributes["y"] = labels[0] if folded else " ".join(map(str, labels))
        classes = {"all": "s", "some": "p", "none": ""}[group.supervised]
        classes += "k" * group.special + "e" * (not group.has_text) + "o" * (not ids)
        if classes:
            attributes["class"] = " ".join(classes)
        if group.role != self.roles[place]:
            self.roles[place] = group.role
            attributes["r" if group.role else "a"] = group.role or ""
        if place in self.tabs:
            self.tabs.discard(place)
            attributes["tabindex"] = 0
        if self.titles:
            attributes["title"] = self.title(place, group, ids, labels)
        written = "".join(f" {name}={_attribute(str(value))}" for name, value in attributes.items())
        return f"<t-k{written}>{_shown(encoded.text, group)}</t-k>"

    def title(self, place: int, group: Group, ids: Sequence[int], labels: Sequence[int]) -> str:
        """Return what a group is, for pages that run no script."""
        pieces = self.sides[place].pieces
        named = [f"{token_id} '{harmless(readable_piece(pieces, token_id))}'" for token_id in dict.fromkeys(ids)]
        parts = [", ".join(named) or say("view.sign_gap"), f"{group.start}:{group.end}"]
        if any(label != IGNORE_INDEX for label in labels):
            parts.append(say("view.supervised"))
        return " · ".join(parts)


def _unlike(column: Column) -> bool:
    """Return whether sides show something else: an id may be called `▁<s>` by one tokenizer and `<s>` by another."""
    return len({tuple(group.shown for group in row) for row in column.rows}) > 1


def _attribute(value: str) -> str:
    """Return a value as it is written after `=`, in quotes only where it needs them."""
    plain = value.isascii() and value.replace("-", "").isalnum()
    return value if plain else f'"{escape(value)}"'


def _shown(text: str, group: Group) -> str:
    """Return the characters of a group as HTML, white space faint so that it is not taken for data."""
    if not group.has_text:
        return html.escape(group.shown)
    parts = []
    for char in text[group.start : group.end]:
        shown = visible_char(char)
        if shown != char and shown in _FAINT:
            parts.append(f"<i>{shown}</i>")
        else:
            parts.append(html.escape(shown, quote=False))
    return "".join(parts)
