from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetooth.errors import ConfigError, DataError
from finetooth.packing import Padded, lessons_of, make_packs, make_padded, spread
from finetooth.types import IGNORE_INDEX
from tests.packing.rows import IdRow, forests, lessons_of_packs, lessons_of_rows, supervised

STOPS = frozenset({2})


def lessons_of_padded(batches: list[Padded]) -> Counter[tuple[tuple[int, ...], int]]:
    """Return what padded batches learn, each context read off the row in which its source lies."""
    lessons: Counter[tuple[tuple[int, ...], int]] = Counter()
    for batch in batches:
        for source, target, weight in zip(batch.source_indices, batch.targets, batch.weights, strict=True):
            row, depth = divmod(source, batch.width)
            lessons[tuple(batch.rows[row][: depth + 1]), target] += weight
    return +lessons


@given(forests(), st.integers(1, 40) | st.none(), st.integers(1, 5) | st.none())
def test_padded_batches_learn_what_rows_learn(rows: list[IdRow], max_tokens: int | None, max_rows: int | None) -> None:
    batches = make_padded(rows, max_tokens=max_tokens, max_rows=max_rows, stop_ids=STOPS)
    assert lessons_of_padded(batches) == lessons_of_rows(rows)
    for batch in batches:
        assert batch.width == max(map(len, batch.rows))
        assert max_rows is None or len(batch.rows) <= max_rows
        assert max_tokens is None or batch.num_tokens <= max_tokens or len(batch.rows) == 1
    packed = sorted(number for batch in batches for number in batch.row_indices)
    assert packed == [number for number, row in enumerate(rows) if lessons_of(row, STOPS).length]


def test_rows_of_a_like_length_are_padded_together() -> None:
    rows = [supervised(range(length)) for length in (9, 3, 8, 2)]
    batches = make_padded(rows, max_rows=2)
    assert [(batch.width, batch.row_indices) for batch in batches] == [(8, [0, 2]), (2, [1, 3])]


def test_an_end_that_is_not_learned_is_watched() -> None:
    masked = IdRow(input_ids=[1, 5, 6, 2], labels=[IGNORE_INDEX, IGNORE_INDEX, 6, IGNORE_INDEX])
    learned = supervised([1, 5, 6, 2], first=2)
    assert lessons_of(masked, STOPS).watched == [3]
    assert lessons_of(learned, STOPS).watched == []
    assert lessons_of(masked).watched == []
    (batch,) = make_padded([masked], stop_ids=STOPS)
    assert (batch.source_indices, batch.targets, batch.weights, batch.counts) == ([1, 2], [6, 2], [1, 0], [1, 1])
    (pack,) = make_packs([masked, learned], max_tokens=99, stop_ids=STOPS)
    assert (pack.source_indices, pack.targets) == ([1, 2], [6, 2])
    assert (pack.weights, pack.counts) == ([2, 1], [2, 2])
    assert pack.num_supervised == 3


def test_each_turn_has_its_own_end() -> None:
    labels = [IGNORE_INDEX, 5, IGNORE_INDEX, 7, 2, IGNORE_INDEX]
    assert lessons_of(IdRow(input_ids=[1, 5, 6, 7, 2, 8], labels=labels), STOPS).watched == [2]


@given(forests(), st.integers(1, 20) | st.just(1000))
def test_to_watch_changes_nothing_that_is_learned(rows: list[IdRow], max_tokens: int) -> None:
    watched = make_packs(rows, max_tokens=max_tokens, long_rows="alone", stop_ids=STOPS)
    assert +lessons_of_packs(watched) == lessons_of_rows(rows)
    ends = sum(len(lessons_of(row, STOPS).watched) for row in rows)
    counted = sum(sum(pack.counts) - sum(pack.weights) for pack in watched)
    assert counted == ends


@given(forests(), st.integers(1, 4))
def test_ranks_are_dealt_every_batch_once(rows: list[IdRow], num_ranks: int) -> None:
    batches = make_padded(rows, max_rows=2)
    dealt = spread(batches, num_ranks, Padded.empty)
    assert len({len(hand) for hand in dealt}) == 1
    found = [batch for hand in dealt for batch in hand if batch.targets]
    assert sorted(found, key=id) == sorted((batch for batch in batches if batch.targets), key=id)


@pytest.mark.parametrize("limits", [{"max_tokens": 0}, {"max_rows": 0}])
def test_a_limit_that_holds_nothing_is_refused(limits: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="holds no token"):
        make_padded([supervised([1, 2])], max_tokens=limits.get("max_tokens"), max_rows=limits.get("max_rows"))


def test_labels_that_are_not_parallel_are_refused() -> None:
    with pytest.raises(DataError, match="1 labels and 2 input_ids"):
        make_padded([IdRow(input_ids=[1, 2], labels=[1])])
