"""Attention masks of packs, dense: what SDPA and eager attention take, and the reference for any other kernel.

Shapes: T tokens of a pack; Q and K are T, as queries and as keys. Masks for models are [1, 1, Q, K].

The two forms are not to be exchanged. A boolean mask under `eager` is *added* to the scores, as 0 and 1, and nothing
is masked; no error is raised (transformers 5.23, seen on a toy Llama, `tests/packing/test_mask.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from finetooth.packing.pack import Pack

Form = Literal["boolean", "additive"]
"""`boolean`, True where a query attends, for SDPA; `additive`, 0 and the smallest number of the dtype, for eager."""


def keep_mask(end_T: Sequence[int] | Tensor, *, device: torch.device | str | None = None) -> Tensor:
    """Return the boolean [Q, K] mask of a pack, True where query q attends key k: `k <= q < end[k]`.

    One condition is all there is, so a kernel that computes its mask needs `end` alone. Without sharing it is the
    block-diagonal mask of plain packing.
    """
    end_K = torch.as_tensor(end_T, device=device)
    index_T = torch.arange(end_K.numel(), device=end_K.device)
    return (index_T[None, :] <= index_T[:, None]) & (index_T[:, None] < end_K[None, :])


def sliding(keep_QK: Tensor, positions_T: Sequence[int] | Tensor, window: int) -> Tensor:
    """Return a mask narrowed to a sliding window, in which a query sees `window` tokens, itself included.

    The distance is one of depths, not of places in the pack: other branches lie between a token and its prefix. The
    bound is that of transformers 5.23 (`masking_utils.sliding_window_overlay`): less than `window` apart.
    """
    if window < 1:
        raise ValueError(f"window is {window}, and a token sees itself at least")
    position_T = torch.as_tensor(positions_T, device=keep_QK.device)
    return keep_QK & (position_T[:, None] - position_T[None, :] < window)


def additive(keep_QK: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a mask to be added to the scores: 0 where kept, else the smallest number of the dtype.

    Not minus infinity, of which a softmax over nothing makes NaN: it is what transformers itself adds.
    """
    mask_QK = torch.zeros(keep_QK.shape, dtype=dtype, device=keep_QK.device)
    return mask_QK.masked_fill_(~keep_QK, torch.finfo(dtype).min)


def attention_mask(
    pack: Pack,
    *,
    form: Form = "boolean",
    dtype: torch.dtype = torch.float32,
    window: int | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Return what a model takes as `attention_mask` for a pack, beside `position_ids`, [1, 1, Q, K].

    Args:
        pack: The pack.
        form: The form that the model's attention implementation takes.
        dtype: The dtype of the scores, for the additive form.
        window: The sliding window, for models in which every layer has it (Mistral).
        device: The device of the mask.
    """
    keep_QK = keep_mask(pack.end, device=device)
    if window is not None:
        keep_QK = sliding(keep_QK, pack.positions, window)
    return (keep_QK if form == "boolean" else additive(keep_QK, dtype))[None, None]


def attention_masks(
    pack: Pack,
    *,
    window: int,
    form: Form = "boolean",
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> dict[str, Tensor]:
    """Return the masks of models whose layers differ, by the names of their layer types.

    Gemma 3, Qwen2 and Qwen3 in transformers 5.23 take this mapping as `attention_mask`; the arguments are those of
    `attention_mask`.
    """
    return {
        "full_attention": attention_mask(pack, form=form, dtype=dtype, device=device),
        "sliding_attention": attention_mask(pack, form=form, dtype=dtype, window=window, device=device),
    }
