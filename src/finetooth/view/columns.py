"""Several sides of one text, cut into columns: the narrowest stretches that begin and end alike on every side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from finetooth.types import IGNORE_INDEX, Encoded, Side
from finetooth.view.groups import Group, group_tokens

Kind = Literal["cuts", "ids", "labels"]
"""In what sides can differ: where tokens begin and end, which tokens they are, which of them are supervised."""

KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A stretch of text at whose ends every side has a token boundary, and the groups of each side in it."""

    start: int
    end: int
    rows: tuple[tuple[Group, ...], ...]
    """The groups of each side, in the order of the sides. Empty where a side has nothing at this place."""
    differs: frozenset[Kind]
    """In what the sides differ here; empty where they agree, and where there is one side."""

    @property
    def supervised(self) -> bool:
        """Return whether any token of any side is supervised here."""
        return any(group.supervised != "none" for row in self.rows for group in row)


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """Columns in a row in which the sides differ."""

    first_column: int
    end_column: int
    start: int
    end: int
    kinds: frozenset[Kind]


def make_columns(sides: Sequence[Side]) -> list[Column]:
    """Cut sides of the same text into columns.

    Ids are compared only between sides that share a vocabulary: between two others every id differs and none tells.
    """
    assert len({side.encoded.text for side in sides}) <= 1, "columns are made of sides of one text"
    rows = [group_tokens(side) for side in sides]
    compare_ids = all(share_vocabulary(sides[0], side) for side in sides[1:])
    columns: list[Column] = []
    positions = [0] * len(rows)
    while any(position < len(row) for position, row in zip(positions, rows, strict=True)):
        ends = _take_column(rows, positions)
        taken = tuple(tuple(row[a:b]) for row, a, b in zip(rows, positions, ends, strict=True))
        columns.append(
            Column(
                start=min(row[0].start for row in taken if row),
                end=max(row[-1].end for row in taken if row),
                rows=taken,
                differs=_compare(sides, taken, compare_ids=compare_ids),
            )
        )
        positions = ends
    return columns


def _take_column(rows: Sequence[Sequence[Group]], positions: Sequence[int]) -> list[int]:
    """Return where the column that begins at these positions ends, as a position on each side."""
    heads = [row[position] if position < len(row) else None for row, position in zip(rows, positions, strict=True)]
    if any(head is not None and not head.has_text for head in heads):
        # Tokens without text stand before the text of their place, one beside the other.
        return [
            position + (head is not None and not head.has_text) for position, head in zip(positions, heads, strict=True)
        ]
    ends = [position + 1 for position in positions]
    while True:
        reached = [row[end - 1].end for row, end in zip(rows, ends, strict=True)]
        furthest = max(reached)
        if min(reached) == furthest:
            return ends
        for index, row in enumerate(rows):
            while row[ends[index] - 1].end < furthest:
                ends[index] += 1


def begins_line(text: str, column: Column) -> bool:
    """Return whether a view starts a line of its own with a column: where a line of the text begins.

    Empty lines stay with the line before them, as `↵↵↵`, and so does what was added after the end of the text.
    """
    if column.start == len(text):
        return False
    return text.endswith("\n", 0, column.start) and not text.startswith("\n", column.start)


def share_vocabulary(one: Side, other: Side) -> bool:
    """Return whether ids of two sides mean the same: nearly all ids that both know have the same piece.

    Asked of a spread of ids and not of the row's own: two vocabularies that have only their bytes in common agree in
    all ids of a row that is made of bytes. Not every piece needs to agree: a normalized added token reads `▁</s>` on
    one side and `</s>` on the other. Ids that one side alone knows do not count: they may be additions to it.
    """
    if one.pieces is other.pieces:
        return True
    named = _named_by_both(one, other, _SPREAD)
    if not named:
        # Hardly any vocabulary knows none of them; what is left is the row.
        named = _named_by_both(one, other, set(one.encoded.input_ids) | set(other.encoded.input_ids))
    alike = sum(piece == its for piece, its in named)
    return alike > len(named) * _NEARLY_ALL


_SPREAD = (*range(0, 259, 16), *range(259, 600, 11), *(int(600 * 1.1**step) for step in range(64)))
"""Ids by which vocabularies are compared. Few lie where specials and bytes do, which are alike in many vocabularies;
above they lie ever wider apart, up to 240,000, so that vocabularies of 500 pieces and of 150,000 both have some."""

_NEARLY_ALL = 0.8


def _named_by_both(one: Side, other: Side, token_ids: Iterable[int]) -> list[tuple[str, str]]:
    """Return the pieces of the ids that both sides know: for others a tokenizer gives the id in angle brackets."""
    named = ((token_id, one.pieces.piece(token_id), other.pieces.piece(token_id)) for token_id in token_ids)
    return [(piece, its) for token_id, piece, its in named if f"<{token_id}>" not in (piece, its)]


def _compare(sides: Sequence[Side], rows: Sequence[Sequence[Group]], *, compare_ids: bool) -> frozenset[Kind]:
    kinds: set[Kind] = set()
    cuts = [[(group.start, group.end, group.num_tokens) for group in row] for row in rows]
    if any(cut != cuts[0] for cut in cuts):
        kinds.add("cuts")
        supervision = [{group.supervised for group in row if group.num_tokens} or {"none"} for row in rows]
        if any(states != supervision[0] for states in supervision):
            kinds.add("labels")
        return frozenset(kinds)
    tokens = [range(row[0].first_token, row[-1].end_token) for row in rows]
    encodeds = [side.encoded for side in sides]
    asked = [[_asked(e, token) for token in r] for e, r in zip(encodeds, tokens, strict=True)]
    if any(row_asked != asked[0] for row_asked in asked):
        kinds.add("labels")
    ids = [[e.input_ids[token] for token in r] for e, r in zip(encodeds, tokens, strict=True)]
    if compare_ids and any(row_ids != ids[0] for row_ids in ids):
        kinds.add("ids")
    return frozenset(kinds)


def _asked(encoded: Encoded, token: int) -> int | Literal["itself"] | None:
    """Return what the loss asks for at a token, in words that hold for any vocabulary where it asks for the token."""
    label = encoded.labels[token]
    if label == IGNORE_INDEX:
        return None
    return "itself" if label == encoded.input_ids[token] else label


def find_regions(columns: Sequence[Column]) -> list[Region]:
    """Return the stretches in which the sides differ, in the order of the text."""
    regions: list[Region] = []
    index = 0
    while index < len(columns):
        end = index
        while end < len(columns) and columns[end].differs:
            end += 1
        if end > index:
            regions.append(
                Region(
                    first_column=index,
                    end_column=end,
                    start=columns[index].start,
                    end=columns[end - 1].end,
                    kinds=frozenset[Kind]().union(*(column.differs for column in columns[index:end])),
                )
            )
        index = max(end, index + 1)
    return regions
