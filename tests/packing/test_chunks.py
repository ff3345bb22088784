from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from finetooth.packing import Cost, choose_budget, make_packs
from finetooth.packing.chunks import make_chunks, num_pairs
from tests.packing.rows import IdRow, forests, seen, supervised


@given(forests(), st.integers(1, 30), st.integers(1, 9))
def test_a_chunk_holds_every_key_that_its_queries_attend(rows: list[IdRow], max_tokens: int, size: int) -> None:
    for pack in make_packs(rows, max_tokens=max_tokens, long_rows="alone"):
        chunks = make_chunks(pack, size)
        assert [query for chunk in chunks for query in range(chunk.start, chunk.end)] == list(range(pack.num_tokens))
        for chunk in chunks:
            keys = [key for start, end in chunk.runs for key in range(start, end)]
            assert keys == sorted(set(keys))
            # What stands before the queries is the path to the first of them, and no other branch.
            assert keys[: len(keys) - (chunk.end - chunk.start)] == seen(pack, chunk.start)[:-1]
            for query in range(chunk.start, chunk.end):
                assert set(seen(pack, query)) <= set(keys)


def test_pairs_grow_with_the_rows_and_not_with_their_square() -> None:
    def pairs(num_rows: int) -> int:
        rows = [supervised([*range(100, 500), row, *range(40)], first=401) for row in range(num_rows)]
        (pack,) = make_packs(rows, max_tokens=10**6)
        return num_pairs(make_chunks(pack))

    assert pairs(64) < 2.2 * pairs(32)


def test_the_budget_that_costs_least_is_chosen() -> None:
    shared = [supervised([*range(100, 500), row, *range(40)], first=401) for row in range(16)]
    apart = [supervised([row * 500 + token for token in range(440)], first=401) for row in range(16)]
    cost = Cost(per_pair=1e-3, per_batch=20.0)
    assert choose_budget([shared], cost, pad_tokens=16_384).gain > 4
    assert choose_budget([shared], cost, pad_tokens=16_384).max_tokens >= 1024
    assert 0.9 < choose_budget([apart], cost, pad_tokens=16_384).gain < 1.3
    assert choose_budget([apart], cost, pad_tokens=16_384, budgets=(512,)).max_tokens == 512
