from __future__ import annotations

import io

import pytest

from finetooth.cli.color import ColorChoice, paint, use_color


class Stream(io.StringIO):
    """A stream that says whether it is a terminal."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.mark.parametrize(
    ("choice", "terminal", "environ", "expected"),
    [
        ("auto", True, {}, True),
        ("auto", False, {}, False),
        ("auto", True, {"NO_COLOR": "1"}, False),
        ("auto", True, {"NO_COLOR": ""}, True),
        ("auto", True, {"TERM": "dumb"}, False),
        ("always", False, {"NO_COLOR": "1"}, True),
        ("never", True, {}, False),
    ],
)
def test_use_color(choice: ColorChoice, terminal: bool, environ: dict[str, str], expected: bool) -> None:
    assert use_color(choice, Stream(terminal), environ) is expected


def test_paint() -> None:
    assert paint("text", "bold", "red") == "\x1b[1;31mtext\x1b[0m"
    assert paint("text", "red", enabled=False) == "text"
    assert paint("", "red") == ""
