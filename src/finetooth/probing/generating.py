"""Answers of a model, greedy, in batches, until its own stop set ends them.

Shapes: B prompts, T tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

_DENSE = {"flex_attention": "sdpa", "forest_sdpa": "sdpa"}
"""Attention implementations for packs, and what generates in their place."""


def stop_ids_of(model: Any) -> frozenset[int]:
    """Return the ids at which a model's generation configuration stops."""
    found = model.generation_config.eos_token_id
    return frozenset(found if isinstance(found, (list, tuple)) else [] if found is None else [found])


def pad_id_of(model: Any) -> int:
    """Return the id that pads prompts: the model's own, or one of its stop ids."""
    pad_id = model.generation_config.pad_token_id
    return min(stop_ids_of(model), default=0) if pad_id is None else int(pad_id)


def generate(model: Any, prompts: Sequence[Sequence[int]], *, max_tokens: int) -> list[list[int]]:
    """Return the greedy answer to each prompt, its stop token included where there is one.

    The prompts are padded on their left, and the padding is masked; the model is left as it was.
    """
    if not prompts:
        return []
    device = next(model.parameters()).device
    stops = stop_ids_of(model)
    pad_id = pad_id_of(model)
    width = max(len(prompt) for prompt in prompts)
    ids_BT = torch.tensor([[pad_id] * (width - len(prompt)) + list(prompt) for prompt in prompts], device=device)
    mask_BT = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device)
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), dense_attention(model):
            output_BT = model.generate(
                ids_BT,
                attention_mask=mask_BT,
                max_new_tokens=max_tokens,
                do_sample=False,
                temperature=None,
                top_p=None,
                top_k=None,
                pad_token_id=pad_id,
            )
    finally:
        model.train(was_training)
    return [_until_stop(row[width:].tolist(), stops) for row in output_BT]


def _until_stop(ids: list[int], stops: frozenset[int]) -> list[int]:
    """Cut off the padding that follows a stop token."""
    for index, one in enumerate(ids):
        if one in stops:
            return ids[: index + 1]
    return ids


@contextmanager
def dense_attention(model: Any) -> Iterator[None]:
    """Generate with SDPA where training runs on an attention for packs."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    before = str(getattr(base.config, "_attn_implementation", ""))
    if before in _DENSE:
        base.set_attn_implementation(_DENSE[before])
    try:
        yield
    finally:
        if before in _DENSE:
            base.set_attn_implementation(before)
