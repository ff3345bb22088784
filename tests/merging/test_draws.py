"""Random numbers with a place: even, independent, and the same wherever one begins."""

from __future__ import annotations

from typing import Literal

import pytest
import torch

from finetooth.merging.methods.draws import Draws
from tests.merging.stacks import run

NUM = 1 << 20
HALF = 1 << 31


def test_numbers_do_not_depend_on_where_one_begins() -> None:
    draws = Draws.of(1, "model.norm.weight", 0)
    whole = draws.integers(0, 5000).clone()
    assert torch.equal(whole[1234:4321], draws.integers(1234, 4321 - 1234))
    short = draws.integers(0, 5000, 16).clone()
    assert torch.equal(short[1234:4321], draws.integers(1234, 4321 - 1234, 16))
    far = draws.integers((1 << 32) - 10, 10).clone()
    assert not torch.equal(far, draws.integers((1 << 33) - 10, 10))


@pytest.mark.parametrize("density", [0.003, 0.5, 0.997])
def test_what_is_kept_does_not_depend_on_where_one_begins(density: float) -> None:
    whole = Draws.of(1, "tensor", 0).keep(torch.ones(5000), 0, density)
    again = Draws.of(1, "tensor", 0)
    for start, end in ((1234, 4321), (0, 1), (1, 7), (4990, 5000)):
        assert torch.equal(whole[start:end], again.keep(torch.ones(end - start), start, density))


@pytest.mark.parametrize("bits", [16, 32])
def test_numbers_are_even(bits: Literal[16, 32]) -> None:
    values = Draws.of(0, "tensor", 3).integers(0, NUM, bits)
    counts = torch.bincount((values.long() + (1 << bits - 1)) >> bits - 9, minlength=512).double()
    expected = NUM / 512
    chi_squared = float(((counts - expected) ** 2 / expected).sum())
    assert 511 - 6 * 32 < chi_squared < 511 + 6 * 32  # six standard deviations of sqrt(2 * 511)


def test_numbers_are_independent() -> None:
    first = Draws.of(0, "tensor", 0).integers(0, NUM).double() / HALF
    others = {f"lag {lag}": first.roll(lag) for lag in (1, 2, 3, 8, 64, 2048, 4096)}
    others |= {f"model {model}": Draws.of(0, "tensor", model).integers(0, NUM).double() / HALF for model in (1, 2)}
    others["seed"] = Draws.of(1, "tensor", 0).integers(0, NUM).double() / HALF
    others["name"] = Draws.of(0, "tensors", 0).integers(0, NUM).double() / HALF
    for name, other in others.items():
        correlation = float((first * other).mean() / (first * first).mean())
        assert abs(correlation) < 6 / NUM**0.5, name


def test_neighbours_are_independent() -> None:
    """Pairs and triples fill squares and cubes evenly: what a hash of too few rounds fails at first."""
    values = (Draws.of(3, "tensor", 0).integers(0, NUM).double() + HALF) / (2 * HALF)
    grids = {lag: (values[:-lag], values[lag:]) for lag in (1, 2, 3, 4, 5, 8, 16, 64, 1024, 2048, 65536)}
    for lag, (first, second) in grids.items():
        counts = torch.bincount((first * 32).long() * 32 + (second * 32).long(), minlength=1024).double()
        expected = len(first) / 1024
        deviation = (float(((counts - expected) ** 2 / expected).sum()) - 1023) / (2 * 1023) ** 0.5
        assert abs(deviation) < 6, lag


def test_as_many_are_kept_as_asked() -> None:
    for density in (0.003, 0.1, 0.5, 0.97):
        kept = Draws.of(7, "tensor", 0).keep(torch.ones(NUM), 0, density).mean()
        assert abs(float(kept) - density) < 6 * (density * (1 - density) / NUM) ** 0.5
    assert Draws.of(7, "tensor", 0).keep(torch.ones(9), 0, 1.0).sum() == 9
    assert Draws.of(7, "tensor", 0).keep(torch.ones(9), 0, 0.0).sum() == 0


def test_dare_has_the_model_as_its_expectation() -> None:
    delta = torch.full((1 << 18,), 0.5)
    for density in (0.1, 0.5, 0.9):
        merged = run("dare_linear", [delta], torch.zeros_like(delta), weight=1.0, density=density)
        assert set(merged.tolist()) == {0.0, torch.tensor(0.5).mul(1 / density).item()}
        assert abs(float(merged.mean()) / 0.5 - 1) < 6 * ((1 - density) / density / delta.numel()) ** 0.5
    plain = run("dare_linear", [delta], torch.zeros_like(delta), weight=1.0, density=0.5, rescale=False)
    assert set(plain.tolist()) == {0.0, 0.5}


@pytest.mark.parametrize(("density", "epsilon"), [(0.5, 0.3), (0.5, 0.5), (0.7, 0.3), (0.012, 0.01), (0.99, 0.01)])
def test_della_keeps_by_rank(density: float, epsilon: float) -> None:
    num_rows, columns = 4000, 64
    generator = torch.Generator().manual_seed(0)
    delta = torch.randn(num_rows, columns, generator=generator)
    merged = run(
        "della_linear", [delta], torch.zeros_like(delta), weight=1.0, density=density, epsilon=epsilon, rescale=False
    )
    ranks = delta.abs().argsort(1).argsort(1)
    kept = torch.zeros(columns).scatter_add_(0, ranks.flatten(), (merged != 0).float().flatten()) / num_rows
    expected = density - epsilon + 2 * epsilon * torch.arange(columns) / (columns - 1)
    assert float((kept - expected).abs().max()) < 6 * 0.5 / num_rows**0.5
    rescaled = run("della_linear", [delta], torch.zeros_like(delta), weight=1.0, density=density, epsilon=epsilon)
    torch.testing.assert_close(rescaled.abs().sum(), delta.abs().sum())


def test_della_gives_equal_magnitudes_their_mean_rank() -> None:
    delta = torch.ones(4000, 32)
    merged = run("della_linear", [delta], torch.zeros_like(delta), weight=1.0, density=0.4, epsilon=0.3, rescale=False)
    assert abs(float(merged.mean()) - 0.4) < 6 * 0.5 / merged.numel() ** 0.5


def test_seeds_differ_and_repeat() -> None:
    base, model = torch.zeros(1000), torch.ones(1000)
    first = run("dare_linear", [model], base, weight=1.0, density=0.5, seed=1)
    assert torch.equal(first, run("dare_linear", [model], base, weight=1.0, density=0.5, seed=1, chunk=4096))
    assert not torch.equal(first, run("dare_linear", [model], base, weight=1.0, density=0.5, seed=2))
