"""Attention masks of packs: dense for SDPA and eager attention, which are the reference, and others that skip pairs.

Shapes: T tokens of a pack; Q and K are T, as queries and as keys. Masks for models are [1, 1, Q, K].

The forms are not to be exchanged. A boolean mask under `eager` is *added* to the scores, as 0 and 1, and nothing
is masked; no error is raised (transformers 5.23, seen on a toy Llama, `tests/packing/test_mask.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from finetooth.packing.chunks import Chunk, make_chunks
from finetooth.packing.pack import Pack

Form = Literal["boolean", "additive", "block", "chunked"]
"""`boolean`, True where a query attends, for SDPA; `additive`, 0 and the smallest number of the dtype, for eager;
`block`, a BlockMask, for FlexAttention; `chunked`, a `ChunkedMask`, for our own `forest_sdpa`."""

FORM_OF: dict[str, Form] = {
    "sdpa": "boolean",
    "eager": "additive",
    "flex_attention": "block",
    "forest_sdpa": "chunked",
}
"""The form that each attention implementation takes. Others (flash attention) take no mask of ours."""

BLOCK = 128
"""The side of FlexAttention's blocks; a pack is filled up to a multiple of it."""


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


def block_mask(end_T: Tensor, positions_T: Tensor, *, window: int | None = None) -> Any:
    """Return the FlexAttention BlockMask of a pack, computed from `end` alone; T must be a multiple of `BLOCK`."""
    from torch.nn.attention.flex_attention import create_block_mask

    def keep(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (key <= query) & (query < end_T[key])

    reach = end_T.numel() if window is None else window

    def keep_near(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return keep(batch, head, query, key) & (positions_T[query] - positions_T[key] < reach)

    length = end_T.numel()
    return create_block_mask(
        keep if window is None else keep_near, None, None, length, length, device=end_T.device, BLOCK_SIZE=BLOCK
    )


class ChunkedMask(Tensor):
    """A mask that carries chunks, each with the mask of its pairs; its own values stand for nothing."""

    chunks: list[tuple[Chunk, Tensor]]

    @staticmethod
    def of(chunks: list[tuple[Chunk, Tensor]], num_tokens: int) -> ChunkedMask:
        """Return a mask of the shape that models ask for, [1, 1, T, T], which takes no memory."""
        carrier = torch.ones(1, 1, 1, 1, dtype=torch.bool).expand(1, 1, num_tokens, num_tokens)
        mask = carrier.as_subclass(ChunkedMask)
        mask.chunks = chunks
        return mask


def chunked_mask(chunks: Sequence[Chunk], end_T: Tensor, positions_T: Tensor, *, window: int | None = None) -> Tensor:
    """Return the mask of a pack in chunks; each holds the boolean mask of its own pairs, [1, 1, queries, keys]."""
    held = []
    for chunk in chunks:
        runs = [torch.arange(start, end, device=end_T.device) for start, end in chunk.runs]
        query_Q, key_K = runs[-1], torch.cat(runs)
        keep_QK = (key_K[None, :] <= query_Q[:, None]) & (query_Q[:, None] < end_T[key_K][None, :])
        if window is not None:
            keep_QK &= positions_T[query_Q][:, None] - positions_T[key_K][None, :] < window
        held.append((chunk, keep_QK[None, None]))
    return ChunkedMask.of(held, end_T.numel())


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskMaker:
    """How a model takes the attention masks of packs: in which form, and one for all layers or one a kind of layer."""

    form: Form
    dtype: torch.dtype = torch.float32
    """The dtype of the scores, for the additive form."""
    window: int | None = None
    """The sliding window of the layers that have one."""
    by_layer_type: bool = False
    """Whether the model takes a mapping by the names of layer types, of which only `sliding_attention` has the window;
    otherwise every layer has it."""

    @property
    def multiple(self) -> int:
        """Return what the length of a pack has to be a multiple of."""
        return BLOCK if self.form == "block" else 1

    def make(self, pack: Pack, *, device: torch.device | str | None = None) -> Any:
        """Return what the model takes as `attention_mask`, for a pack that is filled up to `multiple`."""
        missing = range(pack.num_tokens, pack.num_tokens + self.num_missing(pack))
        # What a pack is filled up with attends itself, and nothing attends it.
        end_T = torch.tensor([*pack.end, *(token + 1 for token in missing)], device=device)
        positions_T = torch.tensor([*pack.positions, *(0 for _ in missing)], device=device)
        chunks = make_chunks(pack) if self.form == "chunked" else []
        if not self.by_layer_type:
            return self._one(chunks, end_T, positions_T, self.window)
        return {
            "full_attention": self._one(chunks, end_T, positions_T, None),
            "sliding_attention": self._one(chunks, end_T, positions_T, self.window),
        }

    def num_missing(self, pack: Pack) -> int:
        """Return the tokens by which a pack has to be filled up."""
        return -pack.num_tokens % self.multiple

    def _one(self, chunks: Sequence[Chunk], end_T: Tensor, positions_T: Tensor, window: int | None) -> Any:
        if self.form == "block":
            return block_mask(end_T, positions_T, window=window)
        if self.form == "chunked":
            return chunked_mask(chunks, end_T, positions_T, window=window)
        keep_QK = keep_mask(end_T)
        if window is not None:
            keep_QK = sliding(keep_QK, positions_T, window)
        return (keep_QK if self.form == "boolean" else additive(keep_QK, self.dtype))[None, None]
