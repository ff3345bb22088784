"""`ProbeCallback`: how a model's answers end while it is trained, asked the same prompts every few steps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from transformers import TrainerCallback

from finetooth.probing.probe import probe_model
from finetooth.probing.prompts import Prompt
from finetooth.probing.report import RATES, ProbeReport
from finetooth.runs import PROBES, Run
from finetooth.tokenizer import Tokenizer


class ProbeCallback(TrainerCallback):  # type: ignore[misc]
    """Lets the model answer fixed prompts every so many steps, and adds the rates to probes.jsonl.

        trainer.add_callback(ProbeCallback(prompts, tokenizer, every=50, output="outputs"))

    Args:
        prompts: What is asked, every time; `prompts_of_data` and `prompts_of_lines` make them.
        tokenizer: Reads the answers.
        every: Steps between two probes, or `epoch`.
        output: The directory of probes.jsonl.
        max_new_tokens: Where an answer is cut; see `probe_model`.
    """

    def __init__(
        self,
        prompts: Sequence[Prompt],
        tokenizer: Tokenizer,
        *,
        every: int | Literal["epoch"],
        output: str | Path,
        max_new_tokens: int | None = None,
    ) -> None:
        self.prompts = list(prompts)
        self.tokenizer = tokenizer
        self.every = every
        self.run = Run(Path(output))
        self.max_new_tokens = max_new_tokens
        self.last_step = -1

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **more: Any) -> None:
        """Ask before the first step: what the model did untaught."""
        if state.global_step == 0:
            self._ask(state, model)

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **more: Any) -> None:
        """Ask at every so manieth step, and at the last."""
        is_due = self.every != "epoch" and state.global_step % self.every == 0
        if is_due or state.global_step >= state.max_steps:
            self._ask(state, model)

    def on_epoch_end(self, args: Any, state: Any, control: Any, model: Any = None, **more: Any) -> None:
        """Ask after an epoch."""
        if self.every == "epoch":
            self._ask(state, model)

    def _ask(self, state: Any, model: Any) -> None:
        if not state.is_world_process_zero or model is None or not self.prompts or state.global_step == self.last_step:
            return
        self.last_step = state.global_step
        report = probe_model(
            model,
            self.tokenizer,
            self.prompts,
            name=str(self.run.directory),
            max_new_tokens=self.max_new_tokens,
        )
        self.run.append(PROBES, probe_line(report, step=state.global_step, epoch=state.epoch))


def probe_line(report: ProbeReport, *, step: int, epoch: float | None) -> dict[str, Any]:
    """Return the line of probes.jsonl that a probe gives."""
    return {
        "step": step,
        "epoch": None if epoch is None else round(epoch, 6),
        "num_prompts": report.num_prompts,
        **{f"{name}_rate": report.rate(name) for name in RATES},
        "outcomes": dict(report.outcomes),
    }
