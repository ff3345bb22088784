"""The report's finding at toy size, by one `train` and one `compare`; then four more ways of ending, predicted first.

Fine-tunes the 260K-parameter Llama beside the repository on its 202 dialogues, 40 epochs each, by one recipe with a
matrix, asks 30 prompts of each model, and prints the comparison.

    split         a tokenizer whose `</s>` has `normalized: true`, and a template that puts no space before it
    masked        padding by the same token, and TRL's removed collator
    supervised    the model as it is
    absent        a template that writes no `</s>`
    cut           a limit of length that falls into the answers
    no-stop       a generation configuration that stops at another token
    other-prompt  `supervised` again, asked under the ChatML template

    python benchmarks/bench_endings.py [--epochs 40] [--report]       # --report: the first three alone
    python benchmarks/bench_endings.py --keep runs                    # keep the runs, the page and the picture there
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

import finetooth
from finetooth.config import config_of
from finetooth.runs import PROBE

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
MODEL = SHARED / "stories260K"
DATA = SHARED / "ojousama" / "ojousamatalkscript200_gpt-3.5-1106ver.jsonl"
NUM_PROMPTS = 30
CUT_AT = 180
"""Tokens: 196 of the 202 rows are longer, and nearly all of their prompts shorter."""
END = "content + ' ' + eos_token"
"""How the model's template ends an answer."""


def copy_model(directory: Path) -> Path:
    """Copy the model, so that one of its files can be changed."""
    shutil.copytree(MODEL, directory)
    for path in directory.iterdir():
        path.chmod(0o644)
    return directory


def edit_json(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Change a file of JSON."""
    values = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(change(values), ensure_ascii=False), encoding="utf-8")


def edit_end(directory: Path, end: str) -> None:
    """Have the template end an answer otherwise."""
    path = directory / "chat_template.jinja"
    text = path.read_text(encoding="utf-8")
    assert END in text, f"{path} ends answers in another way"
    path.write_text(text.replace(END, end), encoding="utf-8")


def split_tokenizer(directory: Path) -> Path:
    """Write the tokenizer under which `</s>` is found after a space alone, and a template that puts none there."""

    def normalize(tokenizer: dict[str, Any]) -> dict[str, Any]:
        for token in tokenizer["added_tokens"]:
            token["normalized"] = token["normalized"] or token["content"] == "</s>"
        return tokenizer

    edit_json(copy_model(directory) / "tokenizer.json", normalize)
    edit_end(directory, "content + eos_token")
    return directory


def masked_tokenizer(directory: Path) -> Path:
    """Write the tokenizer that pads with `</s>`."""
    edit_json(copy_model(directory) / "tokenizer_config.json", lambda config: {**config, "pad_token": "</s>"})
    return directory


def endless_tokenizer(directory: Path) -> Path:
    """Write the tokenizer whose template ends no answer."""
    edit_end(copy_model(directory), "content")
    return directory


def unstopped_model(directory: Path) -> Path:
    """Write the model whose generation stops at `<unk>`, which nothing teaches."""
    edit_json(copy_model(directory) / "generation_config.json", lambda config: {**config, "eos_token_id": 0})
    edit_json(directory / "config.json", lambda config: {**config, "eos_token_id": 0})
    return directory


def recipe(folder: Path, *, epochs: int, only_report: bool) -> Path:
    """Write the recipe."""
    collator = {"labels.way": "completion-collator", "labels.response_template": "[/INST]"}
    setups: dict[str, dict[str, Any]] = {
        "split": {"tokenizer.path": str(split_tokenizer(folder / "split"))},
        "masked": {"tokenizer.path": str(masked_tokenizer(folder / "masked")), **collator},
        "supervised": {},
    }
    if not only_report:
        setups |= {
            "absent": {"tokenizer.path": str(endless_tokenizer(folder / "absent"))},
            "cut": {"labels.max_length": CUT_AT},
            "no-stop": {"model.path": str(unstopped_model(folder / "no-stop"))},
        }
    values: dict[str, Any] = {
        "model": str(MODEL),
        "data": str(DATA),
        "train": {
            "method": "full",
            "epochs": epochs,
            "batch_size": 16,
            "learning_rate": 2e-3,
            "logging_steps": 13,
            "save_steps": "never",
            "num_samples": 0,
            "probe_prompts": NUM_PROMPTS,
        },
        "matrix": {"setup": setups},
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return path


def ask_under_another_template(run: Path, copy: Path) -> None:
    """Copy a run, and probe it under ChatML."""
    shutil.copytree(run, copy)
    config = config_of({"tokenizer.template": "chatml"})
    report = finetooth.probe(copy, data=str(DATA), limit=NUM_PROMPTS, config=config)
    (copy / PROBE).write_text(json.dumps(report.to_json(), ensure_ascii=False), encoding="utf-8")


def main() -> None:
    """Train, compare, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--report", action="store_true", help="the report's three set-ups alone")
    parser.add_argument("--keep", type=Path, help="where the runs are kept")
    given = parser.parse_args()
    if not MODEL.is_dir():
        print(f"skipped: {SHARED} is absent")
        return
    with tempfile.TemporaryDirectory() as directory:
        runs = Path(given.keep or directory) / "runs"
        finetooth.train(recipe(Path(directory), epochs=given.epochs, only_report=given.report), runs, check=False)
        if not given.report:
            ask_under_another_template(runs / "supervised", runs / "other-prompt")
        comparison = finetooth.compare(runs)
        print(comparison)
        for entry in comparison.entries:
            counts = entry.outcomes or {}
            name, share = entry.predicted or (None, 0.0)
            measured = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count)
            verdict = {True: "right", False: "wrong", None: "?"}[entry.as_predicted]
            loss = entry.final("loss") or float("nan")
            print(f"{entry.name:<13} loss {loss:.2f}; predicted {name} ({share:.0%}); measured {measured}: {verdict}")
        if given.keep:
            for file in ("comparison.html", "comparison.png"):
                comparison.write(given.keep / file)


if __name__ == "__main__":
    main()
