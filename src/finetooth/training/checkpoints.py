"""Checkpoints that are written whole or not at all, in anyone's Trainer."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import Trainer

from finetooth.errors import TrainingError
from finetooth.messages import say
from finetooth.runs import STAGED_CHECKPOINTS, Run

_Base: Any = Trainer if TYPE_CHECKING else object

_WRITERS = ("PytorchStreamWriter", "inline_container")
"""What stands in torch's errors when a file could not be written."""


class WholeCheckpoints(_Base):  # type: ignore[misc]
    """Makes a Trainer write each checkpoint aside, and rename it once everything is on the disk."""

    def _pause(self) -> contextlib.AbstractContextManager[None]:
        """Return what leaves the time of saving out of rates."""
        return contextlib.nullcontext()

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Save a checkpoint, whole or not at all: it is written aside, and renamed once everything is on the disk."""
        with self._pause():
            run_dir = Path(self._get_output_dir(trial=trial))
            stage = run_dir / STAGED_CHECKPOINTS
            name = f"checkpoint-{self.state.global_step}"
            best = self.state.best_model_checkpoint
            output_dir = self.args.output_dir
            try:
                if self.args.should_save:
                    shutil.rmtree(stage, ignore_errors=True)
                self.accelerator.wait_for_everyone()
                self.args.output_dir = str(stage)
                super()._save_checkpoint(model, trial)
                self.args.output_dir = output_dir
                self._name_best(run_dir, name, best)
                self.accelerator.wait_for_everyone()
                if self.args.should_save:
                    self.state.save_to_json(str(stage / name / "trainer_state.json"))
                    _install(stage / name, run_dir / name)
            except OSError as error:
                raise _not_saved(name, error.strerror or str(error), run_dir) from error
            except Exception as error:
                # safetensors and torch have errors of their own for a disk that takes no more: torch's says only that
                # its file is not as long as what was written.
                if type(error).__name__ == "SafetensorError" or any(word in str(error) for word in _WRITERS):
                    raise _not_saved(name, str(error), run_dir) from error
                raise
            finally:
                self.args.output_dir = output_dir
                if self.args.should_save:
                    shutil.rmtree(stage, ignore_errors=True)
            if self.args.should_save and self.args.save_total_limit:
                _remove_older(run_dir, self.args.save_total_limit, self.state.best_model_checkpoint)

    def _name_best(self, run_dir: Path, name: str, before: str | None) -> None:
        """Name the best checkpoint by the place where it will lie: Trainer has looked beside the staged one."""
        best_name = f"checkpoint-{self.state.best_global_step}"
        lies_there = bool(self.state.best_global_step) and (best_name == name or (run_dir / best_name).is_dir())
        self.state.best_model_checkpoint = str(run_dir / best_name) if lies_there else before


def _install(staged: Path, final: Path) -> None:
    """Give a checkpoint its name, once its files are on the disk."""
    for path in staged.rglob("*"):
        if path.is_file():
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
    if final.exists():
        shutil.rmtree(final)
    os.replace(staged, final)


def _remove_older(run_dir: Path, limit: int, best: str | None) -> None:
    """Remove checkpoints before the last ones, but for the best."""
    for checkpoint in list(Run(run_dir).checkpoints().values())[:-limit]:
        if best is None or checkpoint != Path(best):
            shutil.rmtree(checkpoint)


def _not_saved(name: str, reason: str, run_dir: Path) -> TrainingError:
    return TrainingError(
        say("training.not_saved", name=name, reason=reason), where=str(run_dir), help=say("training.not_saved_help")
    )
