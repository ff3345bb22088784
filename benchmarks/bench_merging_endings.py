"""The report's next step at toy size: models that speak alike are merged, and one that leaks with one that stops.

Fine-tunes the 260K-parameter Llama beside the repository on either half of its 202 dialogues, merges the two by
linear, slerp and TIES, and prints the loss on each half and how answers end, of parents and children. Then a child
whose `</s>` is cut into pieces is merged with one that stops: what the check says beforehand, and what came of it.

    python benchmarks/bench_merging_endings.py [--epochs 80]
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from bench_endings import DATA, MODEL, SHARED, split_tokenizer

import finetooth
from finetooth.checking import Report
from finetooth.merging.sweeping.measuring import Measures, measure

NUM_PROMPTS = 15
"""Of each half."""


def halves(folder: Path) -> dict[str, Path]:
    """Write every other dialogue into a file of its own."""
    rows = [line for line in DATA.read_text(encoding="utf-8").splitlines() if line.strip()]
    found = {}
    for number, name in enumerate(("a", "b")):
        found[name] = folder / f"{name}.jsonl"
        found[name].write_text("".join(f"{row}\n" for row in rows[number::2]), encoding="utf-8")
    return found


def recipe(folder: Path, data: Mapping[str, Path], epochs: int) -> Path:
    """Write the recipe of the children: one on each half, and one on the second half under the broken tokenizer."""
    values: dict[str, Any] = {
        "model": str(MODEL),
        "data": str(data["a"]),
        "train": {
            "method": "full",
            "epochs": epochs,
            "batch_size": 16,
            "learning_rate": 2e-3,
            "save_steps": "never",
            "num_samples": 0,
            "probe_prompts": NUM_PROMPTS,
        },
        "matrix": {
            "child": {
                "a": {"data.train": [str(data["a"])]},
                "b": {"data.train": [str(data["b"])]},
                "leaks": {
                    "data.train": [str(data["b"])],
                    "tokenizer.path": str(split_tokenizer(folder / "split")),
                },
            }
        },
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return path


def merges(base: Path, a: Path, b: Path) -> dict[str, dict[str, Any]]:
    """Return the merges of two children by name."""
    both = [{"model": str(a), "parameters": {"weight": 0.5}}, {"model": str(b), "parameters": {"weight": 0.5}}]
    dense = [{**one, "parameters": {"weight": 0.5, "density": 0.5}} for one in both]
    return {
        "linear": {"merge_method": "linear", "models": both},
        "slerp": {
            "merge_method": "slerp",
            "base_model": str(a),
            "models": [{"model": str(b)}],
            "parameters": {"t": 0.5},
        },
        "ties": {"merge_method": "ties", "base_model": str(base), "models": dense},
    }


def told(name: str, found: Mapping[str, Any]) -> str:
    """Return the line of a model."""
    losses = "  ".join(f"loss on {half} {loss:.2f}" for half, loss in found["losses"].items())
    return f"{name:<16} {losses}  stops {found['stop_rate']:4.0%}  shows </s> {found['leak_rate']:4.0%}"


def main() -> None:
    """Train, merge, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=80)
    given = parser.parse_args()
    if not MODEL.is_dir():
        print(f"skipped: {SHARED} is absent")
        return
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        data = halves(folder)
        finetooth.train(recipe(folder, data, given.epochs), folder / "runs", check=False)
        measures = Measures(data={name: str(path) for name, path in data.items()}, num_prompts=NUM_PROMPTS)
        children = {name: folder / "runs" / name / "model" for name in ("a", "b", "leaks")}
        for name, place in children.items():
            print(told(f"child {name}", measure(place, measures, name=name)), flush=True)
        for second in ("b", "leaks"):
            for name, config in merges(MODEL, children["a"], children[second]).items():
                warned: list[str] = []
                place = finetooth.merge(config, folder / f"{name}-{second}", on_report=partial(_note, warned))
                print(told(f"a + {second}, {name}", measure(place, measures, name=name)), flush=True)
                for finding in warned:
                    print(f"{'':<16} beforehand: {finding}", flush=True)


def _note(warned: list[str], report: Report) -> None:
    for finding in report.findings:
        cause = f" ({finding.cause.code})" if finding.cause else ""
        warned.append(f"{finding.severity} {finding.code} {finding.name}{cause}")


if __name__ == "__main__":
    main()
