"""What happens beside training: metrics and samples are written down, and progress is shown."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import TrainerCallback

from finetooth.messages import say
from finetooth.probing.generating import generate, stop_ids_of
from finetooth.runs import METRICS, SAMPLES, Run
from finetooth.tokenizer import Tokenizer
from finetooth.training.rows import TrainRow
from finetooth.types import IGNORE_INDEX

ORDER = (
    "loss",
    "eos_loss",
    "p_eos_end",
    "p_eos_inside",
    "token_accuracy",
    "learning_rate",
    "grad_norm",
    "supervised_share",
    "rows_per_s",
    "tokens_per_s",
)
"""The values of a line of metrics.jsonl, in their order; those of evaluation begin with `eval_`."""


class RunWriter(TrainerCallback):  # type: ignore[misc]
    """Writes metrics.jsonl, a line for each log."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Take the intervals that are asked for now: a checkpoint brings those that it was written with."""
        state.compute_steps(args, state.max_steps)

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Have the last step logged, whatever the interval."""
        if state.global_step >= state.max_steps:
            control.should_log = True

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **more: Any) -> None:
        """Write a line; what Trainer says of the whole run at its end is none."""
        if not state.is_world_process_zero or not logs:
            return
        if "loss" in logs or "eval_loss" in logs:
            self.run.append(METRICS, metrics_line(state, logs))


def metrics_line(state: Any, logs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the line of metrics.jsonl that a log of training or of evaluation gives."""
    prefix = "" if "loss" in logs else "eval_"
    epoch = None if state.epoch is None else round(state.epoch, 6)
    line: dict[str, Any] = {"step": state.global_step, "epoch": epoch}
    for name in ORDER:
        if not prefix or name not in ("learning_rate", "grad_norm"):
            value = logs.get(f"{prefix}{name}")
            line[f"{prefix}{name}"] = None if value is None else float(value)
    return line


class Progress(TrainerCallback):  # type: ignore[misc]
    """Shows progress on stderr: one line that is written over on a terminal, a line for each log elsewhere."""

    def __init__(self, name: str, *, is_terminal: bool) -> None:
        self.name = name
        self.is_terminal = is_terminal
        self.start = time.monotonic()
        self.first_step = 0
        self.last: Mapping[str, Any] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Begin to count."""
        self.start, self.first_step = time.monotonic(), state.global_step

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Write the line over, on a terminal."""
        if self.is_terminal and state.is_world_process_zero:
            sys.stderr.write("\r\x1b[K" + self._line(state))
            sys.stderr.flush()

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **more: Any) -> None:
        """Keep what is shown, and write a line elsewhere than on a terminal."""
        if not logs or not state.is_world_process_zero:
            return
        if "loss" in logs:
            self.last = dict(logs)
        if not self.is_terminal and ("loss" in logs or "eval_loss" in logs):
            prefix = "" if "loss" in logs else "eval_"
            shown = {name.removeprefix(prefix): value for name, value in logs.items() if name.startswith(prefix)}
            sys.stderr.write(self._line(state, shown, prefix) + "\n")

    def on_train_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """End the line."""
        if self.is_terminal and state.is_world_process_zero:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def _line(self, state: Any, logs: Mapping[str, Any] | None = None, prefix: str = "") -> str:
        logs = self.last if logs is None else logs
        done, whole = state.global_step, max(state.max_steps, 1)
        parts = [self.name, say("training.progress_step", step=done, steps=whole)]
        if logs.get("loss") is not None:
            parts.append(f"{prefix}loss {logs['loss']:.4f}")
        if logs.get("p_eos_end") is not None:
            parts.append(f"{prefix}p_eos_end {logs['p_eos_end']:.3f}")
        if logs.get("rows_per_s") is not None:
            parts.append(say("training.progress_rate", rate=f"{logs['rows_per_s']:.1f}"))
        run = done - self.first_step
        if run and done < whole:
            left = (time.monotonic() - self.start) / run * (whole - done)
            parts.append(say("training.progress_left", time=_clock(left)))
        return " · ".join(parts)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Sampler(TrainerCallback):  # type: ignore[misc]
    """Lets the model answer some prompts of the data now and then, and writes what it says.

    Args:
        run: Where samples.jsonl lies.
        rows: The rows whose prompts are answered: all before the first learned token.
        tokenizer: Reads the answers, special tokens as they are.
        max_tokens: The most tokens of an answer.
        record_indices: The numbers of the rows' records.
    """

    def __init__(
        self,
        run: Run,
        rows: Sequence[TrainRow],
        tokenizer: Tokenizer,
        *,
        max_tokens: int,
        record_indices: Sequence[int],
    ) -> None:
        self.run = run
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens
        self.prompts = [
            (index, row.where, prompt)
            for row, index in zip(rows, record_indices, strict=True)
            if (prompt := _prompt(row))
        ]
        self.last_step = -1

    def on_evaluate(self, args: Any, state: Any, control: Any, model: Any = None, **more: Any) -> None:
        """Answer the prompts."""
        self._answer(state, model)

    def on_train_end(self, args: Any, state: Any, control: Any, model: Any = None, **more: Any) -> None:
        """Answer the prompts, unless that was done at this step."""
        self._answer(state, model)

    def _answer(self, state: Any, model: Any) -> None:
        if not state.is_world_process_zero or model is None or state.global_step == self.last_step:
            return
        self.last_step = state.global_step
        stops = stop_ids_of(model)
        answers = generate(model, [prompt for _, _, prompt in self.prompts], max_tokens=self.max_tokens)
        for (index, where, prompt), ids in zip(self.prompts, answers, strict=True):
            line = {
                "step": state.global_step,
                "record": index,
                "where": where,
                "prompt": self._text(prompt),
                "text": self._text(ids),
                "ids": ids,
                "stopped": bool(ids) and ids[-1] in stops,
            }
            self.run.append(SAMPLES, line)

    def _text(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.backend.decode(list(ids), skip_special_tokens=False))


def _prompt(row: TrainRow) -> list[int]:
    first = next((index for index, label in enumerate(row.labels) if label != IGNORE_INDEX), 0)
    return row.input_ids[:first]
