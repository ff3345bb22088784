from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetooth.errors import ConfigError, DataError
from finetooth.packing import Pack, make_packs
from finetooth.types import IGNORE_INDEX
from tests.packing.rows import IdRow, forests, lessons_of_packs, lessons_of_rows, seen, supervised

MASKED = IGNORE_INDEX

BUDGETS = st.integers(1, 20) | st.just(1000)
"""Mostly so small that trees are split at several depths."""


def one_pack(*rows: IdRow) -> Pack:
    (pack,) = make_packs(rows, max_tokens=1000)
    return pack


def num_learned(row: IdRow) -> int:
    """Return up to which token a row has to be computed, searched from its end."""
    return next((depth for depth in range(len(row.labels) - 1, 0, -1) if row.labels[depth] != MASKED), 0)


def test_a_shared_prefix_stands_once() -> None:
    pack = one_pack(supervised([5, 6, 7, 8], first=2), supervised([5, 6, 9, 8], first=2))
    assert pack == Pack(
        input_ids=[5, 6, 7, 9],
        positions=[0, 1, 2, 2],
        end=[4, 4, 3, 4],
        source_indices=[1, 1, 2, 3],
        targets=[7, 9, 8, 8],
        weights=[1, 1, 1, 1],
        counts=[1, 1, 1, 1],
        row_indices=[0, 1],
        last_indices=[2, 3],
    )


def test_without_sharing_it_is_block_diagonal() -> None:
    pack = one_pack(supervised([1, 2, 3]), supervised([4, 5, 6]))
    assert (pack.positions, pack.end) == ([0, 1, 0, 1], [2, 2, 4, 4])


def test_identical_rows_are_computed_once_and_count_twice() -> None:
    pack = one_pack(supervised([1, 2, 3]), supervised([1, 2, 3]))
    assert (pack.input_ids, pack.targets, pack.weights) == ([1, 2], [2, 3], [2, 2])
    assert (pack.num_supervised, pack.row_indices, pack.last_indices) == (4, [0, 1], [1, 1])


def test_identical_ids_with_other_labels_count_where_they_are_supervised() -> None:
    pack = one_pack(supervised([1, 2, 3], first=1), supervised([1, 2, 3], first=2))
    assert (pack.targets, pack.weights) == ([2, 3], [1, 2])


def test_a_row_that_is_a_prefix_of_another_counts_where_both_are() -> None:
    pack = one_pack(supervised([1, 2, 3]), supervised([1, 2, 3, 4, 5]))
    assert (pack.input_ids, pack.end) == ([1, 2, 3, 4], [4, 4, 4, 4])
    assert (pack.targets, pack.weights) == ([2, 3, 4, 5], [2, 2, 1, 1])
    assert dict(zip(pack.row_indices, pack.last_indices, strict=True)) == {0: 1, 1: 3}


@pytest.mark.parametrize(
    "row",
    [
        IdRow(input_ids=[], labels=[]),
        IdRow(input_ids=[1], labels=[1]),
        IdRow(input_ids=[1, 2], labels=[1, MASKED]),
        IdRow(input_ids=[1, 2, 3], labels=[MASKED] * 3),
    ],
    ids=["no token", "one token", "first label alone", "all masked"],
)
def test_a_row_that_learns_nothing_is_in_no_pack(row: IdRow) -> None:
    assert make_packs([row], max_tokens=8) == []
    assert one_pack(row, supervised([1, 2, 3])).row_indices == [1]


def test_what_follows_the_last_source_is_not_computed() -> None:
    pack = one_pack(IdRow(input_ids=[1, 2, 3, 4, 5], labels=[MASKED, MASKED, 3, MASKED, MASKED]))
    assert (pack.input_ids, pack.source_indices, pack.targets) == ([1, 2], [1], [3])


def test_a_label_need_not_be_the_id() -> None:
    assert one_pack(IdRow(input_ids=[1, 2], labels=[MASKED, 9])).targets == [9]


@given(forests(), BUDGETS)
def test_a_token_attends_its_own_rows_tokens_before_it(rows: list[IdRow], max_tokens: int) -> None:
    packed = []
    for pack in make_packs(rows, max_tokens=max_tokens, long_rows="alone"):
        for number, last in zip(pack.row_indices, pack.last_indices, strict=True):
            path = seen(pack, last)
            ids = rows[number].input_ids[: num_learned(rows[number])]
            assert [pack.input_ids[place] for place in path] == ids
            assert [pack.positions[place] for place in path] == list(range(len(ids)))
            for depth, place in enumerate(path):
                assert seen(pack, place) == path[: depth + 1]
            packed.append(number)
    assert sorted(packed) == [number for number, row in enumerate(rows) if num_learned(row)]


@given(forests(), BUDGETS)
def test_packs_learn_what_rows_learn(rows: list[IdRow], max_tokens: int) -> None:
    packs = make_packs(rows, max_tokens=max_tokens, long_rows="alone")
    assert lessons_of_packs(packs) == lessons_of_rows(rows)
    for pack in packs:
        pairs = list(zip(pack.source_indices, pack.targets, strict=True))
        assert pairs == sorted(set(pairs))


