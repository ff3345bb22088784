"""Colour on the terminal, by hand: rich takes 60 ms to import, which every error message would pay."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import IO, Any, Literal

ColorChoice = Literal["auto", "always", "never"]

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34", "cyan": "36"}


def use_color(choice: ColorChoice, stream: IO[Any], environ: Mapping[str, str] | None = None) -> bool:
    """Return whether what is written to `stream` is coloured.

    `auto` is yes on a terminal that is not `dumb`, unless NO_COLOR holds anything (no-color.org).
    """
    environ = os.environ if environ is None else environ
    if choice != "auto":
        return choice == "always"
    return stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def paint(text: str, *styles: str, enabled: bool = True) -> str:
    """Return text in the styles named (`bold`, `red`, ...), or as it is where colour is off."""
    if not enabled or not text:
        return text
    return f"\x1b[{';'.join(_CODES[style] for style in styles)}m{text}\x1b[0m"
