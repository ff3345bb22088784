"""What was observed since the last log: sums over steps and ranks, made into the metrics of the contract."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from finetooth.loss import SUMS, metrics_of


@dataclass(slots=True)
class Observed:
    """Counts of what was computed since the last log."""

    sums_K: Tensor | None = None
    """Of `finetooth.loss.SUMS`, on this rank, on its device."""
    num_rows: int = 0
    """Rows of whole steps, over all ranks."""
    num_tokens: int = 0
    """Tokens of these rows, each counted in every row."""
    num_supervised: int = 0
    paused_s: float = 0.0
    """Seconds that evaluation and saving took, which count for no rate."""
    since: float = field(default_factory=time.perf_counter)

    def add(self, sums_K: Tensor) -> None:
        """Take in a batch of this rank."""
        self.sums_K = sums_K.detach() if self.sums_K is None else self.sums_K + sums_K.detach()

    def add_step(self, *, num_rows: int, num_tokens: int, num_supervised: int) -> None:
        """Take in a step."""
        self.num_rows += num_rows
        self.num_tokens += num_tokens
        self.num_supervised += num_supervised

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Leave what is done meanwhile out of the rates."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.paused_s += time.perf_counter() - start

    def metrics(self, reduce: Callable[[Tensor], Tensor], device: torch.device | str) -> dict[str, float | None]:
        """Return the metrics; `reduce` sums a tensor over ranks.

        `tokens_per_s` counts the tokens of rows, as training without packing would compute them.
        """
        sums_K = self.sums_K if self.sums_K is not None else torch.zeros(len(SUMS), device=device)
        values = reduce(sums_K.double() if sums_K.device.type == "cpu" else sums_K.float()).tolist()
        seconds = max(time.perf_counter() - self.since - self.paused_s, 1e-9)
        found = metrics_of(dict(zip(SUMS, values, strict=True)))
        return found | {
            "supervised_share": self.num_supervised / self.num_tokens if self.num_tokens else None,
            "rows_per_s": self.num_rows / seconds,
            "tokens_per_s": self.num_tokens / seconds,
        }
