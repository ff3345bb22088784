"""Every console block of the README and the docs is run, and shows what is printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.console import agrees, run, steps
from tests.sources import ROOT, documents

WITH_BLOCKS = [path for path in documents() if steps(path.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("document", [pytest.param(path, id=str(path.relative_to(ROOT))) for path in WITH_BLOCKS])
def test_console_blocks(document: Path, tmp_path: Path) -> None:
    assert "\n\n".join(run(document, tmp_path)) == ""


DOCUMENT = """
```console
$ finetooth --version
finetooth 0.1.0
$ FINETOOTH_LANG=ja finetooth \\
> --help

```

```python
$ not a command
```
"""


def test_steps_are_found() -> None:
    first, second = steps(DOCUMENT)
    assert (first.line, first.command, first.shown) == (3, "finetooth --version", ("finetooth 0.1.0",))
    assert (second.command, second.program) == ("FINETOOTH_LANG=ja finetooth \\\n--help", "finetooth")


@pytest.mark.parametrize(
    ("shown", "output", "expected"),
    [
        (["a"], ["a"], True),
        (["a"], ["a  "], True),
        (["a"], ["b"], False),
        (["a"], ["a", "b"], False),
        (["a", "..."], ["a", "b", "c"], True),
        (["a", "..."], ["a"], True),
        (["...", "c"], ["a", "b", "c"], True),
        (["...", "c"], ["a", "b"], False),
        (["took ... s (cpu)"], ["took 1.5 s (cpu)"], True),
        (["took ... s (cpu)"], ["took 1.5 s"], False),
    ],
)
def test_elision(shown: list[str], output: list[str], expected: bool) -> None:
    assert agrees(shown, output) is expected


def test_a_wrong_block_is_found(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text("```console\n$ finetooth --version\nfinetooth 9\n$ sudo reboot\n```\n")
    folder = tmp_path / "folder"
    folder.mkdir()
    wrong = list(run(document, folder))
    assert len(wrong) == 2
    assert "prints\nfinetooth 0." in wrong[0]
    assert "neither run nor listed" in wrong[1]
