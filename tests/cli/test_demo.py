from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from finetooth.cli import demo
from finetooth.cli.help import columns
from tests.cli.conftest import Finetooth


@pytest.mark.parametrize("lang", ["en", "ja"])
@pytest.mark.parametrize("width", [40, 80, 100, 200])
def test_prose_fits_and_commands_stay_whole(
    finetooth: Finetooth, monkeypatch: pytest.MonkeyPatch, width: int, lang: str
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    result = finetooth("demo", "--no-train", "--lang", lang)
    assert result.code == 0
    lines = result.out.splitlines()
    commands = [line for line in lines if " --model " in line]
    assert len(commands) == 4
    rest = [line for line in lines if line not in commands]
    assert [line for line in rest if columns(line) > width] == []
    assert [line for line in rest if line.lstrip().startswith(("。", "、", "）")) or line.endswith("（")] == []
    assert ("an\nswer" in result.out) is False
    for ending in ("999, 308, 267", "326, 1258, 318", "1258, 318, 2"):
        assert f"… {ending}" in result.out


def test_the_next_command_works_as_written(finetooth: Finetooth, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    out = finetooth("demo", "--no-train", "--lang", "en").out
    command = next(line.strip() for line in out.splitlines() if line.endswith(" --ids"))
    program, *arguments = shlex.split(command)
    assert program == "finetooth"
    result = finetooth(*arguments)
    assert result.code == 0
    assert "999" in result.out


def test_the_program_is_named_as_it_was_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.chdir(tmp_path)
    for started in (".venv/bin/finetooth", str(tmp_path / ".venv/bin/finetooth")):
        monkeypatch.setattr(sys, "argv", [started, "demo"])
        assert demo.program() == ".venv/bin/finetooth"
    monkeypatch.setattr(sys, "argv", ["src/finetooth/__main__.py", "demo"])
    monkeypatch.setattr(sys, "executable", str(tmp_path / "my venv/bin/python"))
    assert demo.program() == "'my venv/bin/python' -m finetooth"
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    assert demo.program() == "finetooth"


def test_the_story_is_told_to_its_end(finetooth: Finetooth) -> None:
    out = finetooth("demo", "--no-train", "--lang", "en").out
    assert "split       LAB001 split-eos in 298 of 298 records" in out
    assert "masked      LAB002 masked-eos in 298 of 298 records" in out
    assert "supervised  nothing wrong" in out
    assert out.count("0 of 298 before, 298 after") == 2


def test_without_torch_the_rest_is_told_of(finetooth: Finetooth, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "can_train", lambda: False)
    result = finetooth("demo", "--lang", "en")
    assert result.code == 0
    assert "pip install 'finetooth[train]'" in result.out


def test_what_is_no_demo_is_left_alone(finetooth: Finetooth, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "recipe.yaml").write_text("model: my-model\n")
    result = finetooth("demo", "--lang", "en", "-o", "mine")
    assert result.code == 2
    assert "holds something else than a demo" in result.err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["recipe.yaml"]


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_three_runs_and_one_comparison(finetooth: Finetooth, tmp_path: Path) -> None:
    """A hundredth of the demo: everything but the learning. A second one takes the place of the first."""
    pytest.importorskip("torch")
    for _ in range(2):
        result = finetooth("demo", "--lang", "en", "--epochs", "0.1", "-o", "here")
        assert result.code == 0
        assert "How the answers end" in result.out
    assert {path.name for path in (tmp_path / "here" / "runs").iterdir()} == {"split", "masked", "supervised"}
    assert "<svg" in (tmp_path / "here" / "comparison.html").read_text(encoding="utf-8")
    for language, title in (("en", "Progress report"), ("ja", "進捗報告")):
        page = (tmp_path / "here" / f"report.{language}.html").read_text(encoding="utf-8")
        assert title in page and "example.jsonl" in page and "<math" in page
    command = next(line.strip() for line in result.out.splitlines() if " compare " in line)
    assert finetooth(*shlex.split(command)[shlex.split(command).index("compare") :]).code == 0
