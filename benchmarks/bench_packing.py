"""Packing: the forest of 10,000 rows of 480 tokens that share 430, beside a trie built token by token, in dicts.

    python benchmarks/bench_packing.py [--rows 10000] [--max-tokens 4096]

The rows are random ids, shaped like a persona of 430 tokens, a turn of 26 and an answer of 24. The trie in dicts is the
building alone, without cutting, order or targets. A second line gives rows that share nothing, all supervised.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from finetooth.packing import make_packs, plan
from finetooth.packing.trie import make_trie
from finetooth.types import IGNORE_INDEX


@dataclass(frozen=True, slots=True)
class IdRow:
    """A row of the benchmark."""

    input_ids: list[int]
    labels: list[int]
    where: str = ""


def shared_rows(count: int) -> list[IdRow]:
    """Return rows that share 430 of 480 tokens."""
    source = random.Random(0)
    persona = [source.randrange(32_000) for _ in range(430)]
    tails = [[source.randrange(32_000) for _ in range(50)] for _ in range(count)]
    return [IdRow(persona + tail, [IGNORE_INDEX] * 456 + tail[26:]) for tail in tails]


def unshared_rows(count: int) -> list[IdRow]:
    """Return rows of 20 to 500 tokens that share next to nothing."""
    source = random.Random(0)
    rows = [[source.randrange(32_000) for _ in range(source.randrange(20, 500))] for _ in range(count)]
    return [IdRow(ids, ids) for ids in rows]


def trie_in_dicts(rows: Sequence[IdRow]) -> None:
    """Build the trie token by token."""
    root: dict[int, Any] = {}
    for row in rows:
        node = root
        for token in row.input_ids:
            node = node.setdefault(token, {})


def seconds(work: Callable[[], object]) -> float:
    """Return the best of three runs."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Print times and numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--max-tokens", type=int, default=4096)
    arguments = parser.parse_args()
    for name, rows in (("shared", shared_rows(arguments.rows)), ("unshared", unshared_rows(arguments.rows))):
        numbers = plan(rows, make_packs(rows, max_tokens=arguments.max_tokens))
        whole = seconds(lambda rows=rows: make_packs(rows, max_tokens=arguments.max_tokens))  # type: ignore[misc]
        trie = seconds(lambda rows=rows: make_trie([(n, row.input_ids) for n, row in enumerate(rows)]))  # type: ignore[misc]
        dicts = seconds(lambda rows=rows: trie_in_dicts(rows))  # type: ignore[misc]
        print(f"{name}: packs {whole:.2f} s, of these the trie {trie:.2f} s; a trie in dicts {dicts:.2f} s")
        print(
            f"  {numbers.num_unpacked_tokens:,} tokens in {numbers.num_rows:,} rows become "
            f"{numbers.num_computed_tokens:,} in {numbers.num_packs} packs, sharing {numbers.sharing_ratio:.2f}, "
            f"packs {numbers.num_computed_tokens / numbers.num_packs / arguments.max_tokens:.1%} full"
        )


if __name__ == "__main__":
    main()
