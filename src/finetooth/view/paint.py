"""Styled text for a terminal: folded to its width, and painted where colour is wanted.

Colours are those of the terminal's own sixteen, so that they fit its theme. Blue against magenta can be told apart by
colour-blind readers, and no colour says what the text does not: a painted text without its escape sequences is the
unpainted one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from finetooth.view.visible import cells, char_cells

JOINT = "\u00a0"
"""A space at which no line is folded. Data never holds one here: `harmless` makes it visible."""

LONG_WORD = 12
"""Cells up to which a word is never broken."""

NOT_FIRST = frozenset("、。，．）」』】〉》］｝・：；？！…ー々ぁぃぅぇぉっゃゅょァィゥェォッャュョ)]},.:;")
"""Characters that do not begin a line where Japanese is broken (the core of JIS X 4051's list)."""

NOT_LAST = frozenset("（「『【〈《［｛([{")
"""Characters that do not end a line."""

Styled = Sequence[tuple[str, str]]
"""A line, as stretches of text with the name of a style."""

_SGR = {
    "": "",
    "masked": "2",
    "supervised": "4;97;44",
    "special": "30;47",
    "special-supervised": "1;4;30;46",
    "some": "1;4;97;45",
    "parted": "1;4;95",
    "gap": "2;9",
    "differs": "1;95",
    "heading": "1",
    "strong": "1",
    "quiet": "2",
    "warning": "1;95",
    "error": "1;7;95",
    "info": "1;94",
    "good": "94",
    "bad": "95",
    "meant": "1;95",
    "place": "36",
}


def paint(line: Styled, *, color: bool) -> str:
    """Return a line as a string, with escape sequences if colour is wanted, without blanks at its end."""
    stretches: list[list[str]] = []
    for text, style in line:
        if stretches and stretches[-1][1] == style:
            stretches[-1][0] += text
        else:
            stretches.append([text, style])
    while stretches and not stretches[-1][0].rstrip(f" {JOINT}"):
        stretches.pop()
    if stretches:
        stretches[-1][0] = stretches[-1][0].rstrip(f" {JOINT}")
    if not color:
        return "".join(text for text, _ in stretches).replace(JOINT, " ")
    painted = (f"\x1b[{_SGR[style]}m{text}\x1b[0m" if _SGR[style] else text for text, style in stretches)
    return "".join(painted).replace(JOINT, " ")


def fold(line: Styled, *, width: int, first_indent: int = 0, indent: int = 0) -> list[Styled]:
    """Fold a line of prose at spaces, and within words that are long: Japanese has no spaces.

    Args:
        line: Visible text: no control characters.
        width: The cells that no line exceeds.
        first_indent: Blanks before the first line.
        indent: Blanks before the others.
    """
    lines: list[list[tuple[str, str]]] = [[(" " * first_indent, "")]]
    used = begun = first_indent
    for text, style in line:
        for word in _words(text, width=width - indent):
            if word.isspace():
                if used > begun:
                    word = word[: width - used]
                    lines[-1].append((word, style))
                    used += len(word)
                continue
            if used + cells(word) > width and (JOINT in word or cells(word) <= max(width // 3, LONG_WORD)):
                lines.append([(" " * indent, "")])
                used = begun = indent
            for part, fits in _parts(word, first=width - used, rest=width - indent):
                if not fits:
                    lines.append([(" " * indent, "")])
                    used = begun = indent
                lines[-1].append((part, style))
                used += cells(part)
    return list(lines)


def _words(text: str, *, width: int) -> Iterator[str]:
    """Yield words and the blanks between them; what is joined, as one word where a line can hold it."""
    for word in re.findall(r" +|[^ ]+", text):
        if cells(word) <= width:
            yield word
        else:
            yield from re.findall(r" +|[^ ]+", word.replace(JOINT, " "))


def _parts(word: str, *, first: int, rest: int) -> Iterable[tuple[str, bool]]:
    """Yield a word in parts of at most so many cells, each with whether it goes on the line begun."""
    room, part, fits = first, "", True
    for char in word:
        if cells(part) + char_cells(char) > room:
            end = _line_end(part, char)
            if part[:end]:
                yield part[:end], fits
            room, part, fits = rest, part[end:], False
        part += char
    yield part, fits


def _line_end(part: str, following: str) -> int:
    """Return how much of a part stays on its line, so that no stop begins the next and no bracket ends this one."""
    end = len(part)
    after = following
    while end > 1 and (after in NOT_FIRST or part[end - 1] in NOT_LAST):
        end -= 1
        after = part[end]
    # A run of stops, or a word of them: then the rule has nothing to hold on to.
    return end if len(part) - end <= 4 and not (after in NOT_FIRST or part[end - 1 : end] in NOT_LAST) else len(part)


def shorten_middle(text: str, *, width: int) -> str:
    """Cut a text to so many cells, marked in the middle where something is missing: names differ at their ends."""
    if cells(text) <= width:
        return text
    if width < 1:
        return ""
    head, tail = text[: len(text) // 2], text[len(text) // 2 :]
    while cells(head) + cells(tail) > width - 1:
        if cells(head) > cells(tail):
            head = head[:-1]
        else:
            tail = tail[1:]
    return f"{head}…{tail}"
