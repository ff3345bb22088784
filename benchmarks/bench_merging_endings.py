"""A merge of a child that leaks its terminator with one that stops: what the check says before, and the probe after.

Two children of the 260K-parameter Llama beside the repository, fine-tuned on its 202 dialogues by the recipe of
`bench_endings.py`: one whose tokenizer cuts `</s>`, one that is right. They are merged by slerp on the way from the one
that stops to the one that leaks. Prints the findings of MRG002 before a weight is merged, and how 30 answers of parents
and merges end.

    python benchmarks/bench_merging_endings.py [EPOCHS]
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import yaml
from bench_endings import DATA, MODEL, SHARED, recipe

import finetooth
from finetooth.checking import Report
from finetooth.merging.trial import Trial


def main() -> None:
    """Train, check, merge and probe."""
    if not MODEL.is_dir():
        print(f"skipped: {SHARED} is absent")
        return
    epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        path = recipe(root, epochs)
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        del values["matrix"]["setup"]["masked"]
        path.write_text(yaml.safe_dump(values), encoding="utf-8")
        runs = {run.directory.name: run for run in finetooth.train(path, root / "runs", check=False)}
        leaking, stopping = (next(run for name, run in runs.items() if word in name) for word in ("split", "superv"))
        for name, run in {"stops": stopping, "leaks": leaking}.items():
            found = run.read_json("probe.json")
            print(f"parent that {name}: stop {found['stop_rate']:.0%}, leak {found['leak_rate']:.0%}", flush=True)
        for t in (0.25, 0.5, 0.75):
            told = merged(stopping.directory / "model", leaking.directory / "model", t, root / f"merged-{t}")
            after = finetooth.probe(root / f"merged-{t}", data=DATA, limit=30)
            print(f"t {t}: {told}; probe: stop {after.rate('stop'):.0%}, leak {after.rate('leak'):.0%}", flush=True)


def merged(first: Path, second: Path, t: float, output: Path) -> str:
    """Merge two models; return what was told before and after."""
    reports: list[Report] = []
    trials: list[Trial] = []

    def on_merged(try_out: Callable[[], Trial]) -> None:
        trials.append(try_out())

    config = {
        "merge_method": "slerp",
        "base_model": str(first),
        "models": [{"model": str(second)}],
        "parameters": {"t": t},
    }
    finetooth.merge(config, output, on_report=reports.append, on_merged=on_merged)
    found = (f"{one.code} {one.severity} {one.cause.code if one.cause else ''}" for one in reports[0].findings)
    return f"check: {', '.join(found) or 'nothing'}; trial: {', '.join(trials[0].faults) or 'well'}"


if __name__ == "__main__":
    main()
