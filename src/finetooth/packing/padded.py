"""`Padded`: rows side by side, filled up to one width; what packs are measured against.

Models that do not take packs are trained on it. The rows of a step are sorted by length first, so that little is filled
up; which rows are computed together changes no loss and no gradient, as `num_items` counts the whole step.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from finetooth.errors import ConfigError
from finetooth.messages import say
from finetooth.packing.lessons import Lessons, end_id, lessons_of
from finetooth.packing.pack import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Padded:
    """Rows that are computed side by side, and the targets to be learned from them."""

    rows: list[list[int]]
    """The ids of each row, as far as they predict something, not yet filled up."""
    width: int
    """Tokens that each row is filled up to, on its right."""
    source_indices: list[int]
    """[N] The hidden state, counted row after row with the padding, from which a target is predicted. Sorted."""
    targets: list[int]
    """[N] The ids to be predicted."""
    weights: list[int]
    """[N] 1; 0 for a target that is only watched."""
    counts: list[int]
    """[N] 1."""
    row_indices: list[int] = field(default_factory=list)
    """[B] The rows in this batch, as numbered in what it was made from."""

    @property
    def num_tokens(self) -> int:
        """Return the tokens that are computed, padding included."""
        return len(self.rows) * self.width

    @property
    def num_supervised(self) -> int:
        """Return the supervised tokens: this batch's share of `num_items`."""
        return sum(self.weights)

    @classmethod
    def empty(cls) -> Padded:
        """Return a batch of one token and no target, for a rank that has to run as often as the others."""
        return cls(rows=[[0]], width=1, source_indices=[], targets=[], weights=[], counts=[])


def make_padded(
    rows: Sequence[Row],
    *,
    max_tokens: int | None = None,
    max_rows: int | None = None,
    stop_ids: Collection[int] = (),
) -> list[Padded]:
    """Return the padded batches of the rows of one optimizer step; a row that learns nothing is in none.

    Args:
        rows: The rows.
        max_tokens: The most tokens in a batch, padding included; a single row may have more.
        max_rows: The most rows in a batch.
        stop_ids: The ids that end an answer; see `make_packs`.

    Raises:
        ConfigError: A limit leaves no room for a row.
        DataError: A row's labels are not parallel to its ids.
    """
    for limit in (max_tokens, max_rows):
        if limit is not None and limit < 1:
            raise ConfigError(say("packing.no_budget", max_tokens=limit), help=say("packing.no_budget_help"))
    lessons = [lessons_of(row, stop_ids) for row in rows]
    numbers = [number for number, lesson in enumerate(lessons) if lesson.length]
    numbers.sort(key=lambda number: (-lessons[number].length, number))
    return [
        _side_by_side(rows, lessons, members, end_id(stop_ids))
        for members in _groups(numbers, lessons, max_tokens, max_rows)
    ]


def _groups(
    numbers: Sequence[int], lessons: Sequence[Lessons], max_tokens: int | None, max_rows: int | None
) -> Iterator[list[int]]:
    """Yield rows, the longest first, in groups within the limits."""
    group: list[int] = []
    for number in numbers:
        width = lessons[group[0]].length if group else 0
        full = max_tokens is not None and (len(group) + 1) * width > max_tokens
        if group and (full or len(group) == max_rows):
            yield group
            group = []
        group.append(number)
    if group:
        yield group


def _side_by_side(rows: Sequence[Row], lessons: Sequence[Lessons], members: Sequence[int], stop: int) -> Padded:
    width = lessons[members[0]].length
    targets: list[tuple[int, int, int]] = []
    for place, number in enumerate(members):
        labels, lesson, start = rows[number].labels, lessons[number], place * width
        mine = [(start + depth - 1, labels[depth], 1) for depth in lesson.learned]
        mine += [(start + depth - 1, stop, 0) for depth in lesson.watched]
        targets += sorted(mine) if lesson.watched else mine
    return Padded(
        rows=[list(rows[number].input_ids[: lessons[number].length]) for number in members],
        width=width,
        source_indices=[source for source, _, _ in targets],
        targets=[target for _, target, _ in targets],
        weights=[weight for _, _, weight in targets],
        counts=[1] * len(targets),
        row_indices=list(members),
    )
