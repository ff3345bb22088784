"""Run the console blocks of a document and compare what they show.

A block is fenced as ```console. A line that begins with `$ ` is a command, run in a copy of the repository's root; the
lines below it are its output. `...` alone on a line stands for any number of lines, and within a line for any text.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.sources import ROOT

RUN = {"finetooth", "cat", "echo", "head", "ls", "mkdir", "printf", "python"}
"""First words of commands that are run."""

NOT_RUN = {"cd", "export", "git", "make", "pip", "python3", "source", "uv"}
"""First words of commands that make the environment in which tests run already, or are tried elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A command of a block, and the output that the document shows."""

    line: int
    command: str
    shown: tuple[str, ...]

    @property
    def program(self) -> str:
        words = [word for word in self.command.split() if not re.match(r"[A-Z_]+=", word)]
        return words[0]


def steps(document: str) -> list[Step]:
    """Return the commands of all console blocks of a document."""
    found: list[Step] = []
    inside = False
    for number, line in enumerate(document.splitlines(), 1):
        if line.startswith("```"):
            inside = not inside and line.strip() == "```console"
        elif not inside:
            continue
        elif line.startswith("$ "):
            found.append(Step(line=number, command=line[2:], shown=()))
        else:
            assert found, f"line {number}: output without a command"
            last = found[-1]
            if last.command.endswith("\\"):
                found[-1] = Step(line=last.line, command=f"{last.command}\n{line.removeprefix('> ')}", shown=())
            else:
                found[-1] = Step(line=last.line, command=last.command, shown=(*last.shown, line))
    return found


def agrees(shown: Sequence[str], output: Sequence[str]) -> bool:
    """Return whether an output is as the document shows it."""
    expression = "".join(
        r"(?:[^\n]*\n)*?" if line.strip() == "..." else re.escape(line.rstrip()).replace(r"\.\.\.", r"[^\n]*?") + r"\n"
        for line in shown
    )
    return re.fullmatch(expression, "".join(f"{line.rstrip()}\n" for line in output)) is not None


def run(document: Path, folder: Path) -> Iterator[str]:
    """Run the steps of a document in a folder that shows the repository's files; yield what does not agree."""
    for entry in ROOT.iterdir():
        if not entry.name.startswith(".") and entry.name not in ("build", "dist", "demo-output"):
            (folder / entry.name).symlink_to(entry)
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("FINETOOTH_")},
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "LANG": "ja_JP.UTF-8" if ".ja." in document.name else "C.UTF-8",
        "PYTHONUTF8": "1",
        "COLUMNS": "100",
    }
    for step in steps(document.read_text(encoding="utf-8")):
        place = f"{document.name}:{step.line}: {step.command}"
        if step.program in NOT_RUN:
            continue
        if step.program not in RUN:
            yield f"{place}\nis neither run nor listed as not to be run"
            continue
        process = subprocess.run(
            ["bash", "-c", step.command],
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
        )
        # A block without output says only that the command works; 1 is findings.
        works = agrees(step.shown, process.stdout.splitlines()) if step.shown else process.returncode in (0, 1)
        if not works:
            yield f"{place}\nshows\n{chr(10).join(step.shown)}\nprints\n{process.stdout}"
