"""`FactIndex`: the facts that a user's words ask for, by BM25 over the model's own token ids.

    index = FactIndex(persona, tokenizer)
    index.find("Can you whistle?")      # (FoundFact(text="She cannot whistle.", group="dislikes", score=0.6...),)

BM25 (Robertson and Zaragoza 2009, Foundations and Trends in Information Retrieval 3) as Lucene computes it, by bm25s.
Its scores grow with the sheet (a rare term is worth more among many facts) and with the question. They are divided by
what a term is worth that one fact alone has, and by the root of the number of the words' terms, so that one floor
serves sheets and questions of any size: the more somebody says, the more of it has to be about the fact.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import Any

from finetooth.errors import MissingExtraError
from finetooth.messages import say
from finetooth.personas.sheet import Persona
from finetooth.personas.terms import GRAMMAR, Terms
from finetooth.tokenizer import Tokenizer

K1 = 0.5
"""How much a repeated term adds; facts are a sentence long, and hardly repeat one."""
B = 0.3
"""How much a longer fact is held back, for the same reason."""

_DIGITS = 6
"""Digits of a score: scores are sums of 32-bit numbers, and equal ones have to be equal for ties to be told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFact:
    """A fact that was found."""

    text: str
    group: str
    score: float
    """Comparable between sheets and questions; see the module."""


class FactIndex:
    """Finds facts.

    Args:
        persona: Whose facts, and how many of them at most, from which score on.
        tokenizer: The model's tokenizer.

    Raises:
        MissingExtraError: bm25s is not installed.
    """

    def __init__(self, persona: Persona, tokenizer: Tokenizer) -> None:
        bm25s = _need_bm25s()
        self._facts = list(persona.grouped_facts)
        self._lookup = persona.lookup
        self._terms = Terms(tokenizer)
        # The group is part of the fact: who is asked for hobbies is asked for all that stands under them.
        documents = self._terms.of([f"{group}\n{fact.text}" for group, fact in self._facts])
        self._known = frozenset(term for document in documents for term in document)
        self._ranking: Any = None
        if self._known:
            self._ranking = bm25s.BM25(method="lucene", k1=K1, b=B)
            self._ranking.index(documents, show_progress=False)
        self._unit = math.log(1 + (len(self._facts) - 0.5) / 1.5)

    def find(self, words: str) -> tuple[FoundFact, ...]:
        """Return the facts from the floor on, best first; those of one score in the order of the sheet."""
        floor = self._lookup.floor
        return tuple(found for found in self.ranked(words)[: self._lookup.top_k] if found.score >= floor)

    def ranked(self, words: str) -> list[FoundFact]:
        """Return all facts that have a term in common with some words, best first, whatever their score."""
        terms = sorted(set(self._terms.of([words])[0]))  # said twice is not asked twice
        known = [term for term in terms if term in self._known]
        if not known:
            return []
        # A word in hiragana that no fact has is grammar, and asks for nothing.
        num_asked = len(known) + sum(1 for term in terms if term not in self._known and not term.startswith(GRAMMAR))
        scores = self._ranking.get_scores(known) / (self._unit * math.sqrt(num_asked))
        found = [
            FoundFact(text=fact.text, group=group, score=round(float(score), _DIGITS))
            for (group, fact), score in zip(self._facts, scores, strict=True)
            if score > 0
        ]
        return sorted(found, key=lambda one: -one.score)


def _need_bm25s() -> Any:
    try:
        import bm25s
    except ImportError as error:
        raise MissingExtraError(say("personas.needs_bm25s"), help='pip install "finetooth[persona]"') from error
    # It tells of every index that it builds, at a level that it sets itself.
    logging.getLogger("bm25s").setLevel(logging.WARNING)
    return bm25s
