"""Text as it streams, folded to a width while its end is not known.

A word goes out once it is whole, for only then is it known whether it fits its line; Japanese goes out character by
character, one behind, since a full stop may not begin a line. What is harmless in prose stays as it is: line breaks,
ideographic spaces. Everything else that moves a cursor or hides is made visible.
"""

from __future__ import annotations

from collections.abc import Iterable

from finetooth.view.paint import NOT_FIRST, NOT_LAST
from finetooth.view.visible import char_cells, visible_char

Stretch = tuple[str, str]
"""Text, and the name of its style."""

_BLANK = " \u3000"


def readable(text: str) -> str:
    """Return a text as it can be printed: lines stay lines, and no character does anything to the terminal."""
    return "".join(char if char in " \n\u3000" else visible_char(char, grid=True) for char in text)


class Flow:
    """Folds a stream.

    Args:
        width: The cells that no line exceeds, at least 2; `None` folds nothing.
    """

    def __init__(self, width: int | None) -> None:
        self._width = width
        self._column = 0
        self._word: list[tuple[str, str]] = []
        """Characters with their styles: blanks, and what must not be parted after them."""
        self._word_cells = 0

    def push(self, text: str, style: str = "") -> list[Stretch]:
        """Return what is certain once this text is known; line breaks stand in it."""
        out: list[Stretch] = []
        for char in readable(text):
            if char == "\n":
                out += self._placed()
                out.append(("\n", ""))
                self._column = 0
                continue
            if self._may_part(char):
                out += self._placed()
            self._word.append((char, style))
            self._word_cells += char_cells(char)
            if self._width is None or self._word_cells >= self._width:
                out += self._placed()
        return joined(out)

    def finish(self) -> list[Stretch]:
        """Return what is left."""
        return joined(self._placed())

    def _may_part(self, char: str) -> bool:
        if not self._word or char_cells(char) == 0:
            return False
        last = self._word[-1][0]
        if char in _BLANK:
            return last not in _BLANK
        if last in _BLANK:
            return False
        wide = char_cells(last) == 2 or char_cells(char) == 2
        return wide and char not in NOT_FIRST and last not in NOT_LAST

    def _placed(self) -> list[Stretch]:
        """Return the word begun, on this line or the next."""
        word, self._word, self._word_cells = self._word, [], 0
        out: list[Stretch] = []
        width = self._width
        if width is None:
            return list(word)
        if self._column and self._column + sum(char_cells(char) for char, _ in word) > width:
            out.append(("\n", ""))
            self._column = 0
            while word and word[0][0] in _BLANK:
                word = word[1:]
        for char, style in word:
            if self._column + char_cells(char) > width:
                out.append(("\n", ""))
                self._column = 0
            out.append((char, style))
            self._column += char_cells(char)
        return out


def folded(line: Iterable[Stretch], *, width: int, first_indent: int = 0, indent: int = 0) -> list[list[Stretch]]:
    """Fold a line of prose; Latin words (file names, options) are cut only where no line can hold them.

    Args:
        line: Stretches without line breaks.
        width: The cells that no line exceeds.
        first_indent: Blanks before the first line.
        indent: Blanks before the others, as many at least.
    """
    flow = Flow(width - max(indent, first_indent))
    stretches = [out for text, style in line for out in flow.push(text, style)]
    lines = lines_of([*stretches, *flow.finish()])
    return [[(" " * (indent if number else first_indent), ""), *one] for number, one in enumerate(lines)]


def joined(stretches: Iterable[Stretch]) -> list[Stretch]:
    """Return the same text with neighbours of one style as one stretch."""
    out: list[list[str]] = []
    for text, style in stretches:
        if out and out[-1][1] == style:
            out[-1][0] += text
        else:
            out.append([text, style])
    return [(text, style) for text, style in out]


def lines_of(stretches: Iterable[Stretch]) -> list[list[Stretch]]:
    """Cut stretches at their line breaks."""
    lines: list[list[Stretch]] = [[]]
    for text, style in stretches:
        for number, part in enumerate(text.split("\n")):
            if number:
                lines.append([])
            if part:
                lines[-1].append((part, style))
    return lines
