"""The tokens at a place, taken apart: `… ▁で* | す* | [</* 829 | s* 29879 | >* 29958]`.

A finding's view is one line that `finetooth.rules.row.Row.view` wrote. Formats fold it between tokens, and mark those
that it is about. Pieces hold no blanks there, so ` | ` parts tokens; a piece may itself be a bracket, a star, a number,
or the sign for tokens left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_WITH_ID = re.compile(r"\[?.* -?[0-9]+\]?", re.DOTALL)
_SKIPPED = "…"
_EMPTY = "[]"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenToken:
    """A token of a view, or what stands for tokens left out, or for an empty range."""

    text: str
    """As the line has it: the piece, a star where it is supervised, the id where the finding is about it."""
    is_meant: bool
    """Whether the finding is about it."""
    is_skip: bool = False
    """Whether it stands for what the view left out before or behind."""


def tokens_of(view: str) -> list[SeenToken]:
    """Return the tokens of a view."""
    left = view.startswith(f"{_SKIPPED} ") and not re.match(rf"{_SKIPPED} \| (?!\| )", view)
    right = view.endswith(f" {_SKIPPED}") and not view.endswith(f" | {_SKIPPED}")
    inside = view[2 * left : len(view) - 2 * right].split(" | ")
    meant = [_WITH_ID.fullmatch(text) is not None for text in inside]
    if True not in meant:
        meant = [text == _EMPTY for text in inside]
    else:
        first, last = meant.index(True), len(meant) - 1 - meant[::-1].index(True)
        meant = [first <= index <= last for index in range(len(meant))]
    tokens = [
        SeenToken(text=text, is_meant=is_meant) for text, is_meant in zip(inside, meant, strict=True) if text != ""
    ]
    skipped = SeenToken(text=_SKIPPED, is_meant=False, is_skip=True)
    return [*[skipped] * left, *tokens, *[skipped] * right]
