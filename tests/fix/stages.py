"""Models and data to repair, and repairs of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from finetooth.config import Config, LabelsConfig, TokenizerConfig
from finetooth.demo import tokenizer_path
from finetooth.fix.modelcopy import ModelCopy
from finetooth.fix.repair import Repaired, repair
from finetooth.fix.workbench import Workbench
from finetooth.records import read_records
from finetooth.rules import all_rules

Rows = Sequence[Mapping[str, Any]]

DIALOGUE = {"messages": [{"role": "user", "content": "紅茶は？"}, {"role": "assistant", "content": "好きですわ。"}]}


def demo(name: str, directory: Path, **files: Mapping[str, Any]) -> Path:
    """Copy a tokenizer of the demo, with keys merged into its JSON files (`config={"vocab_size": 9}`)."""
    shutil.copytree(tokenizer_path(name), directory)
    for path in directory.iterdir():
        path.chmod(0o644)
    for file, values in files.items():
        merge(directory / f"{file}.json", values)
    return directory


def merge(path: Path, values: Mapping[str, Any]) -> None:
    """Merge keys into a JSON file; `None` removes one."""
    old = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    new = {key: value for key, value in {**old, **values}.items() if value is not None}
    path.write_text(json.dumps(new, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def write_rows(path: Path, rows: Rows) -> Path:
    """Write rows as JSONL."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read JSONL."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def config_of(template: str | None = None, **labels: Any) -> Config:
    """Return a configuration with labels made in some way."""
    return Config(labels=LabelsConfig(**labels), tokenizer=TokenizerConfig(template=template))


def bench_of(model: Path, rows: Rows, folder: Path, template: str | None = None, **labels: Any) -> Workbench:
    """Return a workbench for a model and some rows."""
    config = config_of(template, **labels)
    data = write_rows(folder / "bench" / "train.jsonl", rows)
    return Workbench(
        copy=ModelCopy.make(model, folder / "bench" / "model"),
        config=config,
        model=str(model),
        read=lambda: read_records([str(data)], config.data),
        rules=all_rules(),
    )


def repaired(
    model: Path, rows: Rows, folder: Path, *, unsafe: bool = False, template: str | None = None, **labels: Any
) -> Repaired:
    """Repair a model and some rows."""
    data = write_rows(folder / "train.jsonl", rows)
    stage = folder / "stage"
    stage.mkdir()
    return repair([str(data)], str(model), config_of(template, **labels), stage, rules=all_rules(), unsafe=unsafe)


def codes(report: Any) -> set[str]:
    """Return the codes of what was found."""
    return {finding.code for finding in report.findings}


def names(one: Repaired) -> list[str]:
    """Return the names of the edits."""
    return [edit.name for edit in one.edits]
