"""Terms: what facts and users' words are compared by, made of a tokenizer's ids alone, so that no segmenter is needed.

A single id says little: of a kanji that the vocabulary lacks it is one byte of three, of a kana it is a sound. So ids
are taken together until they hold whole characters, and those pieces are put together by script:

- Latin letters, digits: a word is a term, since a tokenizer cuts one word differently in different company;
- kanji: two pieces in a row are a term, as search engines do for Japanese, and a kanji that stands by itself is;
- kana: three pieces in a row, or a stretch of two of katakana; what is shorter in hiragana is grammar.

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

_POSSESSIVES = re.compile(r"'(?:s|t|m|re|ve|ll|d)(?![a-z])")
_PLURALS = re.compile(r"(?<=[a-z]{3})(?<!s)s(?![a-z])")
_WORD_STARTS = re.compile(r"\s+|(?<![a-z0-9\s])(?=[a-z0-9])")
_SCRIPT_ENDS = re.compile(
    "|".join(f"(?<=[{kind}])(?=[^{kind}])" for kind in (r"\u30a0-\u30ff", r"\u3041-\u309f", r"\u3400-\u9fff々"))
)
_SCRIPTS = {
    "latin": re.compile(r"[\x00-\u024f]+"),
    "katakana": re.compile(r"[\u30a0-\u30ff]+"),
    "hiragana": re.compile(r"[\u3041-\u309f]+"),
    "kanji": re.compile(r"[\u3400-\u9fff々]+"),
}
"""The scripts that are told apart; of a piece in several, or in another one, the script is `other`."""

_NGRAM = {"hiragana": 3, "katakana": 3, "kanji": 2, "other": 1}
"""Pieces of an n-gram, by script."""

_SHORTEST = {"hiragana": 3, "katakana": 2, "kanji": 1, "other": 2}
"""Characters of a term that is a stretch with no more than `_NGRAM` pieces."""

GRAMMAR = "~"
"""What a term begins with that is all hiragana: more often than not grammar, and then nothing that is asked for."""

_QUESTION_KANJI = frozenset("何誰")


class _Piece(NamedTuple):
    """Ids that hold whole characters between them, and the characters."""

    ids: tuple[int, ...]
    text: str
    start: int


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
                for script, run in _runs(text, encoding.ids, encoding.offsets)
                for term in _terms(script, run)
                if term not in self._idle
            ]
            for text, encoding in zip(folded, encodings, strict=True)
        ]


@lru_cache(maxsize=1024)
def folded_text(text: str) -> str:
    """Return a text as it is encoded: no capitals, no wide letters, no English plurals, a line for every word.

    Line breaks between words, and after each stretch of kanji or kana, keep tokenizers from joining a word and its
    neighbour, which they do in one sentence and not in the next. The one at the start keeps what a tokenizer puts
    before a text's first character (Llama's `▁`) off it.
    """
    text = unicodedata.normalize("NFKC", text).casefold().replace("\u2019", "'")
    text = _PLURALS.sub("", _POSSESSIVES.sub(" ", text))
    return "\n" + _SCRIPT_ENDS.sub("\n", _WORD_STARTS.sub("\n", text)).lstrip("\n")


def _runs(text: str, ids: Sequence[int], offsets: Sequence[tuple[int, int]]) -> Iterator[tuple[str, list[_Piece]]]:
    """Yield the pieces of each stretch of letters of one script in one word, with the script."""
    run: list[_Piece] = []
    script, end = "", 0
    for piece in _pieces(text, ids, offsets):
        word = piece.text.strip()
        is_word = any(char.isalnum() for char in word) and word not in _QUESTION_KANJI
        own = _script_of(word) if is_word else ""
        # Some tokenizers have white space in their pieces, others drop it.
        if run and (own != script or piece.text[0].isspace() or piece.start > end):
            yield script, run
            run = []
        script, end = own, piece.start + len(piece.text)
        if is_word:
            run.append(piece._replace(text=word))
    if run:
        yield script, run


@lru_cache(maxsize=65536)
def _script_of(text: str) -> str:
    return next((name for name, pattern in _SCRIPTS.items() if pattern.fullmatch(text)), "other")


def _pieces(text: str, ids: Sequence[int], offsets: Sequence[tuple[int, int]]) -> Iterator[_Piece]:
    """Yield the fewest ids at a time that hold whole characters."""
    held: list[int] = []
    start = end = 0
    for token_id, (first, last) in zip(ids, offsets, strict=True):
        if last <= first:
            continue
        if held and first >= end:
            yield _Piece(tuple(held), text[start:end], start)
            held = []
        if not held:
            start, end = first, last
        held.append(token_id)
        end = max(end, last)
    if held:
        yield _Piece(tuple(held), text[start:end], start)


def _terms(script: str, run: Sequence[_Piece]) -> Iterator[str]:
    if script == "latin":
        yield _name(run)
        return
    size = _NGRAM[script]
    mark = GRAMMAR if script == "hiragana" else ""
    if len(run) <= size:
        # A piece may hold a word by itself.
        if sum(len(piece.text) for piece in run) >= _SHORTEST[script]:
            yield mark + _name(run)
        return
    for start in range(len(run) - size + 1):
        yield mark + _name(run[start : start + size])


def _name(pieces: Sequence[_Piece]) -> str:
    return ".".join(str(token_id) for piece in pieces for token_id in piece.ids)
