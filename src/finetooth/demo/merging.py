"""The demo of merging: a base, two characters fine-tuned from it, and what lies between them.

One speaks as a young lady in Japanese, the other is her pen friend in English. Both are fine-tuned from one base that
has read a little of either, for only weights that have a common past can be mixed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from finetooth.demo import DIALOGUES, data_path
from finetooth.demo.training import MODEL, RUNS, begin, on_one_thread
from finetooth.merging.sweeping.axes import points_of
from finetooth.merging.sweeping.lines import Sweep
from finetooth.merging.sweeping.measuring import Measures
from finetooth.merging.sweeping.sweep import sweep
from finetooth.writing import whole_file

BASE, SWEEP = "base", "sweep"
BASE_EPOCHS, JA_EPOCHS, EN_EPOCHS = 24.0, 24.0, 50.0
"""So many that the base can stop and knows both languages, and that each fine-tune knows its own far better."""
NUM_PROMPTS = 15


def train_two(directory: Path, *, share: float, tell: Callable[[str], None]) -> dict[str, Path]:
    """Train the base and the two characters; returns the directories of the two runs by language.

    Args:
        directory: Where the demo works; what an earlier demo left there is written over.
        share: Of the epochs that it takes, for those in a hurry.
        tell: Told what is done, in sentences.

    Raises:
        FinetoothError: The directory holds something else.
    """
    from finetooth.training.running import train

    begin(directory)
    sources = {language: str(data_path(name)) for language, name in DIALOGUES.items()}
    shared: dict[str, Any] = {
        "method": "full",
        "batch_size": 16,
        "learning_rate": 3e-3,
        "logging_steps": 20,
        "save_steps": "never",
        "num_samples": 0,
        "probe_prompts": NUM_PROMPTS,
    }
    base = {
        "model": str(directory / MODEL),
        "data": {"train": list(sources.values())},
        "train": {**shared, "epochs": BASE_EPOCHS * share},
    }
    characters = {
        "model": str(directory / RUNS / BASE / MODEL),
        "train": {**shared, "learning_rate": 1e-3},
        "matrix": {
            "character": {
                "ja": {"data.train": [sources["ja"]], "train.epochs": JA_EPOCHS * share},
                "en": {"data.train": [sources["en"]], "train.epochs": EN_EPOCHS * share},
            }
        },
    }
    with on_one_thread():
        train(_written(directory / "base.yaml", base), directory / RUNS / BASE, check=False, tell=tell)
        runs = train(_written(directory / "characters.yaml", characters), directory / RUNS, check=False, tell=tell)
    return {run.directory.name: run.directory for run in runs}


def _written(path: Path, recipe: Mapping[str, Any]) -> Path:
    with whole_file(path) as file:
        yaml.safe_dump(dict(recipe), file, allow_unicode=True, sort_keys=False)
    return path


def merge_two(directory: Path, runs: Mapping[str, Path], *, tell: Callable[[str], None]) -> Sweep:
    """Try the way from one character to the other, and measure each step in both languages."""
    config = {
        "merge_method": "slerp",
        "base_model": str(runs["ja"] / MODEL),
        "models": [{"model": str(runs["en"] / MODEL)}],
    }
    measures = Measures(
        data={language: str(data_path(name)) for language, name in DIALOGUES.items()},
        num_prompts=NUM_PROMPTS,
        max_new_tokens=64,
        limit=60,
    )
    with on_one_thread():
        return sweep(config, directory / SWEEP, points_of(["t=0:1:0.25"]), measures, force=True, tell=tell)
