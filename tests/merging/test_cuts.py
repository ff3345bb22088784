"""Cuts keep exactly as many as asked, whichever way they are found."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

import finetooth
from finetooth.merging.methods import cuts
from finetooth.merging.methods.brackets import Bracket, magnitudes
from finetooth.merging.methods.cut import Cut
from finetooth.merging.methods.stacked import SAMPLE_STRETCH, Chunk
from finetooth.merging.streaming import Stream
from tests.merging.test_merge import settings
from tests.merging.toys import family, read_weights

SIZE, STRETCH = 20_000, 50

KINDS: dict[str, Callable[[Tensor], Tensor]] = {
    "even": lambda noise: noise,
    "rows of other sizes": lambda noise: noise * torch.linspace(0.01, 10, 100).repeat_interleave(SIZE // 100),
    "in order": lambda noise: noise.abs().sort().values,
    "few values": lambda noise: (noise * 4).round() / 4,
    "mostly zeros": lambda noise: torch.where(noise > 1.5, noise, 0.0),
    "one value": torch.ones_like,
    "heavy tails": lambda noise: noise.pow(7),
    "differences of bf16": lambda noise: (1 + noise * 0.1).bfloat16().float() - 1,
}


def row(kind: str, seed: int) -> Tensor:
    return KINDS[kind](torch.randn(SIZE, generator=torch.Generator().manual_seed(seed)))


def in_chunks(rows_MN: Tensor, size: int) -> Callable[[], Iterator[Sequence[Tensor]]]:
    return lambda: iter([part.clone().unbind() for part in torch.split(rows_MN, size, dim=1)])


def sample_of(row_N: Tensor) -> Tensor:
    return row_N.view(-1, STRETCH)[3::7]


def sorted_cut(row_N: Tensor, number: int) -> Cut:
    ordered = row_N.abs().sort(descending=True).values
    value = ordered[number - 1]
    above = int((row_N.abs() > value).sum())
    return Cut(float(value), number - above, int((row_N.abs() == value).sum()))


@given(
    kinds=st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=3),
    seed=st.integers(0, 1000),
    numbers=st.lists(st.integers(1, SIZE - 1), min_size=1, max_size=2),
    size=st.sampled_from([4096, SIZE]),
    is_misleading=st.booleans(),
)
def test_they_are_those_of_a_sort(
    kinds: list[str], seed: int, numbers: list[int], size: int, is_misleading: bool
) -> None:
    rows_MN = torch.stack([row(kind, seed + index) for index, kind in enumerate(kinds)])
    samples_MSL = torch.stack([sample_of(one) for one in rows_MN])
    if is_misleading:
        samples_MSL = samples_MSL * 3 + 1
    wanted = [numbers] * len(kinds)
    expected = [[sorted_cut(one, number) for number in numbers] for one in rows_MN]
    assert cuts.cuts(in_chunks(rows_MN, size), SIZE, wanted) == expected
    assert cuts.cuts(in_chunks(rows_MN, size), SIZE, wanted, samples_MSL) == expected


@given(kind=st.sampled_from(sorted(KINDS)), seed=st.integers(0, 1000), number=st.integers(1, SIZE - 1))
def test_exactly_as_many_are_kept(kind: str, seed: int, number: int) -> None:
    row_N = row(kind, seed)
    ((cut,),) = cuts.cuts(in_chunks(row_N[None], 4096), SIZE, [[number]], sample_of(row_N)[None])
    sieve = cut.sieve()
    marked_N = torch.cat([sieve(part.clone()) for part in torch.split(torch.where(row_N == 0, 1e-30, row_N), 4096)])
    if cut.value > 0:
        assert int(marked_N.count_nonzero()) == number


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_one_pass_is_enough(kind: str) -> None:
    passes = 0

    def stream() -> Iterator[Sequence[Tensor]]:
        nonlocal passes
        passes += 1
        yield from in_chunks(row(kind, 1)[None], 4096)()

    cuts.cuts(stream, SIZE, [[SIZE // 5, SIZE // 2]], sample_of(row(kind, 1))[None])
    assert passes == 1


def test_a_sample_of_something_else_is_seen_to_be() -> None:
    row_N = row("even", 1)
    bracket = Bracket.around(sample_of(row_N) * 3 + 1, 0.5, SIZE)
    assert bracket is not None
    bracket.add(magnitudes(row_N, torch.empty(SIZE, dtype=torch.int32)))
    assert bracket.cut(SIZE // 2) is None


def test_no_more_is_kept_than_allowed() -> None:
    row_N = row("even", 1)
    assert Bracket.around(sample_of(row_N), 0.5, SIZE, most_kept=100) is None
    # One that is too wide all the same, as where the sample was all of one value and the row is not.
    bracket = Bracket(0, 0x7F000000, most_kept=1000)
    for part_N in torch.split(row_N, 500):
        bracket.add(magnitudes(part_N, torch.empty(500, dtype=torch.int32)))
        assert bracket.num_kept <= 1500
    assert bracket.cut(SIZE // 2) is None
    # Equal values take the room of one.
    bracket = Bracket(0, 0x7F000000, most_kept=1000)
    few_N = row("few values", 1)
    for part_N in torch.split(few_N, 500):
        bracket.add(magnitudes(part_N, torch.empty(500, dtype=torch.int32)))
    assert bracket.cut(SIZE // 2) == sorted_cut(few_N, SIZE // 2)


@pytest.mark.parametrize("method", ["ties", "breadcrumbs", "breadcrumbs_ties", "sce"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_sample_does_not_change_a_byte(
    method: str, dtype: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    family(tmp_path, vocab=20_000, dtype=dtype)
    taken: list[Chunk] = []
    sample = Stream.sample

    def seen(self: Stream) -> Chunk | None:
        if (found := sample(self)) is not None:
            taken.append(found)
        return found

    config = settings(tmp_path, method)
    monkeypatch.setattr(Stream, "sample", seen)
    with_sample = read_weights(finetooth.merge(config, tmp_path / "sampled"))
    monkeypatch.setattr(Stream, "sample", lambda self: None)
    without = read_weights(finetooth.merge(config, tmp_path / "counted"))
    assert len(taken) == 2  # embeddings and head
    assert with_sample.keys() == without.keys()
    assert all(torch.equal(with_sample[name], without[name]) for name in without)


def test_a_sample_comes_from_all_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = family(tmp_path, "a", vocab=20_000)
    for directory in ("base", "a"):
        places = dict(tensors[directory])
        places["lm_head.weight"] = torch.arange(20_000 * 16, dtype=torch.float32).view(-1, 16)
        save_file(places, tmp_path / directory / "model.safetensors", metadata={"format": "pt"})
    found: list[np.ndarray] = []
    sample = Stream.sample

    def seen(self: Stream) -> Chunk | None:
        chunk = sample(self)
        if chunk is not None and self.name == "lm_head.weight":
            assert chunk.base_N is not None
            assert torch.equal(chunk.models.rows[0], chunk.base_N)
            found.append(chunk.models.rows[0].numpy().reshape(-1, SAMPLE_STRETCH).copy())
        return chunk

    monkeypatch.setattr(Stream, "sample", seen)
    finetooth.merge(settings(tmp_path, "ties", "a"), tmp_path / "merged", force=True)
    (places_SL,) = found
    assert (np.diff(places_SL, axis=1) == 1).all()
    starts_S = places_SL[:, 0]
    tenths = np.histogram(starts_S, 10, (0, 20_000 * 16))[0]
    assert tenths.min() > 0
    for columns in (2048, 4096, 5632, 14336):  # not from the same columns of each row
        assert np.histogram(starts_S % columns, 4, (0, columns))[0].min() > 0
    assert places_SL[-1, -1] < 20_000 * 16


@pytest.mark.parametrize("number", [0, SIZE])
def test_all_or_nothing_takes_no_pass(number: int) -> None:
    def stream() -> Iterator[Sequence[Tensor]]:
        raise AssertionError

    row_N = row("even", 1)
    ((cut,),) = cuts.cuts(stream, SIZE, [[number]], sample_of(row_N)[None])
    assert int(cut.sieve()(row_N.clone()).count_nonzero()) == number
