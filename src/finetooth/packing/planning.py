"""What packing saves, in numbers, and which rank runs which pack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from finetooth.packing.pack import Pack, Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The packs of one or several optimizer steps, in numbers."""

    num_rows: int
    num_packs: int
    num_unpacked_tokens: int
    """Tokens of the rows one by one, without padding."""
    num_computed_tokens: int
    """Tokens of the packs."""
    num_supervised: int
    """Supervised tokens, counted in every row; what the loss of a step is divided by."""
    num_targets: int
    """How many predictions the loss computes: supervised tokens, those shared by rows counted once."""
    max_pack_tokens: int
    """The longest pack."""

    @property
    def sharing_ratio(self) -> float:
        """Return how many tokens of rows one computed token stands for; 1.0 where nothing is computed."""
        return self.num_unpacked_tokens / self.num_computed_tokens if self.num_computed_tokens else 1.0


def plan(rows: Sequence[Row], packs: Sequence[Pack]) -> Plan:
    """Return the numbers of rows and the packs made from them; those of several steps may be given together."""
    return Plan(
        num_rows=len(rows),
        num_packs=len(packs),
        num_unpacked_tokens=sum(len(row.input_ids) for row in rows),
        num_computed_tokens=sum(pack.num_tokens for pack in packs),
        num_supervised=sum(pack.num_supervised for pack in packs),
        num_targets=sum(len(pack.targets) for pack in packs),
        max_pack_tokens=max((pack.num_tokens for pack in packs), default=0),
    )


def spread(packs: Sequence[Pack], num_ranks: int) -> list[list[Pack]]:
    """Return the packs of each rank: the same number for each, at least one, filled up with `Pack.empty()`.

    Ranks wait for each other at every pack, so the packs that run at the same time are of about the same length:
    they are dealt by falling length, in turns that change direction, which evens the totals out as well.
    """
    if num_ranks < 1:
        raise ValueError(f"num_ranks is {num_ranks}, and at least one rank is needed")
    dealt: list[list[Pack]] = [[] for _ in range(num_ranks)]
    ordered = sorted(packs, key=lambda pack: -pack.num_tokens)
    for turn in range(max(1, -(-len(ordered) // num_ranks))):
        hand = ordered[turn * num_ranks : (turn + 1) * num_ranks]
        hand += [Pack.empty()] * (num_ranks - len(hand))
        for rank, pack in enumerate(reversed(hand) if turn % 2 else hand):
            dealt[rank].append(pack)
    return dealt
