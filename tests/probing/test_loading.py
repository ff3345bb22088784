"""Which model a user means by a path."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetooth.errors import ConfigError
from finetooth.probing.loading import model_path


def test_a_run_stands_for_its_model_and_several_for_none(tmp_path: Path) -> None:
    for name in ("second", "first"):
        (tmp_path / "runs" / name / "model").mkdir(parents=True)
    assert model_path(tmp_path / "runs" / "first") == str(tmp_path / "runs" / "first" / "model")
    with pytest.raises(ConfigError, match="one model is meant: first, second"):
        model_path(tmp_path / "runs")
    assert model_path("org/name") == "org/name"
    (tmp_path / "runs" / "config.json").write_text("{}")
    assert model_path(tmp_path / "runs") == str(tmp_path / "runs")
