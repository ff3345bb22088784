"""From rows to the optimizer steps of an epoch, and to the batches that a rank computes of each.

A step sees the same rows whatever the number of ranks and however they are packed: rows are drawn for the whole step,
made into batches, and the batches are dealt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch.utils.data import Sampler

from finetooth.packing import Pack, Padded, Row, make_packs, make_padded, spread

Way = Literal["forest", "pad"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One optimizer step, as one rank sees it."""

    rows: Sequence[Row]
    """The rows of the whole step, of all ranks."""
    batches: Sequence[Pack | Padded]
    """What this rank computes, one after the other; at least one."""
    num_items: int
    """The supervised tokens of the whole step, by which losses are divided."""
    num_tokens: int
    """The tokens of all rows, each counted in every row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepMaker:
    """Makes a rank's `Step` of the rows of a step; it can be sent to the processes of a DataLoader."""

    way: Way
    max_tokens: int
    """The budget of tokens a batch; a longer row is computed alone."""
    max_rows: int | None = None
    """The most rows in a padded batch."""
    stop_ids: frozenset[int] = frozenset()
    rank: int = 0
    num_ranks: int = 1

    def __call__(self, rows: Sequence[Row]) -> dict[str, Step]:
        """Return the step under the key `step`, as Trainer wants batches to be mappings."""
        batches: Sequence[Pack | Padded]
        if self.way == "forest":
            packs = make_packs(rows, max_tokens=self.max_tokens, long_rows="alone", stop_ids=self.stop_ids)
            num_items = sum(pack.num_supervised for pack in packs)
            batches = spread(packs, self.num_ranks, Pack.empty)[self.rank]
        else:
            padded = make_padded(rows, max_tokens=self.max_tokens, max_rows=self.max_rows, stop_ids=self.stop_ids)
            num_items = sum(batch.num_supervised for batch in padded)
            batches = spread(padded, self.num_ranks, Padded.empty)[self.rank]
        num_tokens = sum(len(row.input_ids) for row in rows)
        return {"step": Step(rows=rows, batches=batches, num_items=num_items, num_tokens=num_tokens)}


class StepSampler(Sampler[list[int]]):
    """Draws the rows of each step of an epoch; the same on every rank, and the same when a run goes on later.

    Args:
        num_rows: Rows in the data set.
        rows_per_step: Rows in a step, over all ranks; the last step of an epoch has what is left.
        seed: With the number of the epoch it decides the order. `None` keeps the order of the data.
    """

    def __init__(self, num_rows: int, rows_per_step: int, *, seed: int | None) -> None:
        self.num_rows = num_rows
        self.rows_per_step = rows_per_step
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order is drawn."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.num_rows // self.rows_per_step)

    def __iter__(self) -> Iterator[list[int]]:
        order = list(range(self.num_rows))
        if self.seed is not None:
            # A generator of its own: dropout and sampling draw from the global one, and would change the order.
            generator = torch.Generator().manual_seed((self.seed << 20) + self.epoch)
            order = torch.randperm(self.num_rows, generator=generator).tolist()
        for start in range(0, self.num_rows, self.rows_per_step):
            yield order[start : start + self.rows_per_step]


class StepLoader(torch.utils.data.DataLoader[dict[str, Step]]):
    """A DataLoader of steps, which passes the number of the epoch on to its sampler, as Trainer wants to tell it."""

    def __init__(
        self,
        dataset: Sequence[Row],
        sampler: StepSampler,
        collate: Callable[[Sequence[Row]], dict[str, Step]],
        **more: int,
    ) -> None:
        super().__init__(dataset, batch_sampler=sampler, collate_fn=collate, **more)  # type: ignore[arg-type]

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch."""
        assert isinstance(self.batch_sampler, StepSampler)
        self.batch_sampler.set_epoch(epoch)
