"""What a document is made of. Text in a block is as it was read: who writes the block makes it harmless there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from finetooth.charts import Chart
from finetooth.documents.formula import Term
from finetooth.documents.prose import Prose
from finetooth.types import InspectedRecord

Line = Sequence[tuple[str, str]]
"""Stretches of text with a style: one of `STYLES`."""

STYLES = ("", "quiet", "heading", "strong", "good", "bad", "differs", "meant", "code")
"""What a stretch may be; `finetooth.view.paint` paints them on terminals.

`strong`, `heading`, `differs`, `meant` and `bad` are bold wherever that can be written; the last three are coloured.
`code` is what would stand between backticks.
"""


def with_code(text: str, style: str = "") -> list[tuple[str, str]]:
    """Return a sentence whose code stands between backticks as stretches, those in the style `code`."""
    parts = _CODE.split(text)
    return [(part, "code" if index % 2 else style) for index, part in enumerate(parts) if part]


_CODE = re.compile(r"`([^`\n]+)`")

Tone = Literal["plain", "quiet", "warning", "good"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """A heading; `level` 2 begins a section, which `Contents` links to."""

    text: str
    level: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Paragraph:
    """Prose."""

    line: Line
    tone: Tone = "plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of a table."""

    label: Line
    cells: Sequence[Line]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table: a label, and a cell for each of its columns."""

    corner: str = ""
    """What stands above the labels."""
    head: Sequence[str]
    """What the columns are called."""
    rows: Sequence[Row]
    is_prose: bool = False
    """Whether cells hold text to read; in a page they are then wide, and keep their line breaks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A chart with its number and what it shows."""

    number: int
    chart: Chart
    caption: str
    dashes: str = ""
    """What its dashed curves are; where nothing is dashed, as on a terminal, their names tell it."""
    name: str
    """`Figure 1`, in the language in force."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """A record under several set-ups, token by token; pages alone show it."""

    inspected: InspectedRecord
    summary: str
    """What the reader opens it by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """Lines to paste."""

    lines: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class List:
    """Lines with bullets."""

    items: Sequence[Line]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """The headings of level 2 of the document that it stands in, each a link to its section."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Formula:
    """A formula on a line of its own; `finetooth.documents.formula` builds it."""

    term: Term
    number: int | None = None
    """What it is referred to by, in round brackets beside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A work that is referred to."""

    text: str
    url: str | None = None
    """Its address; a link where it is one of http or https, else text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class References:
    """Works that are referred to, numbered."""

    items: Sequence[Reference]
    first: int = 1
    """The number of the first of them."""


Block = Heading | Paragraph | Table | Figure | Tokens | Code | List | Contents | Formula | References | Prose


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A title and blocks."""

    title: str
    tool: str
    """The command that made it, and who and when where that is known."""
    is_signed: bool = False
    """Whether title and `tool` are told in text, and `tool` in Markdown, where they would otherwise be left out."""
    blocks: Sequence[Block] = field(default_factory=tuple)


def figures(document: Document) -> Iterator[Figure]:
    """Yield the figures of a document that show something."""
    for block in document.blocks:
        if isinstance(block, Figure) and block.chart.drawn:
            yield block
