"""Rows for the tests of packing: random forests, and what rows learn, said the slow way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import strategies as st

from finetooth.packing import Pack
from finetooth.types import IGNORE_INDEX


@dataclass(frozen=True, kw_only=True)
class IdRow:
    input_ids: list[int]
    labels: list[int] = field(default_factory=list)
    where: str = "rows.jsonl:1"


def supervised(ids: Sequence[int], *, first: int = 1) -> IdRow:
    """Return a row that learns every token from `first` on."""
    return IdRow(input_ids=list(ids), labels=[IGNORE_INDEX] * min(first, len(ids)) + list(ids[first:]))


@st.composite
def forests(draw: st.DrawFn, *, max_rows: int = 12, num_ids: int = 3, min_tokens: int = 0) -> list[IdRow]:
    """Draw rows that branch off each other at any depth, repeat, or are prefixes of each other."""
    ids = st.integers(0, num_ids - 1)
    rows: list[IdRow] = []
    for number in range(draw(st.integers(0, max_rows))):
        stem: list[int] = []
        branches = draw(st.booleans())
        if rows and branches:
            earlier = draw(st.sampled_from(rows)).input_ids
            stem = earlier[: draw(st.integers(0, len(earlier)))]
        input_ids = stem + draw(st.lists(ids, max_size=8, min_size=max(0, min_tokens - len(stem))))
        # Labels of other software need not repeat the ids.
        labels = [draw(st.sampled_from([IGNORE_INDEX, token, num_ids - 1])) for token in input_ids]
        rows.append(IdRow(input_ids=input_ids, labels=labels, where=f"rows.jsonl:{number + 1}"))
    return rows


def lessons_of_rows(rows: Sequence[IdRow]) -> Counter[tuple[tuple[int, ...], int]]:
    """Return what rows learn, one by one: contexts, each with the id to be predicted, and how often."""
    return Counter(
        (tuple(row.input_ids[:depth]), label)
        for row in rows
        for depth, label in enumerate(row.labels)
        if depth > 0 and label != IGNORE_INDEX
    )


def seen(pack: Pack, query: int) -> list[int]:
    """Return the tokens that a token attends, itself included, by the definition of `end`."""
    return [key for key in range(pack.num_tokens) if key <= query < pack.end[key]]


def lessons_of_packs(packs: Sequence[Pack]) -> Counter[tuple[tuple[int, ...], int]]:
    """Return what packs learn, each context read off what the source attends."""
    lessons: Counter[tuple[tuple[int, ...], int]] = Counter()
    for pack in packs:
        for source, target, weight in zip(pack.source_indices, pack.targets, pack.weights, strict=True):
            lessons[tuple(pack.input_ids[key] for key in seen(pack, source)), target] += weight
    return lessons  # a target that is only watched stands there with 0
