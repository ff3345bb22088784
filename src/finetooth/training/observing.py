"""`MetricsCallback`: the metrics of finetooth's own training, in anyone's Trainer.

    trainer = SFTTrainer(...)
    finetooth.MetricsCallback.attach(trainer)

The loss, and how it is computed, stay the trainer's own. At each step that will be logged, the model's hidden states
are looked at once more, and the probability of stopping is read where answers end and inside them.

Shapes: B rows, T tokens, D hidden size, N targets, K sums.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import TrainerCallback

from finetooth.loss import Targets, observed_loss
from finetooth.messages import say
from finetooth.runs import METRICS, Run
from finetooth.training.callbacks import metrics_line
from finetooth.training.observed import Observed
from finetooth.types import IGNORE_INDEX


class MetricsCallback(TrainerCallback):  # type: ignore[misc]
    """Adds `eos_loss`, `p_eos_end`, `p_eos_inside`, `token_accuracy`, `supervised_share` and rates to each log.

    They are taken from the batches of the steps that are logged, on this rank, and are those of evaluation with the
    prefix `eval_`. `loss` stays the trainer's own.

    Args:
        stop_ids: The ids that end an answer; `None` takes those of the model's generation configuration.
        output: A directory to which metrics.jsonl is written besides, for `finetooth compare`.
    """

    def __init__(self, stop_ids: Collection[int] | None = None, *, output: str | Path | None = None) -> None:
        self.stop_ids = None if stop_ids is None else sorted(stop_ids)
        self.run = None if output is None else Run(Path(output))
        self._observed = {True: Observed(), False: Observed()}
        self._hidden: Tensor | None = None
        self._handles: list[Any] = []
        self._watches = True
        self._warned = False
        self._logging_steps = 1
        self._logs_first = False

    @classmethod
    def attach(cls, trainer: Any, stop_ids: Collection[int] | None = None, *, output: str | Path | None = None) -> Any:
        """Add the callback to a trainer, before its trackers, so that they get the metrics as well."""
        callback = cls(stop_ids, output=output)
        trainer.callback_handler.callbacks.insert(1, callback)  # after the one that decides what a step is followed by
        return callback

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **more: Any) -> None:
        """Begin to look on."""
        if self.run is not None and state.is_world_process_zero:
            self.run.directory.mkdir(parents=True, exist_ok=True)
            self.run.forget_after(state.global_step or -1)
        self._logging_steps, self._logs_first = max(1, int(state.logging_steps or 1)), bool(args.logging_first_step)
        self._watch(model)
        self._choose(state)

    def on_evaluate(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Forget what was seen of evaluation: its log is written."""
        self._observed[False] = Observed()

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Look on in the next step where that one is logged."""
        self._choose(state)

    def on_train_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Look no longer on."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **more: Any) -> None:
        """Add the metrics to a log, and to the state's history, where it stands already."""
        if logs is None or not ("loss" in logs or "eval_loss" in logs):
            return
        training = "loss" in logs
        observed = self._observed[training]
        if observed.sums_K is None:
            return
        found = observed.metrics(lambda tensor: tensor, args.device)
        prefix = "" if training else "eval_"
        added = {f"{prefix}{name}": value for name, value in found.items() if name != "loss" and value is not None}
        logs.update(added)
        if state.log_history and state.log_history[-1].get("step") == state.global_step:
            state.log_history[-1].update(added)
        self._observed[training] = Observed()
        if self.run is not None and state.is_world_process_zero:
            self.run.append(METRICS, metrics_line(state, logs))

    def _choose(self, state: Any) -> None:
        following = state.global_step + 1
        self._watches = following % self._logging_steps == 0 or (self._logs_first and following == 1)
        self._watches = self._watches or following == state.max_steps

    def _watch(self, model: Any) -> None:
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        if self.stop_ids is None:
            found = getattr(base.generation_config, "eos_token_id", None)
            self.stop_ids = list(found) if isinstance(found, (list, tuple)) else [] if found is None else [found]
        head = base.get_output_embeddings()
        decoder = base.get_decoder() if hasattr(base, "get_decoder") else base.base_model

        def keep(module: Any, args: Any, output: Any) -> None:
            self._hidden = output[0] if isinstance(output, tuple) else output.last_hidden_state

        def look(module: Any, args: Any, kwargs: Mapping[str, Any], output: Any) -> None:
            hidden_BTD, self._hidden = self._hidden, None
            labels_BT = kwargs.get("labels")
            if labels_BT is None or hidden_BTD is None or not (self._watches or not base.training):
                if labels_BT is None and not self._warned:
                    self._warned = True
                    warnings.warn(say("training.no_labels_seen"), UserWarning, stacklevel=2)
                return
            logits = output.get("logits") if isinstance(output, Mapping) else None
            self._take_in(base, head, hidden_BTD, logits, labels_BT, kwargs.get("attention_mask"))

        self._handles = [
            decoder.register_forward_hook(keep),
            base.register_forward_hook(look, with_kwargs=True),
        ]

    def _take_in(
        self, base: Any, head: Any, hidden_BTD: Tensor, logits: Tensor | None, labels_BT: Tensor, mask: Tensor | None
    ) -> None:
        device = hidden_BTD.device
        stop_ids = torch.tensor(self.stop_ids or [], dtype=torch.long, device=device)
        targets = watched_targets(labels_BT, stop_ids, mask)
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            if logits is not None and logits.shape[:-1] == labels_BT.shape:
                states, lm_head = logits, torch.nn.Identity()
            else:
                states, lm_head = hidden_BTD.to(head.weight.dtype), head
            _, sums_K = observed_loss(states, lm_head, targets, stop_ids=stop_ids)
        observed = self._observed[base.training]
        observed.add(sums_K)
        num_tokens = int(labels_BT.numel() if mask is None or mask.dim() != 2 else mask.sum())
        supervised = int((labels_BT[:, 1:] != IGNORE_INDEX).sum())
        observed.add_step(num_rows=len(labels_BT), num_tokens=num_tokens, num_supervised=supervised)


def watched_targets(labels_BT: Tensor, stop_ids_S: Tensor, mask_BT: Tensor | None = None) -> Targets:
    """Return the targets of padded rows, those among them at which answers end without a learned stop token.

    Args:
        labels_BT: Labels, not shifted.
        stop_ids_S: The ids that end an answer.
        mask_BT: The attention mask.
    """
    learned = Targets.from_labels(labels_BT)
    if not stop_ids_S.numel():
        return learned
    is_learned_BT = labels_BT != IGNORE_INDEX
    after_BT = torch.zeros_like(is_learned_BT)
    after_BT[:, :-1] = is_learned_BT[:, 1:]
    ends_BT = is_learned_BT & ~after_BT & ~torch.isin(labels_BT, stop_ids_S)
    ends_BT[:, 0] = False
    if mask_BT is not None and mask_BT.dim() == 2:
        ends_BT &= mask_BT.bool()
    source_N = ends_BT.reshape(-1).nonzero().reshape(-1)
    zeros_N = torch.zeros_like(source_N, dtype=torch.float32)
    return Targets(
        source_N=torch.cat([learned.source_N, source_N]),
        target_N=torch.cat([learned.target_N, torch.full_like(source_N, int(stop_ids_S.min()))]),
        weight_N=torch.cat([learned.weight_N, zeros_N]),
        count_N=torch.cat([learned.count_N, zeros_N + 1]),
    )
