"""The loss: summed cross-entropy over supervised tokens alone, divided by those of the whole optimizer step.

Shapes: B rows, T tokens, D hidden size, V vocabulary, N targets, S stop ids, K sums; L is B x T, or T for a pack.

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

from finetooth.packing import Batch
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
    """How often each target counts, in fp32; 0 for one that is only watched."""
    count_N: Tensor
    """How many rows have each target, learned or watched, in fp32."""

    @classmethod
    def from_batch(cls, batch: Batch, *, device: torch.device | str | None = None) -> Targets:
        """Return the targets of a pack, or of a padded batch."""
        return cls(
            source_N=torch.tensor(batch.source_indices, dtype=torch.long, device=device),
            target_N=torch.tensor(batch.targets, dtype=torch.long, device=device),
            weight_N=torch.tensor(batch.weights, dtype=torch.float32, device=device),
            count_N=torch.tensor(batch.counts, dtype=torch.float32, device=device),
        )

    @classmethod
    def from_labels(cls, labels_BT: Tensor) -> Targets:
        """Return the targets of padded rows, whose labels are not shifted: a row's first label is never learned."""
        shifted_BT = torch.full_like(labels_BT, IGNORE_INDEX)
        shifted_BT[:, :-1] = labels_BT[:, 1:]
        shifted_L = shifted_BT.reshape(-1)
        source_N = (shifted_L != IGNORE_INDEX).nonzero().reshape(-1)
        ones_N = torch.ones_like(source_N, dtype=torch.float32)
        return cls(source_N=source_N, target_N=shifted_L[source_N], weight_N=ones_N, count_N=ones_N)

    def in_order(self) -> Targets:
        """Return the same targets for hidden states that were picked out by `source_N` already."""
        source_N = torch.arange(self.target_N.numel(), device=self.target_N.device)
        return Targets(source_N=source_N, target_N=self.target_N, weight_N=self.weight_N, count_N=self.count_N)


SUMS = (
    "nll",
    "tokens",
    "correct",
    "eos_nll",
    "eos_tokens",
    "p_eos_end",
    "ends",
    "p_eos_inside",
    "inside",
)
"""What is summed over targets beside the loss, [K]: the negative log likelihood of learned tokens and their number, how
many of them the model holds for the likeliest, the first two of stop tokens alone, the probability of stopping where an
answer ends and the number of such places, and the same where an answer goes on."""


def metrics_of(sums: dict[str, float]) -> dict[str, float | None]:
    """Return the metrics that sums by the names of `SUMS` give; `None` where there was nothing to sum.

    `loss` is the plain cross-entropy, without label smoothing.
    """

    def mean(total: str, number: str) -> float | None:
        return sums[total] / sums[number] if sums[number] else None

    return {
        "loss": mean("nll", "tokens"),
        "eos_loss": mean("eos_nll", "eos_tokens"),
        "p_eos_end": mean("p_eos_end", "ends"),
        "p_eos_inside": mean("p_eos_inside", "inside"),
        "token_accuracy": mean("correct", "tokens"),
    }


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
    return observed_loss(
        hidden_states,
        lm_head,
        targets,
        num_items=num_items,
        label_smoothing=label_smoothing,
        chunk_size=chunk_size,
        stop_ids=None,
    )[0]


def observed_loss(
    hidden_states: Tensor,
    lm_head: LmHead,
    targets: Targets,
    *,
    stop_ids: Tensor | None,
    num_items: Tensor | float | None = None,
    label_smoothing: float = 0.0,
    chunk_size: int | None = 1024,
) -> tuple[Tensor, Tensor]:
    """Return the loss, as `supervised_loss` does, and the sums of `SUMS`, [K], taken from the same logits.

    Args:
        hidden_states: As there.
        lm_head: As there.
        targets: As there. A stop id among them is the end of an answer, whether it is learned or watched.
        stop_ids: The ids that end an answer, [S]; `None` sums nothing.
        num_items: As there.
        label_smoothing: As there.
        chunk_size: As there.
    """
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size is {chunk_size}, and a chunk holds at least one target")
    hidden_LD = hidden_states.reshape(-1, hidden_states.shape[-1])
    kept_N = targets.target_N != IGNORE_INDEX
    source_N, target_N = targets.source_N[kept_N], targets.target_N[kept_N]
    weight_N, count_N = targets.weight_N[kept_N].float(), targets.count_N[kept_N].float()
    if num_items is None:
        num_items = weight_N.sum()
    num_targets = target_N.numel()
    size = max(num_targets, 1) if chunk_size is None else chunk_size
    total, sums_K = weight_N.new_zeros(()), weight_N.new_zeros(len(SUMS))
    # No target at all is one chunk of none: its sum is an exact 0 whose graph reaches every parameter, which
    # DistributedDataParallel waits for. A multiplication by zero would turn an infinite hidden state into NaN.
    chunks = (torch.split(tensor, size) for tensor in (hidden_LD[source_N], target_N, weight_N, count_N))
    for chunk in zip(*chunks, strict=True):
        arguments = (lm_head, *chunk, label_smoothing, stop_ids)
        # A single chunk is kept: to compute it twice would save nothing.
        loss, chunk_K = (
            checkpoint(_summed, *arguments, use_reentrant=False) if num_targets > size else _summed(*arguments)
        )
        total, sums_K = total + loss, sums_K + chunk_K
    if isinstance(num_items, Tensor):
        num_items = num_items.to(total.device)
        return total / num_items.masked_fill(num_items == 0, 1), sums_K
    return total / (num_items or 1), sums_K


def _summed(
    lm_head: LmHead,
    chunk_ND: Tensor,
    target_N: Tensor,
    weight_N: Tensor,
    count_N: Tensor,
    label_smoothing: float,
    stop_ids_S: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Return the weighted sum of a chunk's cross-entropies, and its `SUMS`; in fp32, whatever the model's dtype is."""
    logits_NV = lm_head(chunk_ND).float()
    loss_N = cross_entropy(logits_NV, target_N, reduction="none", label_smoothing=label_smoothing)
    sums_K = loss_N.new_zeros(len(SUMS))
    if stop_ids_S is not None:
        with torch.no_grad():
            sums_K = _sums(logits_NV.detach(), target_N, weight_N, count_N, stop_ids_S)
    # What is only watched may have an infinite loss, which times 0 would be NaN.
    return (loss_N * weight_N).masked_fill(weight_N == 0, 0.0).sum(), sums_K


def _sums(logits_NV: Tensor, target_N: Tensor, weight_N: Tensor, count_N: Tensor, stop_ids_S: Tensor) -> Tensor:
    scale_N = logits_NV.logsumexp(-1)
    nll_N = scale_N - logits_NV.gather(1, target_N[:, None])[:, 0]
    p_eos_N = (logits_NV[:, stop_ids_S] - scale_N[:, None]).exp().sum(-1)
    correct_N = (logits_NV.argmax(-1) == target_N).float() * weight_N
    end_N = torch.isin(target_N, stop_ids_S)
    learned_N, ends_N = weight_N > 0, count_N * end_N
    inside_N = weight_N * ~end_N
    eos_N = weight_N * end_N
    nll_N = nll_N.masked_fill(~learned_N, 0.0)
    return torch.stack(
        [
            (nll_N * weight_N).sum(),
            weight_N.sum(),
            correct_N.sum(),
            (nll_N * eos_N).sum(),
            eos_N.sum(),
            (p_eos_N * ends_N).sum(),
            ends_N.sum(),
            (p_eos_N * inside_N).sum(),
            inside_N.sum(),
        ]
    )
