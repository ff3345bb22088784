"""What a forward and a backward pass cost on a CPU, for the choice of how large packs are.

Operations of a token in one layer: 2 a weight; of a pair of tokens: 4 a channel, for scores and values (Kaplan et al.
2020, arXiv:2001.08361, table 1). An operation of attention takes about as long as one of a linear layer:
`PAIR_FACTOR`, fitted with `benchmarks/bench_training.py --fit` (0.9).
"""

from __future__ import annotations

from typing import Any

from finetooth.packing import Cost

PAIR_FACTOR = 1.0
"""How much longer an operation of attention takes than one of a linear layer, on a CPU under SDPA with a mask."""
PER_BATCH = 8.0
"""What a pass costs however short, in tokens of a small model."""
PAD_TOKENS = 16_384
"""Tokens of a padded batch, padding included, where nothing else is asked for: 16 rows of 1,024."""
CHOICE_STEPS = 4
"""The first steps, by which the budget of tokens a pack is chosen."""
DEVICE_TOKENS = 4_096
"""Tokens of a pack, or of a padded batch, on an accelerator, where memory is the limit."""


def cpu_cost(config: Any) -> Cost:
    """Return the cost of a model on a CPU, by its configuration."""
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    hidden = int(text.hidden_size)
    heads = int(getattr(text, "num_attention_heads", 1))
    head_dim = int(getattr(text, "head_dim", None) or hidden // heads)
    kv_heads = int(getattr(text, "num_key_value_heads", None) or heads)
    intermediate = int(getattr(text, "intermediate_size", None) or 4 * hidden)
    weights = hidden * head_dim * (2 * heads + 2 * kv_heads) + 3 * hidden * intermediate
    return Cost(per_pair=PAIR_FACTOR * 4 * heads * head_dim / (2 * weights), per_batch=PER_BATCH)
