"""The source of a chat template as a list of chunks: text, expressions, tags and comments, each with its place.

jinja2's own lexer drops white space on its way, so that a source cannot be put together again from its tokens; what is
needed here is where each tag stands, to move one of them and leave the rest as it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["text", "expression", "tag", "comment"]

_OPEN = re.compile(r"\{[{%#]")
_WORD = re.compile(r"\{%[-+]?\s*(\w+)")
_ENDRAW = re.compile(r"\{%[-+]?\s*endraw\s*[-+]?%\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A stretch of a source."""

    kind: Kind
    start: int
    end: int
    word: str = ""
    """The first word of a tag: `if`, `endgeneration`."""


def chunks(source: str) -> list[Chunk]:
    """Return the chunks of a source, which partition it."""
    found: list[Chunk] = []
    position = 0
    while position < len(source):
        match = _OPEN.search(source, position)
        start = match.start() if match else len(source)
        if start > position:
            found.append(Chunk(kind="text", start=position, end=start))
        if match is None:
            break
        opening = match.group()
        if opening == "{#":
            close = source.find("#}", start + 2)
            end = len(source) if close < 0 else close + 2
            found.append(Chunk(kind="comment", start=start, end=end))
        elif opening == "{{":
            end = _closing(source, start + 2, "}}")
            found.append(Chunk(kind="expression", start=start, end=end))
        else:
            end = _closing(source, start + 2, "%}")
            word = _WORD.match(source, start)
            name = word[1] if word else ""
            if name == "raw" and (raw := _ENDRAW.search(source, end)):
                end = raw.end()
            found.append(Chunk(kind="tag", start=start, end=end, word=name))
        position = end
    return found


def _closing(source: str, position: int, mark: str) -> int:
    """Return one past the mark that closes an expression or tag; marks in strings and brackets do not."""
    depth = 0
    while position < len(source):
        character = source[position]
        if depth == 0 and source.startswith(mark, position):
            return position + 2
        if character in "'\"":
            position += 1
            while position < len(source) and source[position] != character:
                position += 2 if source[position] == "\\" else 1
        elif character in "([{":
            depth += 1
        elif character in ")]}":
            depth = max(0, depth - 1)
        position += 1
    return len(source)


BLOCKS = frozenset({"if", "for", "generation", "macro", "call", "filter", "block", "with", "autoescape"})
"""Tags that a tag with `end` in front of their name closes; `set` does so only where it has no `=`."""


def depth_change(source: str, chunk: Chunk) -> int:
    """Return 1 for a tag that opens a block, -1 for one that closes a block, else 0."""
    if chunk.kind != "tag":
        return 0
    if chunk.word in BLOCKS or (chunk.word == "set" and "=" not in source[chunk.start : chunk.end]):
        return 1
    return -1 if chunk.word.startswith("end") and chunk.word != "endraw" else 0
