"""Attention over a pack in chunks of queries, each with the keys that it needs: what dense kernels are given on a CPU.

Of the T x T pairs of a pack most are masked: branches do not see each other. A chunk of consecutive queries sees its
own tokens and those of the path that leads to it, a few runs of keys. So pairs shrink from T x T to T x (path + chunk),
and large packs, which share most, cost no more than small ones.
"""

from __future__ import annotations

from dataclasses import dataclass

from finetooth.packing.pack import Pack

CHUNK = 256
"""Queries in a chunk. Fewer see less that is masked, and take more calls; measured by
`benchmarks/bench_training.py --chunks`."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive queries, and the keys before them that they attend."""

    start: int
    """Half-open tokens of the pack: the queries, which are keys as well."""
    end: int
    before: tuple[tuple[int, int], ...]
    """Half-open runs of keys before `start`, ascending: the path from the root to the first query."""

    @property
    def runs(self) -> tuple[tuple[int, int], ...]:
        """Return all runs of keys, the queries' own last."""
        return (*self.before, (self.start, self.end))

    @property
    def num_keys(self) -> int:
        """Return how many keys the queries are held against."""
        return sum(end - start for start, end in self.runs)


def make_chunks(pack: Pack, size: int = CHUNK) -> list[Chunk]:
    """Return the chunks of a pack, in its order; together they hold every query once, and every pair that attends."""
    chunks: list[Chunk] = []
    open_runs: list[tuple[int, int]] = []  # (first token, one past the subtree), on the path to the token at hand
    for token, (end, depth) in enumerate(zip(pack.end, pack.positions, strict=True)):
        begins = token == 0 or end != pack.end[token - 1] or depth != pack.positions[token - 1] + 1
        if begins:
            while open_runs and open_runs[-1][1] <= token:
                open_runs.pop()
            open_runs.append((token, end))
        if token % size == 0:
            chunks.append(Chunk(token, min(token + size, pack.num_tokens), _before(token, open_runs, pack)))
    return chunks


def _before(token: int, open_runs: list[tuple[int, int]], pack: Pack) -> tuple[tuple[int, int], ...]:
    """Return the runs of keys that lie on the path to a token, runs that touch as one."""
    runs: list[tuple[int, int]] = []
    depth = pack.positions[token]
    # A run of the path goes on until the next one on it begins, counted in depths: between them lie other branches.
    starts = [start for start, _ in open_runs]
    for index, start in enumerate(starts):
        next_depth = pack.positions[starts[index + 1]] if index + 1 < len(starts) else depth
        end = start + min(next_depth, depth) - pack.positions[start]
        if end <= start:
            continue
        if runs and runs[-1][1] == start:
            runs[-1] = (runs[-1][0], end)
        else:
            runs.append((start, end))
    return tuple(runs)


def num_pairs(chunks: list[Chunk]) -> int:
    """Return the pairs of queries and keys that are computed, masked ones included."""
    return sum((chunk.end - chunk.start) * chunk.num_keys for chunk in chunks)
