"""What holds for methods whatever the weights are."""

from __future__ import annotations

import math
from itertools import permutations
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from finetooth.merging.methods import METHODS
from tests.merging.stacks import run

SEEDS = st.integers(0, 10_000)
SHAPES = st.sampled_from([(7,), (5, 9), (40, 33), (130, 64)])
WEIGHTS = st.lists(st.floats(0.1, 2.0), min_size=3, max_size=3)
few = settings(max_examples=15, deadline=None)


def tensors(seed: int, shape: tuple[int, ...], count: int = 4, *, quantized: bool = False) -> list[Tensor]:
    """Return a base and models near to it; quantized ones are full of ties."""
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(shape, generator=generator)
    found = [base] + [base + 0.1 * torch.randn(shape, generator=generator) for _ in range(count - 1)]
    return [(one * 8).round() / 8 for one in found] if quantized else found


def close(left: Tensor, right: Tensor) -> None:
    torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-6)


SELF: dict[str, dict[str, Any]] = {
    "linear": {"weight": [0.2, 0.5, 1.0]},
    "karcher": {},
    "multislerp": {"weight": [0.2, 0.5, 1.0]},
    "task_arithmetic": {"weight": [0.2, 0.5, 0.3]},
    "ties": {"weight": [0.2, 0.5, 1.0]},
    "dare_linear": {"weight": [0.2, 0.5, 0.3], "density": 1.0},
    "dare_ties": {"weight": [0.2, 0.5, 0.3], "density": 1.0},
    "della": {"weight": [0.2, 0.5, 1.0], "density": 1.0, "epsilon": 0.0},
    "della_linear": {"weight": [0.2, 0.5, 0.3], "density": 1.0, "epsilon": 0.0},
    "breadcrumbs": {"weight": [0.2, 0.5, 0.3], "gamma": 0.0},
    "breadcrumbs_ties": {"weight": [0.2, 0.5, 0.3], "gamma": 0.0},
    "model_stock": {},
    "sce": {},
}


@pytest.mark.parametrize("name", SELF)
@few
@given(seed=SEEDS, shape=SHAPES)
def test_a_model_with_itself_is_itself(name: str, seed: int, shape: tuple[int, ...]) -> None:
    base, model = tensors(seed, shape, 2)
    takes_base = METHODS[name].base == "required"
    close(run(name, [model] * 3, base if takes_base else None, **SELF[name]), model)


@pytest.mark.parametrize("name", ["slerp", "nearswap"])
@few
@given(seed=SEEDS, shape=SHAPES, t=st.floats(0, 1))
def test_two_ends_that_are_one(name: str, seed: int, shape: tuple[int, ...], t: float) -> None:
    (model,) = tensors(seed, shape, 1)
    close(run(name, [model], model, t=t), model)


COLUMNS = {"nuslerp_flatten": False, "nuslerp_row_wise": True}


@pytest.mark.parametrize("flags", [{}, {"nuslerp_flatten": False}, COLUMNS])
@few
@given(seed=SEEDS, shape=SHAPES, share=st.floats(0, 1))
def test_nuslerp_of_one_model(flags: dict[str, bool], seed: int, shape: tuple[int, ...], share: float) -> None:
    base, model = tensors(seed, shape, 2)
    close(run("nuslerp", [model, model], base, weight=[1 - share, share], **flags), model)


@few
@given(seed=SEEDS, shape=SHAPES)
def test_ends_of_the_arc(seed: int, shape: tuple[int, ...]) -> None:
    base, model = tensors(seed, shape, 2)
    assert torch.equal(run("slerp", [model], base, t=0.0), base)
    assert torch.equal(run("slerp", [model], base, t=1.0), model)
    close(run("nuslerp", [base, model], weight=[1.0, 0.0]), base)
    close(run("nuslerp", [base, model], weight=[0.0, 1.0]), model)


