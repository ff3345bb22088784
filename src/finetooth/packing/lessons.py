"""What a row has to learn, by depth: the one place where packs and padded batches read labels.

A row is shortened to its last source, the token before its last supervised one. What follows is attended by no target
and predicts none, so neither the loss nor a gradient changes.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise

from finetooth.errors import DataError
from finetooth.messages import say
from finetooth.packing.pack import Row
from finetooth.types import IGNORE_INDEX


@dataclass(frozen=True, slots=True)
class Lessons:
    """What is predicted in a row; a depth is an index into its ids."""

    learned: list[int]
    """The depths of its supervised tokens, ascending. Never 0: nothing predicts a first token."""
    watched: list[int]
    """The depths at which an answer ends and no stop token is learned: what the model thinks of stopping there is
    watched, and changes no loss."""

    @property
    def length(self) -> int:
        """Return how many tokens of the row have to be computed."""
        return max(self.learned[-1] if self.learned else 0, self.watched[-1] if self.watched else 0)


def lessons_of(row: Row, stop_ids: Collection[int] = ()) -> Lessons:
    """Return what a row has to learn, as causal language models shift labels: `labels[i]` from `input_ids[:i]`.

    Args:
        row: The row.
        stop_ids: The ids that end an answer; without any, nothing is watched.

    Raises:
        DataError: The labels are not parallel to the ids.
    """
    labels = row.labels
    if len(labels) != len(row.input_ids):
        raise DataError(
            say("packing.not_parallel", num_labels=len(labels), num_ids=len(row.input_ids)), where=row.where
        )
    learned = [depth for depth, label in enumerate(labels) if label != IGNORE_INDEX]
    if learned and learned[0] == 0:
        del learned[0]
    if not stop_ids or not learned:
        return Lessons(learned, [])
    lasts = [depth for depth, after in pairwise([*learned, -1]) if after != depth + 1]
    return Lessons(learned, [depth + 1 for depth in lasts if labels[depth] not in stop_ids])


def end_id(stop_ids: Collection[int]) -> int:
    """Return the id that stands for stopping where none is learned; -1 where nothing is watched."""
    return min(stop_ids, default=-1)
