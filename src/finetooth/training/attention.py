"""`forest_sdpa`: an attention implementation of transformers' own registry, for packs on a CPU.

The mask of a pack carries its chunks; a mask without any, of padded rows or of generation, goes to SDPA as it is. What
reaches an attention layer is the mask object itself, through any model that hands masks on; the trial shows whether one
does.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from finetooth.packing.mask import ChunkedMask

NAME = "forest_sdpa"
"""What `attn_implementation` is set to."""


def forest_sdpa(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """Attend chunk by chunk where the mask has chunks, else as SDPA does. Shapes: [B, heads, T, channels]."""
    if not isinstance(attention_mask, ChunkedMask):
        output, _ = sdpa_attention_forward(module, query, key, value, attention_mask, **options)
        return output, None
    options["is_causal"] = False
    parts = []
    for chunk, mask in attention_mask.chunks:
        keys, values = _taken(key, chunk.runs), _taken(value, chunk.runs)
        part, _ = sdpa_attention_forward(module, query[:, :, chunk.start : chunk.end], keys, values, mask, **options)
        parts.append(part)
    return torch.cat(parts, dim=1), None


def _taken(states: Tensor, runs: tuple[tuple[int, int], ...]) -> Tensor:
    """Return some runs of keys or values; a single one, or runs that touch, without a copy."""
    merged = [runs[0]]
    for start, end in runs[1:]:
        if start == merged[-1][1]:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((start, end))
    taken = [states[:, :, start:end] for start, end in merged]
    return taken[0] if len(taken) == 1 else torch.cat(taken, dim=2)


AttentionInterface.register(NAME, forest_sdpa)
AttentionMaskInterface.register(NAME, sdpa_mask)