@few
@given(seed=SEEDS, t=st.floats(0.05, 0.95))
def test_the_arc_keeps_the_length(seed: int, t: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    first, second = (torch.nn.functional.normalize(torch.randn(64, generator=generator), dim=0) for _ in range(2))
    assert math.isclose(float(run("slerp", [second], first, t=t).norm()), 1.0, rel_tol=1e-5)


@pytest.mark.parametrize("name", ["linear", "task_arithmetic", "ties", "breadcrumbs", "della", "multislerp"])
@few
@given(seed=SEEDS, shape=SHAPES, data=st.data())
def test_weights_one_and_zero(name: str, seed: int, shape: tuple[int, ...], data: st.DataObject) -> None:
    base, *models = tensors(seed, shape)
    chosen = data.draw(st.integers(0, 2))
    values: dict[str, Any] = {"weight": [float(place == chosen) for place in range(3)]}
    if name == "breadcrumbs":
        values["gamma"] = 0.0
    if name == "della":
        values["epsilon"] = 0.0
    takes_base = METHODS[name].base == "required"
    close(run(name, models, base if takes_base else None, **values), models[chosen])


@pytest.mark.parametrize("name", ["linear", "task_arithmetic", "ties", "breadcrumbs_ties", "multislerp"])
@few
@given(seed=SEEDS, shape=SHAPES, weight=WEIGHTS)
def test_the_order_of_models_does_not_matter(name: str, seed: int, shape: tuple[int, ...], weight: list[float]) -> None:
    base, *models = tensors(seed, shape)
    values: dict[str, Any] = {} if name in ("linear", "task_arithmetic", "multislerp") else {"density": 0.6}
    takes_base = METHODS[name].base == "required"
    results = [
        run(name, [models[place] for place in order], base if takes_base else None,
            weight=[weight[place] for place in order], **values)
        for order in permutations(range(3))
    ]  # fmt: skip
    for result in results[1:]:
        close(result, results[0])


@pytest.mark.parametrize("name", ["karcher", "model_stock", "sce"])
@few
@given(seed=SEEDS, shape=SHAPES)
def test_the_order_does_not_matter_without_weights(name: str, seed: int, shape: tuple[int, ...]) -> None:
    base, first, second, third = tensors(seed, shape)
    given_base = None if name == "karcher" else base
    close(run(name, [first, second, third], given_base), run(name, [third, first, second], given_base))


@few
@given(seed=SEEDS, shape=SHAPES, weight=WEIGHTS, factor=st.floats(-2, 2))
def test_linearity(seed: int, shape: tuple[int, ...], weight: list[float], factor: float) -> None:
    base, *models = tensors(seed, shape)
    whole = run("task_arithmetic", models, base, weight=weight)
    one_by_one = [run("task_arithmetic", [model], base, weight=[w]) for model, w in zip(models, weight, strict=True)]
    close(whole - base, torch.stack([one - base for one in one_by_one]).sum(0))
    scaled: dict[str, Any] = {"weight": weight, "lambda": factor}
    close(run("task_arithmetic", models, base, **scaled) - base, factor * (whole - base))
    expected = torch.stack([w * model for w, model in zip(weight, models, strict=True)]).sum(0)
    close(run("linear", models, weight=weight, normalize=False), expected)


DENSE: dict[str, dict[str, Any]] = {
    "dare_linear": {"density": 1.0},
    "della_linear": {"density": 1.0, "epsilon": 0.0},
    "breadcrumbs": {"density": 1.0, "gamma": 0.0},
}


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("name", DENSE)
@few
@given(seed=SEEDS, shape=SHAPES, weight=WEIGHTS)
def test_dense_is_task_arithmetic(
    name: str, normalize: bool, seed: int, shape: tuple[int, ...], weight: list[float]
) -> None:
    base, *models = tensors(seed, shape)
    expected = run("task_arithmetic", models, base, weight=weight, normalize=normalize)
    assert torch.equal(run(name, models, base, weight=weight, normalize=normalize, **DENSE[name]), expected)


CONSENSUS: dict[str, dict[str, Any]] = {
    "dare_ties": {"density": 1.0},
    "della": {"density": 1.0, "epsilon": 0.0},
    "breadcrumbs_ties": {"density": 1.0, "gamma": 0.0},
}


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("name", CONSENSUS)
@few
@given(seed=SEEDS, shape=SHAPES, weight=WEIGHTS, quantized=st.booleans())
def test_dense_consensus_is_ties(
    name: str, normalize: bool, seed: int, shape: tuple[int, ...], weight: list[float], quantized: bool
) -> None:
    base, *models = tensors(seed, shape, quantized=quantized)
    expected = run("ties", models, base, weight=weight, density=1.0, normalize=normalize)
    assert torch.equal(run(name, models, base, weight=weight, normalize=normalize, **CONSENSUS[name]), expected)


@few
@given(
    seed=SEEDS,
    shape=SHAPES,
    weight=st.lists(st.floats(-2, 2).filter(lambda w: abs(w) > 0.1), min_size=3, max_size=3),
    density=st.floats(0.05, 1),
    normalize=st.booleans(),
    quantized=st.booleans(),
    by_count=st.booleans(),
)
def test_ties_as_the_paper_says(
    seed: int,
    shape: tuple[int, ...],
    weight: list[float],
    density: float,
    normalize: bool,
    quantized: bool,
    by_count: bool,
) -> None:
    """Against the plain way: a sort, masks, sums."""
    base, *models = tensors(seed, shape, quantized=quantized)
    weighted = []
    for model, w in zip(models, weight, strict=True):
        delta = (model - base).flatten()
        order = delta.abs().argsort(descending=True, stable=True)[: int(density * delta.numel())]
        kept = torch.zeros_like(delta)
        kept[order] = delta[order]
        weighted.append(kept * w)
    stacked = torch.stack(weighted)
    votes = stacked.sign() if by_count else stacked
    elected = torch.where(((votes[0] + votes[1]) + votes[2]) >= 0, 1.0, -1.0)
    agrees = stacked.sign() == elected
    merged = (stacked * agrees).sum(0)
    if normalize:
        divisor = (agrees * torch.tensor(weight)[:, None]).sum(0)
        merged = merged / torch.where(divisor.abs() < 1e-8, 1.0, divisor)
    result = run(
        "ties", models, base, weight=weight, density=density, normalize=normalize,
        consensus_method="count" if by_count else "sum",
    )  # fmt: skip
    close(result, base + merged.view(shape))


@few
@given(seed=SEEDS, shape=SHAPES, share=st.floats(0.05, 1.0), quantized=st.booleans())
def test_sce_as_the_paper_says(seed: int, shape: tuple[int, ...], share: float, quantized: bool) -> None:
    base, *models = tensors(seed, shape, quantized=quantized)
    deltas = torch.stack([model - base for model in models]).flatten(1)
    variance = deltas.var(0, unbiased=False)
    count = max(int(share * variance.numel()), 1)
    threshold = variance.sort(descending=True).values[count - 1]
    if not quantized:  # among ties, which of them are chosen is another matter
        deltas = deltas * (variance >= threshold)
        energy = (deltas**2).mean(1)
        weight = (energy / energy.sum())[:, None]
        agrees = deltas.sign() == torch.where(deltas.sum(0) >= 0, 1.0, -1.0)
        merged = (deltas * weight * agrees).sum(0) / (weight * agrees).sum(0).clamp(min=1e-8)
        close(run("sce", models, base, select_topk=share), base + merged.view(shape))
    else:
        assert run("sce", models, base, select_topk=share).isfinite().all()


@few
@given(seed=SEEDS, shape=SHAPES, density=st.floats(0.1, 0.9), gamma=st.floats(0, 0.3), quantized=st.booleans())
def test_breadcrumbs_keeps_as_many_as_asked(
    seed: int, shape: tuple[int, ...], density: float, gamma: float, quantized: bool
) -> None:
    base, model = tensors(seed, shape, 2, quantized=quantized)
    merged = run("breadcrumbs", [model], base, weight=1.0, density=density, gamma=gamma) - base
    delta = (model - base).flatten()
    size = delta.numel()
    dropped = min(int(gamma * size), size - int(density * size))
    order = delta.abs().argsort(descending=True, stable=True)[dropped : dropped + int(density * size)]
    expected = torch.zeros_like(delta)
    expected[order] = delta[order]
    close(merged.flatten(), expected)


def test_the_chat_vector() -> None:
    base, target, chat = tensors(0, (5, 9), 3)
    close(run("chat_vector", [target, chat], base), target + (chat - base))


@pytest.mark.parametrize("name", sorted(METHODS))
def test_chunks_do_not_change_a_bit(name: str) -> None:
    method = METHODS[name]
    base, *models = tensors(3, (96, 200))
    models = models[: method.max_models or 3]
    values: dict[str, Any] = {"density": 0.5, "weight": 0.7, "t": 0.3, "epsilon": 0.2, "select_topk": 0.4, "scale": 0.5}
    values |= {"rescale": True, "filter_wise": True, "nuslerp_flatten": False, "nuslerp_row_wise": True}
    chosen = {key: value for key, value in values.items() if method.parameter(key)}
    given_base = None if method.base == "unused" else base
    results = [run(name, models, given_base, chunk=chunk, **chosen) for chunk in (4096, 3 * 4096, 1 << 20)]
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_every_method_tells_its_formula_and_its_source() -> None:
    for method in METHODS.values():
        assert "\n\n" in method.documentation, method.name


def test_opposed_models_of_equal_pull_come_out_positive() -> None:
    base, delta = torch.zeros(4), torch.tensor([0.5, -0.25, 0.0, 1.0])
    assert torch.equal(run("ties", [base + delta, base - delta], base, weight=1.0), delta.abs())


def test_models_that_are_the_base() -> None:
    base = torch.randn(20, 20)
    for name in ("ties", "sce", "model_stock", "della", "dare_ties", "breadcrumbs", "multislerp"):
        values: dict[str, Any] = {"weight": 1.0} if METHODS[name].parameter("weight") else {}
        values |= {"density": 0.5} if METHODS[name].parameter("density") else {}
        assert torch.equal(run(name, [base, base.clone()], base, **values), base), name


@few
@given(seed=SEEDS, shape=SHAPES, chunk=st.sampled_from([4096, 1 << 13, 1 << 16]))
def test_what_is_kept_between_passes_changes_nothing(seed: int, shape: tuple[int, ...], chunk: int) -> None:
    base, *models = tensors(seed, shape)
    kept = run("model_stock", models, base, chunk=chunk)
    assert torch.equal(kept, run("model_stock", models, base, chunk=1 << 16, has_room=False))
