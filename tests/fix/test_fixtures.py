"""No repair makes any fixture of the rules worse, none touches a good one, and twice is once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from finetooth.config import Config, LabelsConfig, TokenizerConfig
from finetooth.fix.repair import Repaired, repair
from finetooth.rules import all_rules
from tests.fix.stages import codes, write_rows
from tests.rules.fixtures import build_model, fixture_paths, load


def repair_on(stage: Path, data: Path, model: Path, config: Config) -> Repaired:
    stage.mkdir()
    return repair([str(data)], str(model), config, stage, rules=all_rules())


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "path",
    [pytest.param(p, id=f"{p.parent.name}/{p.stem}") for p in fixture_paths() if not p.parent.name.startswith("MRG")],
)
def test_fixture(path: Path, tmp_path: Path) -> None:
    fixture = load(path)
    model = build_model(fixture.get("model") or {}, tmp_path / "m")
    data = write_rows(tmp_path / "train.jsonl", fixture["rows"])
    labels: dict[str, Any] = {
        key: tuple(v) if isinstance(v, list) else v for key, v in (fixture.get("labels") or {}).items()
    }
    config = Config(
        tokenizer=TokenizerConfig(template=fixture.get("template"), loader=fixture.get("loader", "auto")),
        labels=LabelsConfig(**labels),
    )
    first = repair_on(tmp_path / "1", data, model, config)
    assert codes(first.after) <= codes(first.before)
    if path.name.startswith("good"):
        assert first.edits == ()
    if not first.edits:
        kept = {name: data for name, data in files_of(model).items() if name not in first.model.left_out}
        assert files_of(first.model.directory) == kept
        assert codes(first.after) == codes(first.before)
        return
    again = data if first.data is None else first.data.paths[0]
    second = repair_on(tmp_path / "2", again, first.model.directory, config)
    assert second.edits == ()
    assert files_of(second.model.directory) == files_of(first.model.directory)