@given(forests(), BUDGETS)
def test_the_budget_holds_and_nothing_is_computed_twice_in_a_pack(rows: list[IdRow], max_tokens: int) -> None:
    for pack in make_packs(rows, max_tokens=max_tokens, long_rows="alone"):
        computed = {tuple(rows[number].input_ids[: num_learned(rows[number])]) for number in pack.row_indices}
        assert pack.num_tokens <= max_tokens or len(computed) == 1
        paths = [tuple(pack.input_ids[key] for key in seen(pack, place)) for place in range(pack.num_tokens)]
        assert len(set(paths)) == len(paths)


@given(forests())
def test_a_budget_for_all_gives_one_pack_of_the_fewest_tokens(rows: list[IdRow]) -> None:
    prefixes = {tuple(row.input_ids[:end]) for row in rows for end in range(1, num_learned(row) + 1)}
    assert sum(pack.num_tokens for pack in make_packs(rows, max_tokens=10_000)) == len(prefixes)


@given(forests(), BUDGETS, st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_no_pack(rows: list[IdRow], max_tokens: int, shuffle: random.Random) -> None:
    def without_rows(packs: list[Pack]) -> list[Pack]:
        return [replace(pack, row_indices=[], last_indices=[]) for pack in packs]

    shuffled = rows.copy()
    shuffle.shuffle(shuffled)
    packs = make_packs(rows, max_tokens=max_tokens, long_rows="alone")
    assert packs == make_packs(rows, max_tokens=max_tokens, long_rows="alone")
    assert without_rows(packs) == without_rows(make_packs(shuffled, max_tokens=max_tokens, long_rows="alone"))


def test_a_split_repeats_the_prefix_as_seldom_as_can_be() -> None:
    persona = list(range(100, 140))
    rows = [supervised([*persona, row, 50, 51], first=41) for row in range(20)]
    packs = make_packs(rows, max_tokens=60)  # 40 of the prefix, 2 of each row: 10 rows a pack
    assert [pack.num_tokens for pack in packs] == [60, 60]
    assert all(pack.input_ids[:40] == persona for pack in packs)


def test_what_is_left_of_split_trees_shares_packs() -> None:
    rows = [supervised([tree, tree, row, row, row]) for tree in (1, 2) for row in (6, 7, 8, 9)]
    packs = make_packs(rows, max_tokens=9)  # of each tree, 2 + 3 * 2 tokens fit into one pack; 2 + 2 are left over
    assert [pack.num_tokens for pack in packs] == [8, 8, 8]
    assert [sorted(set(pack.input_ids) & {1, 2}) for pack in packs] == [[1], [2], [1, 2]]


def test_a_row_that_ends_where_a_tree_is_split_is_in_one_pack() -> None:
    rows = [supervised([1, 2, 3]), *(supervised([1, 2, branch, branch, 3]) for branch in (7, 8, 9))]
    packs = make_packs(rows, max_tokens=4)
    assert [pack.input_ids for pack in packs] == [[1, 2, 7, 7], [1, 2, 8, 8], [1, 2, 9, 9]]
    assert [pack.row_indices for pack in packs] == [[0, 1], [2], [3]]
    assert lessons_of_packs(packs) == lessons_of_rows(rows)


def test_branches_stand_in_the_order_of_their_ids() -> None:
    """Not in that of their bytes in memory, which differs between machines."""
    assert one_pack(*(supervised([5, branch, 3]) for branch in (70_000, 256, 1))).input_ids == [5, 1, 256, 70_000]


def test_a_chain_deeper_than_the_stack_is_packed() -> None:
    rows = [supervised(range(length)) for length in range(2, 1500)]
    (pack,) = make_packs(rows, max_tokens=1500)
    assert pack.weights == list(range(1498, 0, -1))


def test_a_row_longer_than_the_budget_is_refused_by_name() -> None:
    rows = [supervised([1, 2]), replace(supervised(range(9)), where="rows.jsonl:2")]
    with pytest.raises(DataError) as refused:
        make_packs(rows, max_tokens=7)
    assert str(refused.value) == (
        "the row has 8 tokens to compute, and a pack holds 7\n"
        " --> rows.jsonl:2\n"
        "help: raise the budget of tokens a pack to 8"
    )
    assert make_packs(rows, max_tokens=8)


def test_a_long_row_can_have_a_pack_of_its_own() -> None:
    rows = [supervised(range(9)), supervised([0, 1, 2]), supervised(range(9)), supervised([0, 1, 2, 3])]
    packs = make_packs(rows, max_tokens=3, long_rows="alone")
    assert [(pack.num_tokens, pack.row_indices) for pack in packs] == [(3, [1, 3]), (8, [0, 2])]


def test_labels_that_are_not_parallel_are_refused() -> None:
    with pytest.raises(DataError, match="1 labels and 2 input_ids"):
        make_packs([IdRow(input_ids=[1, 2], labels=[1])], max_tokens=8)


def test_a_budget_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="0 tokens"):
        make_packs([], max_tokens=0)
