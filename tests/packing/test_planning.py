from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetooth.packing import Pack, make_packs, plan, spread
from tests.packing.rows import IdRow, forests, lessons_of_packs, lessons_of_rows, supervised


def test_a_plan_counts() -> None:
    rows = [supervised([1, 2, 3, 4], first=2), supervised([1, 2, 3, 5], first=2)]
    numbers = plan(rows, make_packs(rows, max_tokens=8))
    assert (numbers.num_rows, numbers.num_packs, numbers.max_pack_tokens) == (2, 1, 3)
    assert (numbers.num_unpacked_tokens, numbers.num_computed_tokens) == (8, 3)
    assert (numbers.num_supervised, numbers.num_targets) == (4, 3)
    assert numbers.sharing_ratio == 8 / 3


def test_a_plan_of_nothing_shares_nothing() -> None:
    assert plan([], []).sharing_ratio == 1.0


@given(forests(), st.integers(10, 40), st.integers(1, 5))
def test_ranks_run_equal_numbers_of_packs_and_learn_everything(
    rows: list[IdRow], max_tokens: int, num_ranks: int
) -> None:
    packs = make_packs(rows, max_tokens=max_tokens, long_rows="alone")
    ranks = spread(packs, num_ranks, Pack.empty)
    assert len(ranks) == num_ranks
    assert {len(rank) for rank in ranks} == {max(1, -(-len(packs) // num_ranks))}
    assert lessons_of_packs([pack for rank in ranks for pack in rank]) == lessons_of_rows(rows)


def test_ranks_run_packs_of_about_the_same_length_at_a_time() -> None:
    packs = [make_packs([supervised(range(length + 1))], max_tokens=8)[0] for length in (2, 8, 4, 6, 3)]
    ranks = spread(packs, 2, Pack.empty)
    assert [[pack.num_tokens for pack in rank] for rank in ranks] == [[8, 3, 2], [6, 4, 1]]
    assert ranks[1][2] == Pack.empty()


def test_an_empty_pack_can_be_run_and_learns_nothing() -> None:
    ranks = spread([], 2, Pack.empty)
    assert ranks == [[Pack.empty()], [Pack.empty()]]
    assert (Pack.empty().num_tokens, Pack.empty().num_supervised, Pack.empty().targets) == (1, 0, [])


def test_no_rank_is_refused() -> None:
    with pytest.raises(ValueError, match="num_ranks is 0"):
        spread([], 0, Pack.empty)
