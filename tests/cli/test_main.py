from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from finetooth.cli import main as cli
from finetooth.cli.main import COMMANDS
from finetooth.cli.options import Invocation, argument, option, subcommand
from finetooth.errors import DataError
from finetooth.messages import say
from finetooth.version import __version__
from tests.cli.conftest import Finetooth


@subcommand("env")  # a name whose messages exist
@argument("what", help_key="cli_env.format")
@option("--number", type=int, help_key="cli_env.format")
def probe(invocation: Invocation, what: str, number: int | None) -> int | None:
    """Do what the test asks for."""
    match what:
        case "findings":
            return 1
        case "error":
            raise DataError("row is broken", where="a.jsonl:3", help="--set data.skip_broken=true")
        case "bare-error":
            raise DataError("row is broken")
        case "defect":
            raise ZeroDivisionError("by zero\nat all")
        case "interrupt":
            raise KeyboardInterrupt
        case "talk":
            invocation.talk("half way")
            click.echo(f"data {invocation.config.labels.way} {invocation.origin('labels.way')} {invocation.verbose}")
    return None


@pytest.fixture(autouse=True)
def with_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "COMMANDS", {**COMMANDS, "probe": (__name__, "probe")})


def test_version(finetooth: Finetooth) -> None:
    assert finetooth("--version") == (0, f"finetooth {__version__}\n", "")


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_lists_every_command(finetooth: Finetooth, flag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "COMMANDS", COMMANDS)
    result = finetooth(flag)
    assert (result.code, result.err) == (0, "")
    for name in COMMANDS:
        assert f"  {name} " in result.out
        assert say(f"cli.short_{name}").split()[0] in result.out


def test_no_arguments_show_help_as_an_error(finetooth: Finetooth, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "COMMANDS", COMMANDS)
    result = finetooth()
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("usage: finetooth")


@pytest.mark.parametrize("lines", [("--lang", "ja", "--help"), ("--help", "--lang=ja")])
def test_help_in_japanese(finetooth: Finetooth, lines: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "COMMANDS", COMMANDS)
    assert finetooth(*lines).out.startswith("使い方: finetooth")
    assert finetooth("--help").out.startswith("usage: finetooth")


