"""Training on forests of prefixes, in transformers' Trainer: a mixin, and a Trainer that has it.

    trainer = finetooth.ForestTrainer(model, args, train_dataset=dataset, data_collator=collator)

    class ForestSFTTrainer(finetooth.ForestMixin, SFTTrainer): ...

An optimizer step sees the rows that it would see anyway: `per_device_train_batch_size` times
`gradient_accumulation_steps` times the number of ranks. Accumulation happens within the step, pack by pack.
Checkpoints, schedules, trackers and what else there is are Trainer's own.
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import Trainer, TrainingArguments

from finetooth.errors import TrainingError
from finetooth.loss import Targets
from finetooth.messages import say
from finetooth.packing import Choice, Cost, Pack, Padded, Row, choose_budget
from finetooth.packing.mask import MaskMaker
from finetooth.training.attention import NAME as FOREST_SDPA
from finetooth.training.checkpoints import WholeCheckpoints
from finetooth.training.collated import CollatedRows
from finetooth.training.cost import CHOICE_STEPS, DEVICE_TOKENS, PAD_TOKENS, cpu_cost
from finetooth.training.forward import Head, inputs_of
from finetooth.training.observed import Observed
from finetooth.training.rows import EncodedRows
from finetooth.training.steps import Step, StepLoader, StepMaker, StepSampler, Way
from finetooth.training.trial import Trial, try_packs, window_of


class ForestMixin(WholeCheckpoints):
    """Makes a Trainer train on forests of prefixes; put it before `Trainer` or `SFTTrainer` in the bases of a class.

    The loss is the sum over supervised tokens divided by those of the whole optimizer step, over ranks and
    accumulation. Labels are those that the trainer's own collator makes, row by row.

    Args:
        *args: Of the trainer.
        pack: `forest` shares prefixes, where a trial on the model comes out right; `pad` fills rows up; `auto` takes
            the first where it pays.
        pack_tokens: The budget of tokens a pack; `auto` chooses by the first steps on a CPU, and 4,096 elsewhere.
        micro_batch_size: The most rows in a padded batch; `None` fills a batch up to as many tokens as a pack has.
        rows_per_step: Rows in an optimizer step, over all ranks; `None` as the arguments say.
        stop_ids: The ids that end an answer; `None` takes those of the model's generation configuration, or the
            tokenizer's end-of-sequence token.
        attentions: Attention implementations that are tried with packs, the best first; `None` tries the fastest for
            the device where the model has SDPA, and else keeps the model's own.
        on_choice: Told, in a sentence, how rows are packed, and why.
        **kwargs: Of the trainer.
    """

    control: Any

    def __init__(
        self,
        *args: Any,
        pack: str = "auto",
        pack_tokens: int | str = "auto",
        micro_batch_size: int | None = None,
        rows_per_step: int | None = None,
        stop_ids: Sequence[int] | None = None,
        attentions: Sequence[str] | None = None,
        on_choice: Callable[[str], None] | None = None,
        **kwargs: Any,
    ) -> None:
        given = kwargs.get("args", args[1] if len(args) > 1 else None)
        self._rows_per_step = rows_per_step
        if isinstance(given, TrainingArguments):
            whole = _whole_steps(given)
            if self._rows_per_step is None:
                self._rows_per_step = whole.train_batch_size * max(1, whole.world_size)
            if "args" in kwargs:
                kwargs["args"] = whole
            else:
                args = (args[0], whole, *args[2:])
        super().__init__(*args, **kwargs)
        if self._rows_per_step is None:
            self._rows_per_step = self.args.train_batch_size * max(1, self.args.world_size)
        self._pack = pack
        self._pack_tokens = pack_tokens
        self._micro_batch_size = micro_batch_size
        self._stop_ids = frozenset(self._default_stop_ids() if stop_ids is None else stop_ids)
        self._attentions = tuple(attentions or ())
        self._on_choice = on_choice or (lambda sentence: None)
        self._observed = Observed()
        self._head: Head | None = None
        self.way: Way | None = None
        self._masks: MaskMaker | None = None
        self.max_tokens = self._pad_tokens
        self.trial: Trial | None = None
        self.choice: Choice | None = None
        self._last_rows: Sequence[Row] = ()
        self._longest = 0
        self.loss_is_scaled_for_ga = True

    # Rows -----------------------------------------------------------------------------------------------------------

    def _rows_of(self, dataset: Any) -> Sequence[Row]:
        """Return the rows of a data set: those that finetooth has encoded, or labelled by the trainer's collator."""
        return dataset if isinstance(dataset, EncodedRows) else CollatedRows(dataset, self.data_collator)

    def _default_stop_ids(self) -> list[int]:
        config = getattr(self.model, "generation_config", None)
        found = getattr(config, "eos_token_id", None)
        if found is None:
            found = getattr(self.processing_class, "eos_token_id", None)
        return [] if found is None else [int(one) for one in (found if isinstance(found, (list, tuple)) else [found])]

    # How rows are packed ----------------------------------------------------------------------------------------------

    def choose_packing(self) -> Way:
        """Try packs on the model, and choose how rows are computed; done once, before the first step."""
        if self.way is not None:
            return self.way
        rows = self._rows_of(self.train_dataset)
        sampler = StepSampler(len(rows), self._rows_per_step or 1, seed=self.args.seed)
        steps = [[rows[index] for index in indices] for _, indices in zip(range(CHOICE_STEPS), sampler, strict=False)]
        sampled = [row for step in steps for row in step]
        ids = [token for row in sampled for token in row.input_ids]
        model = self.accelerator.unwrap_model(self.model)
        self._head = self._head_of(model, ids)
        if self._pack == "pad":
            return self._settle("pad", say("training.pad_asked"))
        evaluated = self.eval_dataset.values() if isinstance(self.eval_dataset, dict) else [self.eval_dataset]
        self._longest = max(self._longest_of(self._rows_of(one)) for one in (self.train_dataset, *evaluated) if one)
        self.trial = self._try(model, self._head, ids, self._longest)
        if not self._agreed(self.trial.passed):
            reason = self.trial.reason or say("training.other_rank")
            return self._settle("pad", say("training.falls_back", reason=reason))
        self._masks = self.trial.masks
        dense = self.args.device.type == "cpu"
        cost = cpu_cost(model.config) if dense else Cost(per_pair=0.0)
        budgets = {} if self._pack_tokens == "auto" and dense else {"budgets": (self._budget(),)}
        self.choice = choose_budget(steps, cost, pad_tokens=self._pad_tokens, **budgets)
        if self._pack == "auto" and self.choice.gain < 1.0:
            return self._settle("pad", say("training.nothing_shared", gain=f"{self.choice.gain:.2f}"))
        self.max_tokens = self.choice.max_tokens
        return self._settle(
            "forest", say("training.forest", max_tokens=f"{self.max_tokens:,}", gain=f"{self.choice.gain:.1f}")
        )

    def _try(self, model: Any, head: Head, ids: Sequence[int], longest: int) -> Trial:
        """Try packs under each attention implementation, and leave the model with the one that is right."""
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        own = str(getattr(base.config, "_attn_implementation", ""))
        attentions = self._attentions
        if not attentions and own == "sdpa":
            attentions = (FOREST_SDPA if self.args.device.type == "cpu" else "flex_attention", "sdpa")
        trial: Trial | None = None
        for attention in attentions:
            base.set_attn_implementation(attention)
            try:
                trial = try_packs(model, head, ids=ids, longest=longest)
            except RuntimeError as error:
                # FlexAttention takes no heads narrower than 16, not even for padded rows.
                if attention == attentions[-1]:
                    raise
                trial = None
                reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
                self._on_choice(say("training.attention_refused", attention=attention, reason=reason))
            if self._agreed(trial is not None and trial.passed):
                assert trial is not None
                return trial
        # Where none is right, the last one stays: it is the one that padded rows suit best.
        return trial or try_packs(model, head, ids=ids, longest=longest)

    def _longest_of(self, rows: Sequence[Row]) -> int:
        """Return the length of the longest row, where the model has a window that it may reach; else 0."""
        if window_of(self.accelerator.unwrap_model(self.model).config) is None:
            return 0
        return rows.longest() if isinstance(rows, EncodedRows) else max((len(row.input_ids) for row in rows), default=0)

    def _budget(self) -> int:
        return DEVICE_TOKENS if self._pack_tokens == "auto" else int(self._pack_tokens)

    @property
    def _pad_tokens(self) -> int:
        return PAD_TOKENS if self.args.device.type == "cpu" else DEVICE_TOKENS

    def _settle(self, way: Way, sentence: str) -> Way:
        self.way = way
        if way == "pad" and self._pack_tokens != "auto":
            self.max_tokens = int(self._pack_tokens)
        self._on_choice(sentence)
        return way

    def _head_of(self, model: Any, ids: Sequence[int]) -> Head:
        was_training = model.training
        model.eval()
        few = torch.tensor([list(ids[:8]) or [0]], device=next(model.parameters()).device)
        head = Head.find(model, {"input_ids": few, "use_cache": False})
        model.train(was_training)
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            # Their weights are gathered within the model's own forward: the head is not called again after it.
            head.is_plain = False
        return head

    def _agreed(self, passed: bool) -> bool:
        """Return whether all ranks passed: a rank that pads among ranks that pack would wait forever."""
        if self.accelerator.num_processes == 1:
            return passed
        votes = torch.tensor(float(passed), device=self.args.device)
        return bool(self._summed(votes).item() == self.accelerator.num_processes)

    def _summed(self, tensor: Tensor) -> Tensor:
        return tensor if self.accelerator.num_processes == 1 else self.accelerator.reduce(tensor, reduction="sum")

    # Loading --------------------------------------------------------------------------------------------------------

    def _maker(self, rows: Sequence[Row]) -> StepMaker:
        way = self.choose_packing()
        if way == "forest" and self._longest_of(rows) > self._longest:
            way = "pad"  # rows that may reach a window with which packs were not tried
        return StepMaker(
            way=way,
            max_tokens=self.max_tokens,
            max_rows=self._micro_batch_size,
            stop_ids=self._stop_ids,
            rank=self.accelerator.process_index,
            num_ranks=self.accelerator.num_processes,
        )

    def _loader(self, rows: Sequence[Row], *, shuffle: bool) -> StepLoader:
        sampler = StepSampler(len(rows), self._rows_per_step or 1, seed=self.args.seed if shuffle else None)
        return StepLoader(rows, sampler, self._maker(rows), num_workers=self.args.dataloader_num_workers)

    def get_train_dataloader(self) -> Any:
        """Return the steps of an epoch, each with this rank's batches."""
        if self.train_dataset is None:
            raise ValueError("Trainer: training requires a train_dataset.")
        return self._loader(self._rows_of(self.train_dataset), shuffle=True)

    def _get_num_items_in_batch(self, batch_samples: Any, device: Any) -> None:
        """Return nothing: a step brings its own number."""
        return None

    def floating_point_ops(self, inputs: Any) -> int:
        """Return the operations of a step: 6 a weight and token (Kaplan et al. 2020, arXiv:2001.08361, section 2.1)."""
        if not (isinstance(inputs, Mapping) and "step" in inputs):
            return int(super().floating_point_ops(inputs))
        step: Step = inputs["step"]
        return 6 * self._num_weights * sum(batch.num_tokens for batch in step.batches)

    @property
    def _num_weights(self) -> int:
        known: int | None = self.__dict__.get("_known_num_weights")
        if known is None:
            known = self.__dict__["_known_num_weights"] = sum(weight.numel() for weight in self.model.parameters())
        return known

    def _pause(self) -> contextlib.AbstractContextManager[None]:
        return self._observed.pause()

    # A step -----------------------------------------------------------------------------------------------------------

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """Compute the batches of a step, one after the other, and add their gradients up."""
        step: Step = inputs["step"]
        model.train()
        if hasattr(self.optimizer, "train") and callable(self.optimizer.train):
            self.optimizer.train()
        num_ranks = self.accelerator.num_processes
        total = torch.zeros((), device=self.args.device)
        for number, batch in enumerate(step.batches):
            is_last = number == len(step.batches) - 1
            with contextlib.nullcontext() if is_last else self.accelerator.no_sync(model):
                loss, sums_K = self._batch_loss(model, batch, step.num_items)
                # Gradients are averaged over ranks; the loss of a step is a sum over them.
                self.accelerator.backward(loss * num_ranks)
            total += loss.detach()
            self._observed.add(sums_K)
        if not torch.isfinite(total):
            raise self._not_finite(step, float(total))
        self._last_rows = step.rows
        self._observed.add_step(num_rows=len(step.rows), num_tokens=step.num_tokens, num_supervised=step.num_items)
        result: Tensor = total * num_ranks
        return result

    def _batch_loss(self, model: Any, batch: Pack | Padded, num_items: int) -> tuple[Tensor, Tensor]:
        assert self._head is not None, "the packing is chosen before the first step"
        device = self.args.device
        stop_ids = torch.tensor(sorted(self._stop_ids), dtype=torch.long, device=device)
        with self.accelerator.autocast():
            return self._head.loss(
                model,
                inputs_of(batch, self._masks, device),
                Targets.from_batch(batch, device=device),
                stop_ids=stop_ids,
                num_items=num_items,
                label_smoothing=float(self.args.label_smoothing_factor),
            )

    def _not_finite(self, step: Step, loss: float) -> TrainingError:
        """Say which rows of a step have a loss that is no number, or that the weights are none already."""
        number = self.state.global_step
        broken = [name for name, weight in self.model.named_parameters() if not torch.isfinite(weight).all()]
        if broken:
            rows = ", ".join(row.where for row in self._last_rows) or "-"
            return TrainingError(
                say("training.broken_weights", step=number, name=broken[0], count=len(broken), rows=rows),
                where=f"step {number}",
                help="--set train.learning_rate=1e-5" if number else say("training.broken_model_help"),
            )
        bad = [row for row in step.rows if not math.isfinite(self._loss_alone(row))]
        places = ", ".join(row.where for row in bad or step.rows)
        return TrainingError(
            say("training.not_finite", loss=loss, step=number, rows=places),
            where=(bad or step.rows)[0].where,
            help=say("training.not_finite_help"),
        )

    def _loss_alone(self, row: Row) -> float:
        maker = StepMaker(way="pad", max_tokens=PAD_TOKENS)
        with torch.no_grad():
            step = maker([row])["step"]
            return sum(float(self._batch_loss(self.model, batch, 1)[0]) for batch in step.batches)

    # Metrics ----------------------------------------------------------------------------------------------------------

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, with what was observed since the last log beside Trainer's own values."""
        if "loss" in logs:
            found = self._observed.metrics(self._summed, self.args.device)
            if not self.args.label_smoothing_factor:
                # The mean over supervised tokens since the last log; Trainer's own is a mean of the steps' means.
                logs["loss"] = found["loss"] if found["loss"] is not None else logs["loss"]
            logs.update({name: value for name, value in found.items() if name != "loss"})  # type: ignore[misc]
            self._observed = Observed()
        super().log(logs, start_time)

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Return the loss and the metrics over evaluation rows, each token counted once, and log them."""
        dataset = self.eval_dataset if eval_dataset is None else eval_dataset
        if isinstance(dataset, str):
            dataset, metric_key_prefix = self.eval_dataset[dataset], f"{metric_key_prefix}_{dataset}"
        if isinstance(dataset, dict):
            found: dict[str, float] = {}
            for name, one in dataset.items():
                found |= self.evaluate(one, ignore_keys, f"{metric_key_prefix}_{name}")
            return found
        if dataset is None:
            raise ValueError("Trainer: evaluation requires an eval_dataset.")
        with self._observed.pause():
            metrics = self._evaluated(self._rows_of(dataset))
            named = {f"{metric_key_prefix}_{name}": value for name, value in metrics.items() if value is not None}
            self.log(named)
            self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, named)
        return named

    def _evaluated(self, rows: Sequence[Row]) -> dict[str, float | None]:
        observed = Observed()
        model = self.model_wrapped if self.is_in_train else self.model
        was_training = model.training
        model.eval()
        with torch.no_grad():
            for inputs in self._loader(rows, shuffle=False):
                step: Step = inputs["step"]
                for batch in step.batches:
                    observed.add(self._batch_loss(model, batch, step.num_items)[1])
                observed.add_step(num_rows=len(step.rows), num_tokens=step.num_tokens, num_supervised=step.num_items)
        metrics = observed.metrics(self._summed, self.args.device)
        model.train(was_training)
        return metrics


class ForestTrainer(ForestMixin, Trainer):  # type: ignore[misc]
    """transformers' Trainer on forests of prefixes; see `ForestMixin` for its further arguments."""


def _whole_steps(args: TrainingArguments) -> TrainingArguments:
    """Return the arguments with one batch an optimizer step: what was to be accumulated is in it."""
    if args.gradient_accumulation_steps == 1:
        return args
    whole = copy.copy(args)
    whole.per_device_train_batch_size = args.per_device_train_batch_size * args.gradient_accumulation_steps
    whole.gradient_accumulation_steps = 1
    return whole
