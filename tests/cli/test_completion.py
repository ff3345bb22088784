from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Finetooth

ENVIRON = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def completed(line: str, tmp_path: Path) -> list[str]:
    """Return what bash would offer for a command line whose last word is being typed."""
    words = line.split(" ")
    script = f"""
    eval "$(finetooth completion bash)"
    COMP_WORDS=({" ".join(repr(word) for word in words)}); COMP_CWORD={len(words) - 1}
    _finetooth_completion finetooth
    printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    process = subprocess.run(
        ["bash", "--norc", "-c", script], capture_output=True, text=True, env=ENVIRON, cwd=tmp_path, check=True
    )
    assert process.stderr == ""
    return process.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is absent")
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("finetooth con", ["config"]),
        ("finetooth completion ", ["bash", "zsh", "fish"]),
        ("finetooth --la", ["--lang"]),
        ("finetooth config --format j", ["json"]),
        ("finetooth config --set labels.max", ["labels.max_length="]),
    ],
)
def test_bash_completes(line: str, offered: list[str], tmp_path: Path) -> None:
    assert completed(line, tmp_path) == offered


@pytest.mark.parametrize(
    ("shell", "first", "last"),
    [
        ("bash", "_finetooth_completion() {", """#   echo 'eval "$(finetooth completion bash)"' >> ~/.bashrc"""),
        ("zsh", "#compdef finetooth", """#   echo 'eval "$(finetooth completion zsh)"' >> ~/.zshrc"""),
        ("fish", "function _finetooth_completion;", "#   finetooth completion fish > ~/.config/fish/completions/"),
    ],
)
def test_the_script_says_how_it_is_installed(finetooth: Finetooth, shell: str, first: str, last: str) -> None:
    result = finetooth("completion", shell)
    lines = result.out.splitlines()
    assert (result.code, result.err, lines[0]) == (0, "", first)
    assert lines[-1].startswith(last)


def test_an_unknown_shell(finetooth: Finetooth) -> None:
    assert finetooth("completion", "bsh").err == (
        "error: invalid value `bsh` for `shell`\n --> finetooth completion\nhelp: did you mean `bash`?\n"
    )
