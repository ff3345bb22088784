"""Runs as they lie on disk, written by hand, for comparisons that train nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from finetooth.config import LabelsConfig, config_of
from finetooth.demo import DIALOGUES, data_path, tokenizer_path
from finetooth.examples import examples_of
from finetooth.inspection import open_records
from finetooth.labels import make_setup
from finetooth.runs import EXAMPLES, FINDINGS, FINGERPRINT, METRICS, MODEL, PROBE, RECIPE

DATA = str(data_path(DIALOGUES["ja"]))


def write_run(
    directory: Path,
    *,
    tokenizer: str = "supervised",
    losses: Sequence[float] = (4.0, 2.0, 1.0),
    outcome: str = "stops",
    answers: Sequence[str] = ("ごきげんよう。⟨</s>⟩",),
    prediction: str | None = None,
    data_hash: str = "d" * 64,
    num_records: int = 20,
    finished: bool = True,
    settings: Mapping[str, Any] | None = None,
    questions: Sequence[str] = ("お元気？",),
) -> Path:
    """Write the directory of a run with everything that a comparison reads."""
    directory.mkdir(parents=True)
    labels = (
        LabelsConfig(way="completion-collator", response_template="[/INST]")
        if tokenizer == "masked"
        else LabelsConfig()
    )
    recipe: dict[str, Any] = {
        "model": "base",
        "data": {"train": [DATA]},
        "tokenizer": {"path": str(tokenizer_path(tokenizer))},
        "labels": {"way": labels.way, "response_template": labels.response_template},
        "train": {"epochs": float(len(losses)), **(settings or {})},
    }
    (directory / RECIPE).write_text(yaml.safe_dump(recipe), encoding="utf-8")
    lines = [
        {"step": 10 * number, "epoch": float(number), "loss": loss, "p_eos_end": 0.5 * (outcome == "stops")}
        for number, loss in enumerate(losses, 1)
    ]
    (directory / METRICS).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    setup = make_setup(str(tokenizer_path(tokenizer)), config_of({}))
    setup = type(setup)(tokenizer=setup.tokenizer, template=setup.template, labels=labels)
    examples = examples_of(setup, open_records(DATA, config_of({}).data))
    (directory / EXAMPLES).write_text("".join(json.dumps(one.to_json()) + "\n" for one in examples), encoding="utf-8")
    shares = dict.fromkeys(("stops", "shows-literal", "runs-on"), 0.0) | {prediction or outcome: 1.0}
    _write(directory / FINDINGS, {"num_records": num_records, "prediction": shares, "findings": []})
    _write(directory / FINGERPRINT, {"data_hash": data_hash})
    _write(directory / PROBE, probe_of(outcome, answers, questions))
    if finished:
        (directory / MODEL).mkdir()
    return directory


def probe_of(outcome: str, answers: Sequence[str], questions: Sequence[str]) -> dict[str, Any]:
    """Return a probe.json in which every answer ended in the same way."""
    stops, leaks = outcome == "stops", outcome == "shows-literal"
    count = len(answers)
    rates = {"stop": stops, "leak": leaks, "runaway": not stops}
    return {
        "num_prompts": count,
        "mean_chars": sum(map(len, answers)) / count,
        "counts": {name: count * value for name, value in rates.items()},
        "outcomes": {name: count * (name == outcome) for name in ("stops", "shows-literal", "runs-on")},
        "intervals": {f"{name}_rate": [0.1, 0.9] for name in rates},
        "max_new_tokens": 32,
        "samples": [
            {
                "record": number,
                "question": questions[number % len(questions)],
                "text": answer,
                "shown": answer,
                "stopped": stops,
                "leaked": "</s>" if leaks else None,
            }
            for number, answer in enumerate(answers)
        ],
    }


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
