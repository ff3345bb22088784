"""What a run will do, in numbers, before any of it is done; nothing here needs torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from types import SimpleNamespace
from typing import Any

from finetooth.config import Config
from finetooth.packing import Cost, Plan, Row, choose_budget, make_packs, make_padded, plan
from finetooth.training.cost import CHOICE_STEPS, DEVICE_TOKENS, PAD_TOKENS, cpu_cost
from finetooth.training.memory import Memory, Shapes, estimate, read_shapes
from finetooth.training.rows import EncodedRows

_SAMPLED_STEPS = 32
"""Steps that are packed for the plan of a larger run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """The numbers of a run."""

    num_rows: int
    num_eval_rows: int
    num_dropped: int
    num_idle_rows: int
    """Rows that teach nothing: every label is -100."""
    num_tokens: int
    """Of all rows, in one epoch."""
    num_supervised: int
    longest: int
    rows_per_step: int
    steps_per_epoch: int
    num_steps: int
    way: str
    """`forest`, or `pad`; the trial on the model may still turn the first into the second."""
    pack_tokens: int
    sampled_steps: int
    """How many steps the following numbers were taken from."""
    packing: Plan
    gain: float
    """How many times less packs cost than padded rows, by an estimate."""
    memory: Memory | None
    """`None` where the weights cannot be looked at."""

    def to_json(self) -> dict[str, Any]:
        """Return the numbers as plain JSON."""
        values = asdict(self)
        values["packing"]["sharing_ratio"] = self.packing.sharing_ratio
        if self.memory is not None:
            values["memory"]["total"] = self.memory.total
        return values


def plan_run(
    config: Config,
    rows: EncodedRows,
    *,
    num_eval_rows: int,
    num_dropped: int,
    on_gpu: bool,
    weight_bytes: int,
    order: Sequence[int] | None = None,
) -> RunPlan:
    """Return the numbers of a run.

    Args:
        config: The recipe.
        rows: What is trained on.
        num_eval_rows: Rows that are evaluated on.
        num_dropped: Rows that the way of making labels drops.
        on_gpu: Whether attention skips what is masked.
        weight_bytes: Of one weight.
        order: The rows in the order of the first epoch; `None` takes that of the data.
    """
    train = config.train
    shapes = read_shapes(config.model.path or "")
    steps_per_epoch = max(1, -(-len(rows) // train.batch_size))
    order = range(len(rows)) if order is None else order
    steps = [
        [rows[index] for index in order[start : start + train.batch_size]]
        for start in range(0, min(len(rows), _SAMPLED_STEPS * train.batch_size), train.batch_size)
    ]
    way, budget, gain, numbers = _packed(config, steps, shapes, on_gpu=on_gpu)
    memory = None
    if shapes is not None:
        targets = -(-numbers.num_targets // max(1, numbers.num_packs))
        memory = estimate(
            shapes, config, weight_bytes=weight_bytes, pack_tokens=numbers.max_pack_tokens, num_targets=targets
        )
    return RunPlan(
        num_rows=len(rows),
        num_eval_rows=num_eval_rows,
        num_dropped=num_dropped,
        num_idle_rows=rows.num_idle(),
        num_tokens=len(rows.input_ids),
        num_supervised=rows.num_supervised(),
        longest=rows.longest(),
        rows_per_step=train.batch_size,
        steps_per_epoch=steps_per_epoch,
        num_steps=train.max_steps or math.ceil(train.epochs * steps_per_epoch),
        way=way,
        pack_tokens=budget,
        sampled_steps=len(steps),
        packing=numbers,
        gain=gain,
        memory=memory,
    )


def _packed(
    config: Config, steps: Sequence[Sequence[Row]], shapes: Shapes | None, *, on_gpu: bool
) -> tuple[str, int, float, Plan]:
    train = config.train
    cost = Cost(per_pair=0.0) if on_gpu or shapes is None else cpu_cost(SimpleNamespace(**shapes.config))
    asked = train.pack_tokens
    if asked == "auto":
        budgets: dict[str, Any] = {"budgets": (DEVICE_TOKENS,)} if on_gpu else {}
    else:
        budgets = {"budgets": (asked,)}
    pad_tokens = DEVICE_TOKENS if on_gpu else PAD_TOKENS
    choice = choose_budget(steps[:CHOICE_STEPS], cost, pad_tokens=pad_tokens, **budgets)
    rows = [row for step in steps for row in step]
    if train.pack == "pad" or (train.pack == "auto" and choice.gain < 1.0):
        budget = pad_tokens if asked == "auto" else int(asked)
        padded = [
            batch for step in steps for batch in make_padded(step, max_tokens=budget, max_rows=train.micro_batch_size)
        ]
        return "pad", budget, 1.0, plan(rows, padded)
    packs = [pack for step in steps for pack in make_packs(step, max_tokens=choice.max_tokens, long_rows="alone")]
    return "forest", choice.max_tokens, choice.gain, plan(rows, packs)
