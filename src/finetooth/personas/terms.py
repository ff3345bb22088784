"""Terms: what facts and users' words are compared by, made of a tokenizer's ids alone, so that no segmenter is needed.

A single id says little: of a kanji that the vocabulary lacks it is one byte of three, of a kana it is a sound. So ids
are taken together until they hold whole characters, and those pieces

- are joined to words where the script is Latin, since a tokenizer cuts one word differently in different company, and
- become n-grams of one to three pieces where it is not, as search engines do for Japanese. A single kanji is a term;
  kana count from two of katakana and three of hiragana, below which they are grammar.

Terms of idle talk (idle.py), such as `what`, `please` and 教えて, are no terms: BM25 weighs a term by how few facts
have it, and hardly any fact has a question's words.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from finetooth.personas.idle import IDLE_TALK
from finetooth.tokenizer import Tokenizer

LONGEST = 3
"""Pieces of the longest n-gram."""

_POSSESSIVES = re.compile(r"'(?:s|t|m|re|ve|ll|d)(?![a-z])")
_PLURALS = re.compile(r"(?<=[a-z]{3})(?<!s)s(?![a-z])")
_WORD_STARTS = re.compile(r"(?<![a-z0-9 ])(?=[a-z0-9])")
_HIRAGANA = re.compile(r"[\u3041-\u309fー]+")
_KANJI = re.compile(r"[\u3400-\u9fff々]")


class _Piece(NamedTuple):
    """Ids that hold whole characters between them, and the characters."""

    ids: tuple[int, ...]
    text: str


class Terms:
    """Makes the terms of texts by a tokenizer's ids.

    Args:
        tokenizer: The model's tokenizer.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._idle: frozenset[str] = frozenset()
        self._idle = frozenset(term for terms in self.of(IDLE_TALK) for term in terms)

    def of(self, texts: Sequence[str]) -> list[list[str]]:
        """Return the terms of each text, in their order, repeated as they are; a term is its ids, joined by dots."""
        folded = [folded_text(text) for text in texts]
        encodings = self._tokenizer.encode(folded, add_special_tokens=False)
        return [
            [
                term
                for run in _runs(text, encoding.ids, encoding.offsets)
                for term in _terms(run)
                if term not in self._idle
            ]
            for text, encoding in zip(folded, encodings, strict=True)
        ]


@lru_cache(maxsize=1024)
def folded_text(text: str) -> str:
    """Return a text as it is encoded: no capitals, no wide letters, no English plurals, a space before every word.

    The line break at the start keeps what a tokenizer puts before a text's first character (Llama's `▁`) off it.
    """
    text = unicodedata.normalize("NFKC", text).casefold().replace("\u2019", "'")
    text = _PLURALS.sub("", _POSSESSIVES.sub(" ", text))
    return "\n" + _WORD_STARTS.sub(" ", text)


def _runs(text: str, ids: Sequence[int], offsets: Sequence[tuple[int, int]]) -> Iterator[list[_Piece]]:
    """Yield the pieces of each stretch of letters of one kind, Latin or other, in one word."""
    run: list[_Piece] = []
    for piece in _pieces(text, ids, offsets):
        is_word_part = any(char.isalnum() for char in piece.text)
        if run and (not is_word_part or piece.text[0] == " " or piece.text.isascii() != run[-1].text.isascii()):
            yield run
            run = []
        if is_word_part:
            run.append(_Piece(piece.ids, piece.text.strip()))
    if run:
        yield run


def _pieces(text: str, ids: Sequence[int], offsets: Sequence[tuple[int, int]]) -> Iterator[_Piece]:
    """Yield the fewest ids at a time that hold whole characters."""
    held: list[int] = []
    start = end = 0
    for token_id, (first, last) in zip(ids, offsets, strict=True):
        if last <= first:
            continue
        if held and first >= end:
            yield _Piece(tuple(held), text[start:end])
            held = []
        if not held:
            start, end = first, last
        held.append(token_id)
        end = max(end, last)
    if held:
        yield _Piece(tuple(held), text[start:end])


def _terms(run: Sequence[_Piece]) -> Iterator[str]:
    if run[0].text.isascii():
        yield _name(run)
        return
    for start in range(len(run)):
        for end in range(start + 1, min(start + LONGEST, len(run)) + 1):
            pieces = run[start:end]
            text = "".join(piece.text for piece in pieces)
            if _HIRAGANA.fullmatch(text):
                says_something = len(text) > 2
            else:
                says_something = len(text) > 1 or _KANJI.fullmatch(text) is not None
            if says_something:
                yield _name(pieces)


def _name(pieces: Sequence[_Piece]) -> str:
    return ".".join(str(token_id) for piece in pieces for token_id in piece.ids)
