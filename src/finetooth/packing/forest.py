"""From the rows of one optimizer step to packs: a forest of token prefixes, cut to a budget of tokens.

Of a row as much is computed as predicts something (`lessons`); a row that learns nothing is in no pack.

How a forest is cut. Bottom-up: a subtree that fits into what the prefix above it leaves of the budget stays whole.
Of one that does not, the children's pieces are put into bins of that size, the largest first, each where it leaves
the least room (best fit decreasing), and the prefix is repeated in every bin. Bins that stay partly empty are
pieces for the level above, where they meet pieces of other trees. Two pieces of one segment never fit into one bin
(each was opened because the earlier ones had no room for it), so no pack holds a token of a row's path twice.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from finetooth.errors import ConfigError, DataError
from finetooth.messages import say
from finetooth.packing.lessons import Lessons, end_id, lessons_of
from finetooth.packing.pack import Pack, Row
from finetooth.packing.trie import Trie, make_trie


def make_packs(
    rows: Sequence[Row],
    *,
    max_tokens: int,
    long_rows: Literal["refuse", "alone"] = "refuse",
    stop_ids: Collection[int] = (),
) -> list[Pack]:
    """Return the packs of the rows of one optimizer step.

    Which packs come, and in which order, depends on the rows and not on their order. Learned is exactly what the rows
    learn one by one, as causal language models shift labels: `labels[i]` from `input_ids[:i]`, so never `labels[0]`.

    Args:
        rows: The rows, identical ones included: they are computed once and learned as often as they come.
        max_tokens: The most tokens in a pack.
        long_rows: What becomes of rows that the budget does not hold: `refuse` raises, `alone` gives each a longer
            pack of its own, shared by rows of which the same ids are computed and no other.
        stop_ids: The ids that end an answer. Where one ends and none of them is learned, the first is a target of
            weight 0, so that its probability can be watched.

    Raises:
        ConfigError: The budget holds no token.
        DataError: A row's labels are not parallel to its ids, or it does not fit; the error names the row.
    """
    if max_tokens < 1:
        raise ConfigError(say("packing.no_budget", max_tokens=max_tokens), help=say("packing.no_budget_help"))
    lessons = [lessons_of(row, stop_ids) for row in rows]
    fitting: list[tuple[int, Sequence[int]]] = []
    long: dict[tuple[int, ...], list[int]] = {}
    for number, (row, lesson) in enumerate(zip(rows, lessons, strict=True)):
        length = lesson.length
        if length > max_tokens and long_rows == "refuse":
            raise DataError(
                say("packing.long_row", length=length, max_tokens=max_tokens),
                where=row.where,
                help=say("packing.long_row_help", length=length),
            )
        if length > max_tokens:
            long.setdefault(tuple(row.input_ids[:length]), []).append(number)
        elif length:
            fitting.append((number, row.input_ids[:length]))
    forest = _Forest(rows, lessons, end_id(stop_ids))
    packs = _pack(forest, fitting, max_tokens)
    for ids, numbers in sorted(long.items()):
        packs += _pack(forest, [(number, ids) for number in numbers], len(ids))
    return packs


@dataclass(frozen=True, slots=True)
class _Forest:
    """What all packs of a step are laid out from."""

    rows: Sequence[Row]
    lessons: Sequence[Lessons]
    end_id: int


@dataclass(slots=True, eq=False)
class _Piece:
    """A segment with what a pack holds of its subtree."""

    segment: int
    size: int
    """Tokens, the segment's own included."""
    parts: list[_Piece]
    is_first: bool
    """Whether the rows that end with this segment are this piece's: one piece of each segment has them."""


def _pack(forest: _Forest, members: Sequence[tuple[int, Sequence[int]]], max_tokens: int) -> list[Pack]:
    if not members:
        return []
    trie = make_trie(members)
    return [_lay_out(trie, forest, piece) for piece in _cut(trie, max_tokens)]


def _cut(trie: Trie, max_tokens: int) -> list[_Piece]:
    """Return the pieces of the root, each to become a pack."""
    pieces: dict[int, list[_Piece]] = {}
    for segment in reversed(trie.preorder()):  # children before their parents, and no recursion: chains are deep
        parts = [piece for child in trie.children[segment] for piece in pieces.pop(child)]
        own = trie.ends[segment] - trie.starts[segment]
        pieces[segment] = [
            _Piece(segment, own + sum(part.size for part in held), held, index == 0)
            for index, held in enumerate(_best_fit(parts, max_tokens - trie.ends[segment]))
        ]
    return pieces[0]


def _best_fit(parts: list[_Piece], capacity: int) -> list[list[_Piece]]:
    """Return the parts in as few bins as best fit decreasing finds; one bin, maybe empty, at least."""
    if sum(part.size for part in parts) <= capacity:
        return [parts]
    bins: list[list[_Piece]] = []
    room: list[tuple[int, int]] = []  # (what is left, bin), ascending
    for part in sorted(parts, key=lambda part: -part.size):
        place = bisect_left(room, (part.size, -1))
        if place < len(room):
            left, index = room.pop(place)
            bins[index].append(part)
        else:
            left, index = capacity, len(bins)
            bins.append([part])
        insort(room, (left - part.size, index))
    return bins


def _lay_out(trie: Trie, forest: _Forest, root: _Piece) -> Pack:
    """Write a piece down in depth-first preorder."""
    input_ids: list[int] = []
    positions: list[int] = []
    end: list[int] = []
    places: list[tuple[int, int]] = []  # (row, its last token)
    weights: dict[tuple[int, int], int] = {}
    watched: dict[tuple[int, int], int] = {}
    path: list[int] = []  # by depth, the place of the token there, on the way from the root to where we are
    waiting: list[tuple[_Piece, int]] = [(root, -1)]  # with the place where it was entered, once its parts are written
    while waiting:
        piece, entered = waiting.pop()
        segment = piece.segment
        start, stop = trie.starts[segment], trie.ends[segment]
        if entered >= 0:
            end[entered : entered + stop - start] = [len(input_ids)] * (stop - start)
            continue
        first = len(input_ids)
        if stop > start:
            input_ids += forest.rows[trie.carriers[segment]].input_ids[start:stop]
            positions += range(start, stop)
            end += [-1] * (stop - start)
            path[start:] = range(first, len(input_ids))
        for number in trie.rows[segment] if piece.is_first else ():
            labels, lesson = forest.rows[number].labels, forest.lessons[number]
            places.append((number, path[stop - 1]))
            for depth in lesson.learned:
                target = (path[depth - 1], labels[depth])
                weights[target] = weights.get(target, 0) + 1
            for depth in lesson.watched:
                target = (path[depth - 1], forest.end_id)
                watched[target] = watched.get(target, 0) + 1
        waiting.append((piece, first))
        waiting.extend((part, -1) for part in reversed(piece.parts))
    targets = sorted({*weights, *watched} if watched else weights)
    return Pack(
        input_ids=input_ids,
        positions=positions,
        end=end,
        source_indices=[source for source, _ in targets],
        targets=[target for _, target in targets],
        weights=[weights.get(target, 0) for target in targets],
        counts=[weights.get(target, 0) + watched.get(target, 0) for target in targets],
        row_indices=[number for number, _ in places],
        last_indices=[last for _, last in places],
    )