def test_language_of_the_environment(finetooth: Finetooth, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETOOTH_LANG", "ja")
    assert finetooth("config", "--help").out.startswith("使い方:")
    assert finetooth("config", "--help", "--lang", "en").out.startswith("usage:")


def test_exit_codes(finetooth: Finetooth) -> None:
    assert finetooth("probe", "nothing").code == 0
    assert finetooth("probe", "findings").code == 1
    assert finetooth("probe", "error").code == 2


def test_an_error_has_three_lines_on_stderr(finetooth: Finetooth) -> None:
    assert finetooth("probe", "error") == (
        2,
        "",
        "error: row is broken\n --> a.jsonl:3\nhelp: --set data.skip_broken=true\n",
    )
    assert finetooth("probe", "bare-error").err == "error: row is broken\n"


def test_errors_in_colour(finetooth: Finetooth) -> None:
    assert finetooth("probe", "bare-error", "--color", "always").err == "\x1b[1;31merror:\x1b[0m row is broken\n"
    assert finetooth("--color=never", "probe", "bare-error").err == "error: row is broken\n"


def test_a_defect_is_told_apart(finetooth: Finetooth) -> None:
    result = finetooth("probe", "defect")
    assert result.code == 70
    assert result.err.startswith("error: finetooth itself failed: ZeroDivisionError: by zero\nhelp: ")
    assert "`-v`" in result.err
    assert "Traceback" not in result.err


@pytest.mark.parametrize("flags", [("-v", "probe", "defect"), ("probe", "defect", "--verbose")])
def test_a_defect_in_detail(finetooth: Finetooth, flags: tuple[str, ...]) -> None:
    assert "Traceback" in finetooth(*flags).err


def test_an_interrupt(finetooth: Finetooth) -> None:
    assert finetooth("probe", "interrupt") == (130, "", "\ninterrupted\n")


def test_common_options_on_either_side(finetooth: Finetooth) -> None:
    expected = "data trl --set True\n"
    assert finetooth("-v", "--set", "labels.way=trl", "probe", "talk").out == expected
    assert finetooth("probe", "-v", "talk", "--set", "labels.way=trl").out == expected
    # what stands later wins, whatever the side
    assert finetooth("--set", "labels.way=as-is", "probe", "-v", "talk", "--set", "labels.way=trl").out == expected


def test_quiet_leaves_the_data(finetooth: Finetooth) -> None:
    assert finetooth("probe", "talk").err == "half way\n"
    assert finetooth("-q", "probe", "talk") == (0, "data finetooth default False\n", "")


def test_the_language_of_a_file_is_spoken(finetooth: Finetooth, tmp_path: Path) -> None:
    (tmp_path / "finetooth.yaml").write_text("output:\n  lang: ja\n")
    assert finetooth("config", "labels.nothing").err.startswith("error: キー")
    assert finetooth("config", "labels.nothing", "--lang", "en").err.startswith("error: unknown key")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["confg"], "no such command `confg`\n --> finetooth\nhelp: did you mean `finetooth config`?"),
        (["zzz"], "no such command `zzz`\n --> finetooth\nhelp: finetooth --help"),
        (["--lagn", "ja"], "no such option `--lagn`\n --> finetooth\nhelp: did you mean `--lang`?"),
        (
            ["config", "--fromat", "json"],
            "no such option `--fromat`\n --> finetooth config\nhelp: did you mean `--format`?",
        ),
        (["config", "-z"], "no such option `-z`\n --> finetooth config\nhelp: finetooth config --help"),
        (
            ["config", "--format", "jso"],
            "invalid value `jso` for `--format`\n --> finetooth config\nhelp: did you mean `json`?",
        ),
        (["--lang", "fr", "env"], "invalid value `fr` for `--lang`\n --> finetooth\nhelp: it is one of en | ja"),
        (
            ["config", "--format"],
            "option `--format` needs a value\n --> finetooth config\nhelp: finetooth config --help",
        ),
        (["env", "--quiet=1"], "option `--quiet` takes no value\n --> finetooth env\nhelp: finetooth env --help"),
        (["config", "a", "b"], "unexpected argument `b`\n --> finetooth config\nhelp: finetooth config --help"),
        (["probe"], "missing argument `WHAT`\n --> finetooth probe\nhelp: finetooth probe --help"),
        (
            ["probe", "x", "--number", "y"],
            "invalid value for `--number`: 'y' is not a valid integer\n --> finetooth probe\n"
            "help: finetooth probe --help",
        ),
        (["-q"], "missing command\n --> finetooth\nhelp: finetooth --help"),
    ],
)
def test_what_the_command_line_is_refused_for(finetooth: Finetooth, arguments: list[str], error: str) -> None:
    assert finetooth(*arguments) == (2, "", f"error: {error}\n")


def test_several_errors_are_parted_by_blank_lines(finetooth: Finetooth) -> None:
    result = finetooth("config", "--set", "labels.wey=trl", "--set", "labels.way=x")
    assert result.code == 2
    assert [block.splitlines()[0] for block in result.err.split("\n\n")] == [
        "error: unknown key `labels.wey`",
        "error: `labels.way` cannot be `x`",
    ]


def run_process(command: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=cwd,
        env={**os.environ, "PATH": path, **environ},
    )


def test_a_reader_that_goes_away(tmp_path: Path) -> None:
    # The pipe is closed before anything is written, not somewhere along the way.
    command = "{ sleep 0.2; finetooth config --format json; echo ${?} >&2; } | true"
    assert run_process(command, tmp_path).stderr == "141\n"


def test_a_terminal_without_kanji(tmp_path: Path) -> None:
    result = run_process("finetooth config -h --lang ja", tmp_path, PYTHONIOENCODING="latin-1")
    assert result.returncode == 0
    assert result.stdout.startswith(r"\u4f7f\u3044\u65b9: finetooth config")


def test_as_a_module(tmp_path: Path) -> None:
    result = run_process("python -m finetooth --version", tmp_path)
    assert result.stdout == f"finetooth {__version__}\n"


@pytest.mark.parametrize(
    ("modules", "taken_apart"),
    [([], True), (["torch"], False), (["torch", "transformers.trainer"], True)],
    ids=["light", "torch", "trained"],
)
def test_the_end_of_a_process(modules: list[str], taken_apart: bool, tmp_path: Path) -> None:
    script = f"""
import atexit, sys, types

class Witness:
    def __del__(self):
        print("taken apart")

witness = Witness()
atexit.register(print, "at exit")
sys.modules |= dict.fromkeys({modules!r}, types.ModuleType("one"))
from finetooth.cli.main import run
sys.argv = ["finetooth", "rule", "nothing"]
sys.exit(run())
"""
    result = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, text=True, capture_output=True)
    assert result.returncode == 2
    assert "nothing" in result.stderr
    assert result.stdout == "at exit\n" + "taken apart\n" * taken_apart
