"""`Pack`: what one forward pass computes, and `Row`: what packs are made from.

`Pack` and `Padded` (of `padded`) are the two forms of a `Batch`: ids for one forward pass, and targets.

Shapes: T tokens of a pack, N targets of a pack (places where the model learns), R rows in a pack.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol


class Row(Protocol):
    """What a pack has to know of a row; `finetooth.types.Encoded` is one."""

    @property
    def input_ids(self) -> Sequence[int]:
        """Return the ids."""

    @property
    def labels(self) -> Sequence[int]:
        """Return the labels, parallel to the ids and not shifted: `labels[i]` is learned from the ids before `i`."""

    @property
    def where(self) -> str:
        """Return the row's place, which errors print."""


class Batch(Protocol):
    """What training has to know of rows that are computed together; `Pack` and `Padded` are ones."""

    @property
    def num_tokens(self) -> int:
        """Return the tokens that are computed, padding included."""

    @property
    def num_supervised(self) -> int:
        """Return the supervised tokens of the rows: this batch's share of `num_items`."""

    @property
    def source_indices(self) -> Sequence[int]:
        """Return the hidden states, counted through the batch, from which targets are predicted."""

    @property
    def targets(self) -> Sequence[int]:
        """Return the ids to be predicted, parallel to the sources."""

    @property
    def weights(self) -> Sequence[int]:
        """Return how many rows learn each target."""

    @property
    def counts(self) -> Sequence[int]:
        """Return how many rows have each target, learned or only watched."""

    @property
    def row_indices(self) -> Sequence[int]:
        """Return the rows in this batch, as numbered in what it was made from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """A forest of token prefixes in depth-first preorder, and the targets to be learned from it."""

    input_ids: list[int]
    """[T] The tokens; what several rows share stands once."""
    positions: list[int]
    """[T] The depth of each token in its tree, from 0: its position in every row that it belongs to."""
    end: list[int]
    """[T] One past the last token of the subtree that each token's segment opens. A token q attends a token k
    exactly when `k <= q < end[k]`, so to its own row's tokens before it and to nothing else."""
    source_indices: list[int]
    """[N] The token from whose hidden state a target is predicted; it repeats where rows branch. Sorted."""
    targets: list[int]
    """[N] The ids to be predicted. A source and a target occur together once."""
    weights: list[int]
    """[N] How many rows learn this target there; 0 for a target that is only watched."""
    counts: list[int]
    """[N] How many rows have this target there: those that learn it, and those whose answer ends there unlearned."""
    row_indices: list[int] = field(default_factory=list)
    """[R] The rows in this pack, as numbered in what was packed."""
    last_indices: list[int] = field(default_factory=list)
    """[R] The last token of each row in this pack; with `end` and `positions` the whole row can be told from it."""

    @property
    def num_tokens(self) -> int:
        """Return T, the tokens that are computed."""
        return len(self.input_ids)

    @property
    def num_supervised(self) -> int:
        """Return the supervised tokens of the rows, each counted in every row: this pack's share of `num_items`."""
        return sum(self.weights)

    @classmethod
    def empty(cls) -> Pack:
        """Return a pack without rows, for a rank that has to run as often as the others.

        It holds one token, since models cannot run on none, and no target, so that its loss is zero.
        """
        return cls(input_ids=[0], positions=[0], end=[1], source_indices=[], targets=[], weights=[], counts=[])
