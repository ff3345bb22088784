"""What a user's own text is made of. Text is as it was read: who writes it makes it harmless there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Mark = Literal["strong", "emphasis", "struck", "code"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    r"""Text that is marked alike; `\n` is a line break that was asked for."""

    text: str
    marks: frozenset[Mark] = frozenset()
    url: str | None = None
    """Where it links to: `https:` or `http:`, percent-encoded; nothing else gets here."""


Inline = Sequence[Stretch]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProseHeading:
    """A heading, demoted below the section that it stands in: from 3 to 6."""

    level: int
    inline: Inline


@dataclass(frozen=True, slots=True, kw_only=True)
class ProseText:
    """A paragraph."""

    inline: Inline


@dataclass(frozen=True, slots=True, kw_only=True)
class ProseList:
    """A list, of which each item holds pieces."""

    items: Sequence[Sequence[Piece]]
    start: int | None = None
    """The first number; `None` where items have bullets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProseTable:
    """A table: its head and its rows have the same number of cells."""

    head: Sequence[Inline]
    rows: Sequence[Sequence[Inline]]
    to_right: Sequence[bool]
    """For each column whether it is aligned to the right, as numbers are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProseCode:
    """Lines of code, shown as they are."""

    lines: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProseQuote:
    """What is quoted."""

    pieces: Sequence[Piece]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProseRule:
    """A line across."""


Piece = ProseHeading | ProseText | ProseList | ProseTable | ProseCode | ProseQuote | ProseRule


@dataclass(frozen=True, slots=True, kw_only=True)
class Prose:
    """A user's own text, taken apart; `parse_prose` and `read_prose` make it."""

    pieces: Sequence[Piece]
