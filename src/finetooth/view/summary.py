"""The numbers of one side of a record, for a line or a row of a table."""

from __future__ import annotations

from dataclasses import dataclass

from finetooth.types import IGNORE_INDEX, Side
from finetooth.view.pieces import readable_piece

NUM_LAST = 3
"""How many of the last supervised tokens are told: a `</s>` cut into pieces is three."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisedToken:
    """A supervised token, as a summary names it."""

    token_index: int
    label: int
    """The id that the loss asks for; that of the token itself, unless the labels were shifted or forged."""
    piece: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a reader asks first of a side."""

    num_tokens: int
    num_supervised: int
    num_foreign: int
    """Labels that are neither masked nor the id of their own token: shifted twice, or relabelled."""
    first: SupervisedToken | None
    last: tuple[SupervisedToken, ...]
    """The last `NUM_LAST` supervised tokens, in their order."""

    @property
    def share(self) -> float:
        """Return the supervised tokens as a share of all, 0 where there are none."""
        return self.num_supervised / self.num_tokens if self.num_tokens else 0.0


def summarize(side: Side) -> Summary:
    """Count a side's tokens, and name its first and last supervised ones."""
    input_ids, labels = side.encoded.input_ids, side.encoded.labels
    supervised = [index for index, label in enumerate(labels) if label != IGNORE_INDEX]

    def token(index: int) -> SupervisedToken:
        return SupervisedToken(token_index=index, label=labels[index], piece=readable_piece(side.pieces, labels[index]))

    return Summary(
        num_tokens=len(input_ids),
        num_supervised=len(supervised),
        num_foreign=sum(labels[index] != input_ids[index] for index in supervised),
        first=token(supervised[0]) if supervised else None,
        last=tuple(token(index) for index in supervised[-NUM_LAST:]),
    )
