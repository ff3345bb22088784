"""Packing: the rows of an optimizer step as forests of token prefixes, so that what rows share is computed once.

    packs = make_packs(rows, max_tokens=4096)
    for pack in spread(packs, num_ranks=2)[rank]:
        ...  # finetooth.packing.mask makes the attention mask, finetooth.loss the loss

`finetooth.packing.mask` imports torch and is imported by name.
"""

from __future__ import annotations

from finetooth.packing.forest import make_packs
from finetooth.packing.pack import Pack, Row
from finetooth.packing.planning import Plan, plan, spread

__all__ = ["Pack", "Plan", "Row", "make_packs", "plan", "spread"]
