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

LOSS_TOLERANCE, GRADIENT_TOLERANCE = 1e-4, 1e-3
"""The largest differences that pass in fp32, relative. Rounding gives 1e-6 to 1e-4 (`benchmarks/bench_trial.py`), a
convolution of three tokens that sees over a branch 1e-2 and 5e-1 (`tests/training/test_trial.py`)."""
HALF_LOSS_TOLERANCE, HALF_GRADIENT_TOLERANCE = 2e-3, 5e-2
"""The same for bf16 and fp16, where rounding grows with depth: 32 layers of 4,096 gave 1e-4 and 2e-1 on an H100. So it
is measured on the model, rows side by side against rows one by one, and these are the least that is allowed."""
_NOISE = 4.0
"""How much larger than rounding a difference may be, in half precision."""

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
    loss_tolerance: float
    gradient_tolerance: float
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
    form = FORM_OF.get(attention)
    if form is None:
        return _failed(say("training.no_mask", attention=attention))
    window = window_of(model.config)
    if window is not None and window >= longest:
        window = None
    rows = _rows(ids, max(_SHORTEST, 0 if window is None else window + _PAST))
    device = next(model.parameters()).device
    padded = make_padded(rows)
    packs = make_packs(rows, max_tokens=sum(len(row.input_ids) for row in rows))
    best: Trial | None = None
    with _quiet(model):
        expected = _Outcome.of(model, head, padded, None, device)
        loss_tolerance, gradient_tolerance = LOSS_TOLERANCE, GRADIENT_TOLERANCE
        if dtype not in (torch.float32, torch.float64):
            alone = _Outcome.of(model, head, make_padded(rows, max_rows=1), None, device)
            noise = alone.difference(expected)
            loss_tolerance = max(HALF_LOSS_TOLERANCE, _NOISE * noise[0])
            gradient_tolerance = max(HALF_GRADIENT_TOLERANCE, _NOISE * noise[1])
        for masks in _candidates(form, dtype, window):
            try:
                found = _Outcome.of(model, head, packs, masks, device).difference(expected)
            except (TypeError, ValueError, RuntimeError, AttributeError, KeyError):
                continue  # a model that does not take this kind of mask
            passed = found[0] <= loss_tolerance and found[1] <= gradient_tolerance
            trial = Trial(
                masks=masks if passed else None,
                loss_difference=found[0],
                gradient_difference=found[1],
                loss_tolerance=loss_tolerance,
                gradient_tolerance=gradient_tolerance,
                reason=None if passed else _differs(found, (loss_tolerance, gradient_tolerance)),
            )
            if passed:
                return trial
            if best is None or trial.gradient_difference < best.gradient_difference:
                best = trial
    return best or _failed(say("training.refuses_masks", name=type(model).__name__))


def _failed(reason: str) -> Trial:
    return Trial(
        masks=None,
        loss_difference=1.0,
        gradient_difference=1.0,
        loss_tolerance=LOSS_TOLERANCE,
        gradient_tolerance=GRADIENT_TOLERANCE,
        reason=reason,
    )


def _differs(found: tuple[float, float], allowed: tuple[float, float]) -> str:
    loss, gradient, loss_tolerance, gradient_tolerance = (f"{value:.0e}" for value in (*found, *allowed))
    return say(
        "training.differs",
        loss=loss,
        gradient=gradient,
        loss_tolerance=loss_tolerance,
        gradient_tolerance=gradient_tolerance,
    )


def window_of(config: Any) -> int | None:
    """Return the sliding window that a model's configuration names; its layers need not use it."""
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    window = getattr(text, "sliding_window", None)
    return window if isinstance(window, int) and window > 0 else None


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


@dataclass(frozen=True, slots=True)
class _Outcome:
    """The loss of some batches, and the gradients of the trained weights."""

    loss: float
    gradients: dict[str, Tensor]

    @classmethod
    def of(
        cls,
        model: Any,
        head: Head,
        batches: Sequence[Pack] | Sequence[Padded],
        masks: MaskMaker | None,
        device: torch.device,
    ) -> _Outcome:
        """Run batches forward and backward."""
        num_items = sum(batch.num_supervised for batch in batches)
        total = 0.0
        for batch in batches:
            loss, _ = head.loss(
                model,
                inputs_of(batch, masks, device),
                Targets.from_batch(batch, device=device),
                stop_ids=None,
                num_items=num_items,
                label_smoothing=0.0,
            )
            torch.autograd.backward(loss)
            total += float(loss.item())
        gradients = {
            name: parameter.grad.detach()
            for name, parameter in model.named_parameters()
            if parameter.requires_grad and parameter.grad is not None
        }
        model.zero_grad(set_to_none=True)
        return cls(total, gradients)

    def difference(self, expected: _Outcome) -> tuple[float, float]:
        """Return the relative difference of the loss, and the largest one of a tensor of gradients."""
        if self.gradients.keys() != expected.gradients.keys():
            return 1.0, 1.0
        norms = {name: float(gradient.float().norm()) for name, gradient in expected.gradients.items()}
        whole = sum(norm**2 for norm in norms.values()) ** 0.5
        largest = 0.0
        for name, gradient in expected.gradients.items():
            # A gradient that is 0 but for rounding (the bias of keys under softmax) is not held against itself.
            size = max(norms[name], 1e-3 * whole, 1e-30)
            largest = max(largest, _number(float((self.gradients[name].float() - gradient.float()).norm()) / size))
        return _number(abs(self.loss - expected.loss) / max(abs(expected.loss), 1e-30)), largest


def _number(value: float) -> float:
    """Return a value, or 1 for one that is no number: NaN agrees with nothing."""
    return value if value == value else 1.0


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
