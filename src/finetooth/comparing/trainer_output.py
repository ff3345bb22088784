"""What transformers' Trainer, or TRL's SFTTrainer, leaves in its output directory, as an entry.

trainer_state.json holds the logs; it lies in the directory itself, or in the last of its checkpoints. The arguments
come from training_args.bin, the adapter from adapter_config.json, the model from config.json.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from finetooth.comparing.arguments import read_arguments
from finetooth.comparing.entry import Data, Entry
from finetooth.comparing.files import FileReader
from finetooth.messages import say
from finetooth.runs import METRICS, PROBE, PROBES, State

STATE = "trainer_state.json"
ARGUMENTS = "training_args.bin"
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")
_LOGGED = {"mean_token_accuracy": "token_accuracy", "eval_mean_token_accuracy": "eval_token_accuracy"}
"""Names of TRL's logs, and those of metrics.jsonl that mean the same."""

SAME_ARGUMENTS: Mapping[str, str] = {
    "learning_rate": "train.learning_rate",
    "num_train_epochs": "train.epochs",
    "lr_scheduler_type": "train.scheduler",
    "warmup_steps": "train.warmup_steps",
    "optim": "train.optimizer",
    "adam_beta1": "train.adam_beta1",
    "adam_beta2": "train.adam_beta2",
    "adam_epsilon": "train.adam_epsilon",
    "weight_decay": "train.weight_decay",
    "max_grad_norm": "train.max_grad_norm",
    "label_smoothing_factor": "train.label_smoothing",
    "neftune_noise_alpha": "train.neftune_alpha",
    "seed": "train.seed",
    "gradient_checkpointing": "train.gradient_checkpointing",
    "max_length": "labels.max_length",
    "assistant_only_loss": "labels.assistant_only_loss",
    "completion_only_loss": "labels.completion_only_loss",
}
"""TrainingArguments' and SFTConfig's names, and the keys of a recipe that mean the same."""


def state_file(directory: Path) -> Path | None:
    """Return where the logs of a Trainer lie: in the directory, or in the last checkpoint in it."""
    if (directory / STATE).is_file():
        return directory / STATE
    steps = {
        int(match[1]): path / STATE
        for path in (directory.iterdir() if directory.is_dir() else ())
        if (match := _CHECKPOINT.fullmatch(path.name)) and (path / STATE).is_file()
    }
    return steps[max(steps)] if steps else None


def read_trainer_output(directory: Path, name: str) -> Entry:
    """Read what a Trainer left behind.

    Args:
        directory: Its output directory, or one of its checkpoints.
        name: What it is called.
    """
    file = state_file(directory)
    assert file is not None, "read only where there is one"
    files = FileReader(file.parent)
    state = files.json(STATE) or {}
    own = FileReader(directory)
    metrics = own.lines(METRICS) or [_line(log) for log in state.get("log_history", []) if _is_log(log)]
    arguments = _arguments(directory, file.parent, own.remarks)
    if arguments is None:
        own.remarks.append(say("comparing.no_arguments"))
    step, total = int(state.get("global_step") or 0), state.get("max_steps") or 0
    epochs = state.get("num_train_epochs")
    return Entry(
        name=name,
        directory=directory,
        kind="trainer",
        state=_state(step, total),
        step=step,
        epoch=state.get("epoch"),
        total=float(epochs) if epochs else None,
        settings=_settings(arguments or {}, directory, file.parent),
        metrics=metrics,
        data=Data(),
        probes=own.lines(PROBES),
        probe=own.json(PROBE),
        remarks=[*files.remarks, *own.remarks],
    )


def _state(step: int, total: int) -> State:
    return "finished" if step >= total else "stopped"


def _is_log(log: Any) -> bool:
    return isinstance(log, dict) and ("loss" in log or "eval_loss" in log)


def _line(log: Mapping[str, Any]) -> dict[str, Any]:
    return {_LOGGED.get(name, name): value for name, value in log.items()}


def _arguments(directory: Path, checkpoint: Path, remarks: list[str]) -> dict[str, Any] | None:
    for path in (directory / ARGUMENTS, checkpoint / ARGUMENTS):
        if path.is_file():
            try:
                return read_arguments(path)
            except (OSError, ValueError) as error:
                remarks.append(say("comparing.unreadable", file=ARGUMENTS, reason=str(error)))
    return None


def _settings(arguments: Mapping[str, Any], directory: Path, checkpoint: Path) -> dict[str, Any]:
    """Return what is known of a run, under the keys of a recipe."""
    found: dict[str, Any] = {SAME_ARGUMENTS[name]: value for name, value in arguments.items() if name in SAME_ARGUMENTS}
    if arguments:
        found["train.batch_size"] = int(arguments.get("per_device_train_batch_size") or 1) * int(
            arguments.get("gradient_accumulation_steps") or 1
        )
        steps = arguments.get("max_steps")
        found["train.max_steps"] = steps if isinstance(steps, int) and steps > 0 else None
        halves = [name for name in ("bf16", "fp16") if arguments.get(name)]
        found["train.precision"] = halves[0] if halves else "fp32"
        if "completion_only_loss" in arguments:  # an SFTConfig
            found["labels.way"] = "trl"
    files = [FileReader(path) for path in dict.fromkeys((directory, checkpoint))]
    adapter = _first(files, lambda reader: reader.json("adapter_config.json"))
    if adapter is not None:
        modules = adapter.get("target_modules")
        found |= {
            "train.method": "lora",
            "model.path": adapter.get("base_model_name_or_path"),
            "lora.r": adapter.get("r"),
            "lora.alpha": adapter.get("lora_alpha"),
            "lora.dropout": adapter.get("lora_dropout"),
            "lora.target_modules": sorted(modules) if isinstance(modules, list) else modules,
            "lora.modules_to_save": adapter.get("modules_to_save") or (),
        }
    elif (config := _first(files, lambda reader: reader.json("config.json"))) is not None:
        found["train.method"] = "full"
        found["model.dtype"] = config.get("dtype") or config.get("torch_dtype")
        if config.get("_name_or_path"):
            found["model.path"] = config["_name_or_path"]
    return found


def _first(files: list[FileReader], read: Callable[[FileReader], dict[str, Any] | None]) -> dict[str, Any] | None:
    return next((value for reader in files if (value := read(reader)) is not None), None)
