from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from finetooth.cli.main import main


class Result(NamedTuple):
    """What a run of the command line left behind."""

    code: int
    out: str
    err: str


Finetooth = Callable[..., Result]


@pytest.fixture
def finetooth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Finetooth:
    """Run the command line in an empty folder, where no configuration file is found."""
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Result:
        code = main(arguments)
        out, err = capsys.readouterr()
        return Result(code, out, err)

    return run
