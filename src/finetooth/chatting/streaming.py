"""The text of an answer while its ids arrive: whole characters, special tokens told from text.

Joined, the pieces are exactly what `finetooth.probing.judging.shown` makes of all ids at once. So nothing is given out
that a later id could still change: the bytes of a kanji that come one by one wait for each other, and letters that
could become a terminator wait until they are one, or are not.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from finetooth.tokenizer import Tokenizer
from finetooth.tokenizer.pieces import vocabulary_string

Kind = Literal["text", "special", "literal"]
"""Ordinary text; a special token, as `⟨</s>⟩`; the letters of a terminator, as ordinary text."""

_BYTE_PIECE = re.compile(r"<0x[0-9A-Fa-f]{2}>\Z")
_REPLACEMENT = "\ufffd"


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of an answer."""

    text: str
    kind: Kind = "text"


class TextStream:
    """Turns ids into pieces, one answer long.

    Args:
        tokenizer: What decodes the ids.
        terminators: The literals that are told apart where they stand as ordinary letters, the longest first.
    """

    def __init__(self, tokenizer: Tokenizer, terminators: Sequence[str] = ()) -> None:
        self._tokenizer = tokenizer
        self._run: list[int] = []
        """Ids of ordinary text since the last special token."""
        self._first = 0
        """Where in the run decoding begins: a token given out before, whose text is the context of what follows."""
        self._given = 0
        """Ids of the run whose text was given out."""
        self._before = ""
        """The text of the ids from `_first` to `_given`."""
        self._held = ""
        """Text that may still become a terminator."""
        self._terminators = tuple(terminators)
        self._pattern = re.compile("|".join(map(re.escape, terminators))) if terminators else None

    def push(self, token_id: int) -> list[Piece]:
        """Return what is certain once this id is known."""
        if self._tokenizer.is_special(token_id):
            content = self._tokenizer.added_tokens[token_id].content
            return [*self.finish(), Piece(f"⟨{content}⟩", "special")]
        self._run.append(token_id)
        # With byte fallback, one byte that fits no character spoils all bytes in a row (tokenizers 0.23, ByteFallback).
        # An id beyond the vocabulary has no text, and does not end such a row.
        piece = vocabulary_string(self._tokenizer.backend, token_id)
        if piece is None or _BYTE_PIECE.match(piece):
            return []
        text = self._decode(self._run[self._first :])
        if text.endswith(_REPLACEMENT) or not text.startswith(self._before):
            return []
        new = text[len(self._before) :]
        context = self._decode(self._run[self._given :])
        if context.strip():
            self._first, text = self._given, context
        # Else decoders would take the space of what follows for the first of a text, and drop it.
        self._given, self._before = len(self._run), text
        return self._marked(new)

    def finish(self) -> list[Piece]:
        """Return what is left."""
        text = self._decode(self._run[self._first :])
        left = text[len(self._before) :] if len(self._run) > self._given else ""
        pieces = self._marked(left)
        if self._held:
            pieces.append(Piece(self._held))
        self._run, self._first, self._given, self._before, self._held = [], 0, 0, "", ""
        return pieces

    def _decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.backend.decode(list(ids), skip_special_tokens=False)) if ids else ""

    def _marked(self, new: str) -> list[Piece]:
        """Cut text into pieces at terminators; what may still become one is held."""
        text, self._held = self._held + new, ""
        if self._pattern is None:
            return [Piece(text)] if text else []
        pieces: list[Piece] = []
        position = 0
        for match in self._pattern.finditer(text):
            if match.start() > position:
                pieces.append(Piece(text[position : match.start()]))
            pieces.append(Piece(match.group(), "literal"))
            position = match.end()
        rest = text[position:]
        held = max((_overlap(rest, literal) for literal in self._terminators), default=0)
        if held:
            rest, self._held = rest[:-held], rest[-held:]
        return [*pieces, Piece(rest)] if rest else pieces


def _overlap(text: str, literal: str) -> int:
    """Return how many characters at the end of a text are the beginning of a literal, which is not all there."""
    for length in range(min(len(text), len(literal) - 1), 0, -1):
        if text.endswith(literal[:length]):
            return length
    return 0
