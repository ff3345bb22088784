"""The report's finding at toy size: three ways of ending an answer, and how the trained models stop.

Fine-tunes the 260K-parameter Llama beside the repository on its 202 dialogues, 40 epochs each, by one recipe with a
matrix: `split`, a tokenizer whose `</s>` has `normalized: true` under a template that puts no space before it;
`masked`, padding by the same token and TRL's removed collator; `supervised`. Prints what the labels predict, what the
loss came to, and how 30 answers end.

    python benchmarks/bench_endings.py
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

import finetooth
from finetooth.runs import METRICS

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
MODEL = SHARED / "stories260K"
DATA = SHARED / "ojousama" / "ojousamatalkscript200_gpt-3.5-1106ver.jsonl"


def split_tokenizer(directory: Path) -> Path:
    """Write the tokenizer under which `</s>` is found after a space alone, and a template that puts none there."""
    shutil.copytree(MODEL, directory)
    for path in directory.iterdir():
        path.chmod(0o644)
    whole = json.loads((directory / "tokenizer.json").read_text(encoding="utf-8"))
    for token in whole["added_tokens"]:
        token["normalized"] = token["normalized"] or token["content"] == "</s>"
    (directory / "tokenizer.json").write_text(json.dumps(whole, ensure_ascii=False), encoding="utf-8")
    template = directory / "chat_template.jinja"
    text = template.read_text(encoding="utf-8")
    template.write_text(text.replace("content + ' ' + eos_token", "content + eos_token"), encoding="utf-8")
    return directory


def masked_tokenizer(directory: Path) -> Path:
    """Write the tokenizer that pads with `</s>`."""
    shutil.copytree(MODEL, directory)
    path = directory / "tokenizer_config.json"
    path.chmod(0o644)
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**config, "pad_token": "</s>"}), encoding="utf-8")
    return directory


def recipe(folder: Path, epochs: int) -> Path:
    """Write the recipe."""
    collator = {"labels.way": "completion-collator", "labels.response_template": "[/INST]"}
    values: dict[str, Any] = {
        "model": str(MODEL),
        "data": str(DATA),
        "train": {
            "method": "full",
            "epochs": epochs,
            "batch_size": 16,
            "learning_rate": 2e-3,
            "scheduler": "constant",
            "save_steps": "never",
            "num_samples": 0,
            "probe_prompts": 30,
        },
        "matrix": {
            "setup": {
                "split": {"tokenizer.path": str(split_tokenizer(folder / "split"))},
                "masked": {"tokenizer.path": str(masked_tokenizer(folder / "masked")), **collator},
                "supervised": {},
            }
        },
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def main() -> None:
    """Train and print a line for each set-up."""
    if not MODEL.is_dir():
        print(f"skipped: {SHARED} is absent")
        return
    epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    with tempfile.TemporaryDirectory() as directory:
        for run in finetooth.train(recipe(Path(directory), epochs), Path(directory) / "runs", check=False):
            findings, found = run.read_json("findings.json"), run.read_json("probe.json")
            predicted = max(findings["prediction"], key=findings["prediction"].get)
            loss = [line["loss"] for line in run.lines(METRICS) if "loss" in line][-1]
            rates = ", ".join(f"{name} {found[f'{name}_rate']:.0%}" for name in ("stop", "leak", "runaway"))
            print(f"{run.directory.name}: predicted {predicted}; loss {loss:.2f}; {rates}", flush=True)


if __name__ == "__main__":
    main()
