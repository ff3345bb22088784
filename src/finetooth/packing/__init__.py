"""Packing: the rows of an optimizer step as forests of token prefixes, so that what rows share is computed once.

    packs = make_packs(rows, max_tokens=4096)
    for pack in spread(packs, num_ranks=2)[rank]:
        ...  # finetooth.packing.mask makes the attention mask, finetooth.loss the loss

`make_padded` makes the batches of plain training from the same rows. `finetooth.packing.mask` imports torch and is
imported by name.
"""

from __future__ import annotations

from finetooth.packing.forest import make_packs
from finetooth.packing.lessons import Lessons, lessons_of
from finetooth.packing.pack import Batch, Pack, Row
from finetooth.packing.padded import Padded, make_padded
from finetooth.packing.planning import Choice, Cost, Plan, choose_budget, plan, spread

__all__ = [
    "Batch",
    "Choice",
    "Cost",
    "Lessons",
    "Pack",
    "Padded",
    "Plan",
    "Row",
    "choose_budget",
    "lessons_of",
    "make_packs",
    "make_padded",
    "plan",
    "spread",
]
