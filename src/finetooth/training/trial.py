"""The trial: before training, packs are run against padded rows on the real model, loss and gradient.

No list of architectures is trusted. Models that mix tokens otherwise than by masked attention (convolutions, recurrent
states), or take masks otherwise than is thought here, come out different, and are trained on padded rows.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from finetooth.loss import Targets
from finetooth.messages import say
from finetooth.packing import Pack, Padded, make_packs, make_padded
from finetooth.packing.mask import FORM_OF, MaskMaker
from finetooth.training.forward import Head, inputs_of
from finetooth.training.rows import TrainRow
from finetooth.types import IGNORE_INDEX

TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-6}
"""The largest difference that passes, relative, by the dtype of the weights. Rounding gives 1e-6 to 1e-5 in fp32; a
convolution of three tokens that sees over a branch gives 1e-2 and more (`tests/training/test_trial.py`)."""
HALF_TOLERANCE = 5e-2
"""The same for bf16 and fp16, where rounding alone gives 1e-2 to 2e-2 (`benchmarks/bench_trial.py`)."""

_SHORTEST = 24
"""Tokens of the longer row of a trial, at least."""
_PAST = 16
"""Tokens by which the rows are longer than a window, where the data has such rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What came of a trial."""

    masks: MaskMaker | None
    """How the model takes the masks of packs; `None` where none was right."""
    loss_difference: float
    """Relative, of the best that was tried."""
    gradient_difference: float
    """Relative, the largest over all trainable tensors."""
    tolerance: float
    reason: str | None = None
    """Why packs cannot be used, in a sentence; `None` where they can."""

    @property
    def passed(self) -> bool:
        """Return whether packs and padded rows came out the same."""
        return self.masks is not None


def try_packs(model: Any, head: Head, *, ids: Sequence[int], longest: int) -> Trial:
    """Run a trie of two branches as a pack and as padded rows, and compare.

    Args:
        model: The model, on its device, not yet wrapped.
        head: Its head.
        ids: Ids that occur in the data, from which rows are made.
        longest: Tokens of the longest row of the data: a window that no row reaches needs no trial.
    """
    attention = str(getattr(model.config, "_attn_implementation", ""))
    dtype = next(model.parameters()).dtype
    tolerance = TOLERANCE.get(dtype, HALF_TOLERANCE)
    form = FORM_OF.get(attention)
    if form is None:
        reason = say("training.no_mask", attention=attention)
        return Trial(masks=None, loss_difference=1.0, gradient_difference=1.0, tolerance=tolerance, reason=reason)
    window = _window(model.config, longest)
    rows = _rows(ids, max(_SHORTEST, 0 if window is None else window + _PAST))
    device = next(model.parameters()).device
    (padded,) = make_padded(rows)
    (pack,) = make_packs(rows, max_tokens=sum(len(row.input_ids) for row in rows))
    with _quiet(model):
        loss, gradients = _loss_and_gradients(model, head, padded, None, device)
        best: Trial | None = None
        for masks in _candidates(form, dtype, window):
            try:
                differences = _difference(model, head, pack, masks, device, loss, gradients)
            except (TypeError, ValueError, RuntimeError, AttributeError, KeyError):
                continue  # a model that does not take this kind of mask
            passed = max(differences) <= tolerance
            trial = Trial(
                masks=masks if passed else None,
                loss_difference=differences[0],
                gradient_difference=differences[1],
                tolerance=tolerance,
                reason=None
                if passed
                else say(
                    "training.differs",
                    loss=f"{differences[0]:.1e}",
                    gradient=f"{differences[1]:.1e}",
                    tolerance=tolerance,
                ),
            )
            if passed:
                return trial
            if best is None or trial.gradient_difference < best.gradient_difference:
                best = trial
    return best or Trial(
        masks=None,
        loss_difference=1.0,
        gradient_difference=1.0,
        tolerance=tolerance,
        reason=say("training.refuses_masks", name=type(model).__name__),
    )


def _window(config: Any, longest: int) -> int | None:
    """Return the sliding window of a model, where the data has rows that are longer."""
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    window = getattr(text, "sliding_window", None)
    return window if isinstance(window, int) and 0 < window < longest else None


def _candidates(form: Any, dtype: torch.dtype, window: int | None) -> Iterator[MaskMaker]:
    """Yield ways of giving a model its masks; the trial says which one is right."""
    if window is None:
        yield MaskMaker(form=form, dtype=dtype)
        return
    yield MaskMaker(form=form, dtype=dtype, window=window, by_layer_type=True)
    yield MaskMaker(form=form, dtype=dtype, window=window)
    # A window in the configuration that no layer uses.
    yield MaskMaker(form=form, dtype=dtype)


def _rows(ids: Sequence[int], length: int) -> list[TrainRow]:
    """Return two rows that part three quarters on the way, of unequal length, learned from before they part."""
    draw = random.Random(0)
    pool = sorted(set(ids)) or [0]
    shared = [draw.choice(pool) for _ in range(length - 12)]
    first, second = draw.choice(pool), draw.choice(pool)
    while second == first and len(pool) > 1:
        second = draw.choice(pool)
    branches = [[first, *(draw.choice(pool) for _ in range(11))], [second, *(draw.choice(pool) for _ in range(6))]]
    rows = []
    for index, branch in enumerate(branches):
        input_ids = shared + branch
        masked = len(shared) - 3
        labels = [IGNORE_INDEX] * masked + input_ids[masked:]
        rows.append(TrainRow(index=index, where="trial", input_ids=input_ids, labels=labels))
    return rows


def _loss_and_gradients(
    model: Any, head: Head, batch: Pack | Padded, masks: MaskMaker | None, device: torch.device
) -> tuple[float, dict[str, Tensor]]:
    loss, _ = head.loss(
        model,
        inputs_of(batch, masks, device),
        Targets.from_batch(batch, device=device),
        stop_ids=None,
        num_items=batch.num_supervised,
        label_smoothing=0.0,
    )
    torch.autograd.backward(loss)
    gradients = {
        name: parameter.grad.detach().clone()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and parameter.grad is not None
    }
    model.zero_grad(set_to_none=True)
    return loss.item(), gradients


def _difference(
    model: Any,
    head: Head,
    pack: Pack,
    masks: MaskMaker,
    device: torch.device,
    loss: float,
    gradients: dict[str, Tensor],
) -> tuple[float, float]:
    other_loss, others = _loss_and_gradients(model, head, pack, masks, device)
    if others.keys() != gradients.keys():
        return 1.0, 1.0
    whole = sum(gradient.float().norm() ** 2 for gradient in gradients.values()) ** 0.5
    largest = 0.0
    for name, gradient in gradients.items():
        # A gradient that is 0 but for rounding (the bias of keys under softmax) is not held against itself.
        size = max(float(gradient.float().norm()), 1e-3 * float(whole), 1e-30)
        largest = max(largest, float((others[name].float() - gradient.float()).norm()) / size)
    found = abs(other_loss - loss) / max(abs(loss), 1e-30)
    # NaN compares as neither: it is no agreement.
    return (found if found == found else 1.0), (largest if largest == largest else 1.0)


@contextmanager
def _quiet(model: Any) -> Iterator[None]:
    """Turn dropout off, and leave random numbers and the mode as they were."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
        model.zero_grad(set_to_none=True)
