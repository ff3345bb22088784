"""Pairs of private-use characters around stretches of content, and what they tell once a template is rendered."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from finetooth.template.turns import Piece

_PLANES = (range(0x100000, 0x10FFFE), range(0xF0000, 0xFFFFE))
"""The planes of private-use characters; the second serves where a text uses the first (icon fonts)."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One marked stretch: whose it is, and whether it is to be learned."""

    message_index: int
    learned: bool
    lead: int
    """White-space characters that went before the stretch in the content."""
    tail: int
    """White-space characters that followed the stretch in the content."""
    is_call: bool = False
    """Whether it stands in a tool call."""


@dataclass(frozen=True, slots=True)
class Found:
    """A marked stretch as it was found in the rendered text."""

    start: int
    end: int
    mark: Mark
    number: int
    """Which stretch of its message it is. A template may show one twice."""

    @property
    def message_index(self) -> int:
        """The message whose words these are."""
        return self.mark.message_index


@dataclass(frozen=True, slots=True)
class Marked:
    """What the marks tell of a text."""

    found: tuple[Found, ...] = ()
    """In the order of the text."""
    unpaired: frozenset[int] = frozenset()
    """Messages of which the template kept one end of a stretch and dropped the other."""
    dropped: frozenset[int] = frozenset()
    """Messages of which the template shows nothing."""
    without_calls: frozenset[int] = frozenset()
    """Messages of whose tool calls the template shows nothing."""
    lost: frozenset[int] = frozenset()
    """Messages that cannot be marked, since the template then writes another text."""

    def __add__(self, other: Marked) -> Marked:
        found = sorted((*self.found, *other.found), key=lambda stretch: (stretch.start, stretch.end))
        return Marked(
            found=tuple(found),
            unpaired=self.unpaired | other.unpaired,
            dropped=self.dropped | other.dropped,
            without_calls=self.without_calls | other.without_calls,
            lost=self.lost | other.lost,
        )


class Marker:
    """Hand out pairs of characters, and remember what they stand for.

    Args:
        alphabet: Characters that the text does not hold.
    """

    def __init__(self, alphabet: range) -> None:
        self.alphabet = alphabet
        self.marks: list[Mark] = []
        self.unmarked: set[int] = set()
        """Messages for which no pair was left."""

    def wrap(self, pieces: Sequence[Piece], message_index: int, *, is_call: bool = False) -> str:
        """Return the text of some pieces, each with a pair around it inside the outer white space of all.

        A blank text stays as it is: a pair in it would turn `if message.content` around.
        """
        text = pieces[0].text if len(pieces) == 1 else "".join(piece.text for piece in pieces)
        core = text.strip()
        if not core:
            return text
        start = len(text) - len(text.lstrip())
        end = start + len(core)
        wrapped = [text[:start]]
        position = 0
        for piece in pieces:
            first, last = max(position, start), min(position + len(piece.text), end)
            position += len(piece.text)
            if first >= last:
                continue
            number = 2 * len(self.marks)
            if number + 1 >= len(self.alphabet):
                self.unmarked.add(message_index)
                wrapped.append(text[first:last])
                continue
            lead, tail = (start if first == start else 0), (len(text) - end if last == end else 0)
            self.marks.append(Mark(message_index, piece.learned, lead, tail, is_call))
            wrapped += (chr(self.alphabet[number]), text[first:last], chr(self.alphabet[number + 1]))
        return "".join((*wrapped, text[end:]))

    def wrap_blank(self, piece: Piece, message_index: int) -> str:
        """Return a blank text with a pair around it."""
        number = 2 * len(self.marks)
        if number + 1 >= len(self.alphabet):
            self.unmarked.add(message_index)
            return piece.text
        self.marks.append(Mark(message_index, piece.learned, 0, 0))
        return f"{chr(self.alphabet[number])}{piece.text}{chr(self.alphabet[number + 1])}"

    def read(self, marked: str, text: str) -> Marked | None:
        """Return what the marks tell, or `None` where the text without them is not `text`."""
        opened: dict[int, int] = {}
        found: list[Found] = []
        unpaired: set[int] = set()
        kept: list[str] = []
        position = last = 0
        for match in re.finditer(_any_of(self.alphabet), marked):
            piece = marked[last : match.start()]
            kept.append(piece)
            position += len(piece)
            last = match.end()
            number, closing = divmod(self.alphabet.index(ord(match.group())), 2)
            if number >= len(self.marks):
                return None
            mark = self.marks[number]
            if not closing:
                if number in opened:
                    unpaired.add(mark.message_index)
                opened[number] = position
            elif number in opened:
                found.append(Found(opened.pop(number), position, mark, number))
            else:
                unpaired.add(mark.message_index)
        kept.append(marked[last:])
        if "".join(kept) != text:
            return None
        unpaired.update(self.marks[number].message_index for number in opened)
        found.sort(key=lambda stretch: (stretch.start, stretch.end))
        shown = unpaired.union(stretch.message_index for stretch in found)
        with_calls = unpaired.union(stretch.message_index for stretch in found if stretch.mark.is_call)
        return Marked(
            found=tuple(found),
            unpaired=frozenset(unpaired),
            dropped=frozenset({mark.message_index for mark in self.marks} - shown),
            without_calls=frozenset({mark.message_index for mark in self.marks if mark.is_call} - with_calls),
            lost=frozenset(self.unmarked),
        )


def alphabet_for(text: str) -> range:
    """Return private-use characters that a text does not hold: a plane, or the widest gap between those it holds."""
    for plane in _PLANES:
        if not re.search(_any_of(plane), text):
            return plane
    used = sorted(code for code in set(map(ord, text)) if any(code in plane for plane in _PLANES))
    bounds = [(plane.start - 1, plane.stop) for plane in _PLANES]
    gaps = [
        range(first + 1, last)
        for low, high in bounds
        for first, last in pairwise([low, *(code for code in used if low < code < high), high])
    ]
    return max(gaps, key=len)


def _any_of(alphabet: range) -> str:
    return f"[{chr(alphabet[0])}-{chr(alphabet[-1])}]"
