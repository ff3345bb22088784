"""What links call the headings of a document: what GitHub calls them, so that it is the same everywhere."""

from __future__ import annotations

import re
from collections.abc import Sequence

from finetooth.documents.blocks import Block, Contents, Document, Heading

_NOT_NAMED = re.compile(r"[^\w\- ]")


def anchors(blocks: Sequence[Block]) -> list[str]:
    """Return a name for each block: a heading's own, which no other has, and an empty one for all that is no heading.

    It is made of the heading's letters and digits, Japanese ones too, in lower case, with `-` for blanks; nothing in it
    wants escaping. A heading keeps its name whatever stands around it, unless one before it is called the same.
    """
    taken: set[str] = set()
    names: list[str] = []
    for block in blocks:
        name = ""
        if isinstance(block, Heading):
            plain = _NOT_NAMED.sub("", block.text.lower().strip()).replace(" ", "-") or "section"
            name, number = plain, 0
            while name in taken:
                number += 1
                name = f"{plain}-{number}"
            taken.add(name)
        names.append(name)
    return names


def sections(document: Document) -> list[tuple[str, str]]:
    """Return name and text of each heading that begins a section."""
    named = zip(anchors(document.blocks), document.blocks, strict=True)
    return [(name, block.text) for name, block in named if isinstance(block, Heading) and block.level == 2]


def has_contents(document: Document) -> bool:
    """Return whether a document links to its sections."""
    return any(isinstance(block, Contents) for block in document.blocks)
