"""What packing saves, in numbers; how large packs had best be; and which rank runs which batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from finetooth.packing.chunks import make_chunks, num_pairs
from finetooth.packing.forest import make_packs
from finetooth.packing.pack import Batch, Pack, Row
from finetooth.packing.padded import Padded, make_padded

AnyBatch = TypeVar("AnyBatch", Pack, Padded)

BUDGETS = (256, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192)
"""The budgets of tokens a pack that are tried, where none is given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The batches of one or several optimizer steps, in numbers."""

    num_rows: int
    num_packs: int
    num_unpacked_tokens: int
    """Tokens of the rows one by one, without padding."""
    num_computed_tokens: int
    """Tokens of the batches."""
    num_supervised: int
    """Supervised tokens, counted in every row; what the loss of a step is divided by."""
    num_targets: int
    """How many predictions the loss computes: supervised tokens, those shared by rows counted once."""
    max_pack_tokens: int
    """The longest batch."""

    @property
    def sharing_ratio(self) -> float:
        """Return how many tokens of rows one computed token stands for; 1.0 where nothing is computed."""
        return self.num_unpacked_tokens / self.num_computed_tokens if self.num_computed_tokens else 1.0


def plan(rows: Sequence[Row], batches: Sequence[Batch]) -> Plan:
    """Return the numbers of rows and the batches made from them; those of several steps may be given together."""
    return Plan(
        num_rows=len(rows),
        num_packs=len(batches),
        num_unpacked_tokens=sum(len(row.input_ids) for row in rows),
        num_computed_tokens=sum(batch.num_tokens for batch in batches),
        num_supervised=sum(batch.num_supervised for batch in batches),
        num_targets=sum(len(batch.targets) for batch in batches),
        max_pack_tokens=max((batch.num_tokens for batch in batches), default=0),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What computing costs, in units of one token's way through a model's linear layers.

    A pack of T tokens costs `per_batch + T + per_pair * P`, P the pairs of queries and keys in its chunks (`chunks`).
    """

    per_pair: float
    """One query and one key, in all layers; 0 where attention is too fast to count."""
    per_batch: float = 0.0
    """What a forward and a backward pass cost however few tokens there are."""

    def of_packs(self, packs: Iterable[Pack]) -> float:
        """Return the cost of packs."""
        return sum(self.per_batch + pack.num_tokens + self._attention(pack) for pack in packs)

    def _attention(self, pack: Pack) -> float:
        return self.per_pair * num_pairs(make_chunks(pack)) if self.per_pair else 0.0

    def of_padded(self, batches: Iterable[Padded]) -> float:
        """Return the cost of padded batches."""
        return sum(
            self.per_batch + batch.num_tokens + self.per_pair * batch.num_tokens * batch.width for batch in batches
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """How the rows of steps are best computed, by a `Cost`."""

    max_tokens: int
    """The budget of tokens a pack that costs least."""
    forest_cost: float
    pad_cost: float

    @property
    def gain(self) -> float:
        """Return how many times less packs cost than padded rows."""
        return self.pad_cost / self.forest_cost if self.forest_cost else 1.0


def choose_budget(
    steps: Sequence[Sequence[Row]], cost: Cost, *, pad_tokens: int, budgets: Sequence[int] = BUDGETS
) -> Choice:
    """Return the budget of tokens a pack that costs least over some optimizer steps.

    Sharing wants large packs; chunks of queries beside deep or many branches want small ones. The choice depends on
    rows and cost alone, so that all ranks, and a run that goes on later, choose alike.

    Args:
        steps: The rows of some steps.
        cost: The cost of the model.
        pad_tokens: The budget of a padded batch, to compare with.
        budgets: The budgets that are tried.
    """

    def forest_cost(max_tokens: int) -> float:
        return sum(cost.of_packs(make_packs(rows, max_tokens=max_tokens, long_rows="alone")) for rows in steps)

    costs = {budget: forest_cost(budget) for budget in budgets}
    best = min(costs, key=lambda budget: (costs[budget], budget))
    pad_cost = sum(cost.of_padded(make_padded(rows, max_tokens=pad_tokens)) for rows in steps)
    return Choice(max_tokens=best, forest_cost=costs[best], pad_cost=pad_cost)


def spread(batches: Sequence[AnyBatch], num_ranks: int, empty: Callable[[], AnyBatch]) -> list[list[AnyBatch]]:
    """Return the batches of each rank: the same number for each, at least one, filled up with empty ones.

    Ranks wait for each other at every batch, so those that run at the same time are of about the same length: they are
    dealt by falling length, in turns that change direction, which evens the totals out as well.
    """
    if num_ranks < 1:
        raise ValueError(f"num_ranks is {num_ranks}, and at least one rank is needed")
    ordered = sorted(batches, key=lambda batch: -batch.num_tokens)
    num_turns = max(1, -(-len(ordered) // num_ranks))
    ordered += [empty()] * (num_turns * num_ranks - len(ordered))
    dealt: list[list[AnyBatch]] = [[] for _ in range(num_ranks)]
    for turn in range(num_turns):
        hand = ordered[turn * num_ranks : (turn + 1) * num_ranks]
        for rank, batch in enumerate(reversed(hand) if turn % 2 else hand):
            dealt[rank].append(batch)
    return dealt
