"""The loss: summed cross-entropy over supervised tokens alone, divided by those of the whole optimizer step.

Shapes: B rows, T tokens, D hidden size, V vocabulary, N targets; L is B x T, or T for a pack.

Only hidden states that predict a supervised token reach the LM head. The numbers are those of transformers 5.23:
without smoothing `loss.loss_utils.ForCausalLMLoss`, with smoothing `trainer_pt_utils.LabelSmoother`, in both the sum
over the batch divided by `num_items_in_batch`; `tests/test_loss.py` holds the two to 1e-6 in fp32. Where nothing is
supervised transformers divides 0 by 0; here the loss is 0, with a graph, and every gradient is 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from finetooth.packing import Pack
from finetooth.types import IGNORE_INDEX

LmHead: TypeAlias = Callable[[Tensor], Tensor]
"""From hidden states [N, D] to logits [N, V]: the model's own head, with whatever it does to the logits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """What is to be predicted from which hidden state, and how often that counts."""

    source_N: Tensor
    """Indices into the hidden states, [L, D]."""
    target_N: Tensor
    """Token ids."""
    weight_N: Tensor
    """How often each target counts, in fp32."""

    @classmethod
    def from_pack(cls, pack: Pack, *, device: torch.device | str | None = None) -> Targets:
        """Return the targets of a pack."""
        return cls(
            source_N=torch.tensor(pack.source_indices, dtype=torch.long, device=device),
            target_N=torch.tensor(pack.targets, dtype=torch.long, device=device),
            weight_N=torch.tensor(pack.weights, dtype=torch.float32, device=device),
        )

    @classmethod
    def from_labels(cls, labels_BT: Tensor) -> Targets:
        """Return the targets of padded rows, whose labels are not shifted: a row's first label is never learned."""
        shifted_BT = torch.full_like(labels_BT, IGNORE_INDEX)
        shifted_BT[:, :-1] = labels_BT[:, 1:]
        shifted_L = shifted_BT.reshape(-1)
        source_N = (shifted_L != IGNORE_INDEX).nonzero().reshape(-1)
        target_N = shifted_L[source_N]
        return cls(source_N=source_N, target_N=target_N, weight_N=torch.ones_like(target_N, dtype=torch.float32))


def supervised_loss(
    hidden_states: Tensor,
    lm_head: LmHead,
    targets: Targets,
    *,
    num_items: Tensor | float | None = None,
    label_smoothing: float = 0.0,
    chunk_size: int | None = 1024,
) -> Tensor:
    """Return the loss of one batch or pack, a scalar in fp32.

    The losses of all batches of an optimizer step add up to the loss of the step when each is given the same
    `num_items`; so do those of all ranks, if gradients are summed over ranks. Where they are averaged, as
    DistributedDataParallel does, the caller multiplies by the number of ranks.

    Args:
        hidden_states: The last hidden states, [T, D] or [B, T, D].
        lm_head: The model's head.
        targets: What to predict. Targets of -100 count nothing.
        num_items: The supervised tokens of the whole optimizer step, over accumulation and ranks; `None` for those
            of this batch, which gives its mean.
        label_smoothing: The share of the target that is spread over the whole vocabulary (Szegedy et al. 2016,
            arXiv:1512.00567, section 7).
        chunk_size: The most targets whose logits exist at a time. More are worked off in chunks, and each chunk's
            logits are computed again in the backward pass: one more pass through the head for memory that does not
            grow with the targets. `None` for all at once. The result is the same up to rounding.
    """
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size is {chunk_size}, and a chunk holds at least one target")
    hidden_LD = hidden_states.reshape(-1, hidden_states.shape[-1])
    kept_N = targets.target_N != IGNORE_INDEX
    source_N, target_N = targets.source_N[kept_N], targets.target_N[kept_N]
    weight_N = targets.weight_N[kept_N].float()
    if num_items is None:
        num_items = weight_N.sum()
    num_targets = target_N.numel()
    size = max(num_targets, 1) if chunk_size is None else chunk_size
    total = weight_N.new_zeros(())
    # No target at all is one chunk of none: its sum is an exact 0 whose graph reaches every parameter, which
    # DistributedDataParallel waits for. A multiplication by zero would turn an infinite hidden state into NaN.
    chunks = (torch.split(tensor, size) for tensor in (hidden_LD[source_N], target_N, weight_N))
    for chunk_ND, chunk_target_N, chunk_weight_N in zip(*chunks, strict=True):
        arguments = (lm_head, chunk_ND, chunk_target_N, chunk_weight_N, label_smoothing)
        # A single chunk is kept: to compute it twice would save nothing.
        total = total + (
            checkpoint(_summed, *arguments, use_reentrant=False) if num_targets > size else _summed(*arguments)
        )
    if isinstance(num_items, Tensor):
        num_items = num_items.to(total.device)
        return total / num_items.masked_fill(num_items == 0, 1)
    return total / (num_items or 1)


def _summed(lm_head: LmHead, chunk_ND: Tensor, target_N: Tensor, weight_N: Tensor, label_smoothing: float) -> Tensor:
    """Return the weighted sum of a chunk's cross-entropies; in fp32, whatever the model's dtype is."""
    logits_NV = lm_head(chunk_ND).float()
    loss_N = cross_entropy(logits_NV, target_N, reduction="none", label_smoothing=label_smoothing)
    return (loss_N * weight_N).sum()
