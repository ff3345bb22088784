from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from finetooth.packing import make_packs
from finetooth.types import IGNORE_INDEX
from tests.packing.rows import supervised

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from finetooth.loss import SUMS, Targets, metrics_of, observed_loss, supervised_loss  # noqa: E402

NUM_IDS = 97
HIDDEN = 16


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=NUM_IDS,
        hidden_size=HIDDEN,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        initializer_range=0.3,
        pad_token_id=0,
    )
    return transformers.LlamaForCausalLM(config).eval()


def batch(*, num_rows: int = 3, num_tokens: int = 12) -> dict[str, Any]:
    """Return rows of which part is supervised: one from its first token on, one to its last, one nowhere."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(1, NUM_IDS, (num_rows, num_tokens), generator=generator)
    labels = ids.clone()
    labels[0, 7:] = IGNORE_INDEX
    labels[1, :9] = IGNORE_INDEX
    labels[2, :] = IGNORE_INDEX
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}


def ours(model: Any, inputs: dict[str, Any], **options: Any) -> Any:
    hidden = model.model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).last_hidden_state
    return supervised_loss(hidden, model.lm_head, Targets.from_labels(inputs["labels"]), **options)


def gradients(model: Any) -> dict[str, Any]:
    taken = {name: weight.grad.clone() for name, weight in model.named_parameters()}
    model.zero_grad()
    return taken


def assert_same_gradients(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        assert (gradient - expected[name]).norm() <= 1e-5 * expected[name].norm(), name


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("num_items", [None, 40, torch.tensor(40)], ids=["mean", "int", "tensor"])
def test_it_is_the_loss_of_trainer(model: Any, tmp_path: Path, num_items: Any, label_smoothing: float) -> None:
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path), label_smoothing_factor=label_smoothing, report_to=[], use_cpu=True
    )
    trainer = transformers.Trainer(model=model, args=arguments)
    assert (trainer.label_smoother is None) == (label_smoothing == 0.0)
    # Trainer takes the labels out of what it is given.
    expected = trainer.compute_loss(model, dict(batch()), num_items_in_batch=num_items)
    expected.backward()
    expected_gradients = gradients(model)

    loss = ours(model, batch(), num_items=num_items, label_smoothing=label_smoothing)
    loss.backward()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6, rel=1e-6)
    assert_same_gradients(gradients(model), expected_gradients)


@pytest.mark.parametrize("num_items", [None, 40])
def test_smoothing_is_that_of_label_smoother(model: Any, num_items: int | None) -> None:
    from transformers.trainer_pt_utils import LabelSmoother

    inputs = batch()
    labels = inputs["labels"]
    output = model(input_ids=inputs["input_ids"])
    expected = LabelSmoother(epsilon=0.2)(output, labels, shift_labels=True, num_items_in_batch=num_items)
    loss = ours(model, inputs, num_items=num_items, label_smoothing=0.2)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6, rel=1e-6)
    assert loss.item() != pytest.approx(ours(model, inputs, num_items=num_items).item(), abs=1e-3)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_batches_add_up_to_the_step(model: Any, label_smoothing: float) -> None:
    whole = batch()
    num_items = Targets.from_labels(whole["labels"]).target_N.numel()
    assert num_items == 6 + 3
    parts = [{name: rows[index : index + 1] for name, rows in whole.items()} for index in range(3)]
    total = sum(ours(model, part, num_items=num_items, label_smoothing=label_smoothing).item() for part in parts)
    assert total == pytest.approx(ours(model, whole, label_smoothing=label_smoothing).item(), abs=1e-6)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("chunk_size", [1, 4, 9, 1000])
def test_chunks_change_nothing(model: Any, chunk_size: int, label_smoothing: float) -> None:
    expected = ours(model, batch(), label_smoothing=label_smoothing, chunk_size=None)
    expected.backward()
    expected_gradients = gradients(model)
    loss = ours(model, batch(), label_smoothing=label_smoothing, chunk_size=chunk_size)
    loss.backward()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)
    assert_same_gradients(gradients(model), expected_gradients)


def test_no_chunk_is_larger_and_no_logits_are_kept() -> None:
    """Both are what keeps memory from growing with the vocabulary times the targets."""
    sizes: list[int] = []
    weight = torch.randn(NUM_IDS, HIDDEN, requires_grad=True)

    def lm_head(chunk: Any) -> Any:
        sizes.append(len(chunk))
        return chunk @ weight.T

    hidden = torch.randn(50, HIDDEN, requires_grad=True)
    targets = Targets.from_labels(torch.arange(50)[None])
    kept: list[int] = []

    def pack(tensor: Any) -> Any:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss: Any = supervised_loss(hidden, lm_head, targets, chunk_size=8)
    assert sizes == [8] * 6 + [1]
    assert max(kept) < 8 * NUM_IDS
    loss.backward()
    assert sizes == ([8] * 6 + [1]) + ([1] + [8] * 6)


def test_only_supervised_positions_reach_the_head(model: Any) -> None:
    sizes: list[int] = []

    def lm_head(chunk: Any) -> Any:
        sizes.append(len(chunk))
        return model.lm_head(chunk)

    hidden = model.model(input_ids=batch()["input_ids"]).last_hidden_state
    supervised_loss(hidden, lm_head, Targets.from_labels(batch()["labels"]))
    assert sizes == [9]


def test_a_weight_counts_as_often_as_the_target_would() -> None:
    generator = torch.Generator().manual_seed(2)
    hidden, weight = torch.randn(4, HIDDEN, generator=generator), torch.randn(HIDDEN, NUM_IDS, generator=generator)

    def loss(sources: list[int], ids: list[int], weights: list[float], **options: Any) -> float:
        weight_N = torch.tensor(weights)
        targets = Targets(
            source_N=torch.tensor(sources), target_N=torch.tensor(ids), weight_N=weight_N, count_N=weight_N
        )
        value: float = supervised_loss(hidden, lambda chunk: chunk @ weight, targets, **options).item()
        return value

    once, branch = loss([0], [5], [1.0]), loss([0], [6], [1.0])
    assert loss([0, 0], [5, 6], [3.0, 1.0]) == pytest.approx((3 * once + branch) / 4, rel=1e-6)
    assert loss([0, 0, 0, 0], [5, 5, 5, 6], [1.0] * 4) == pytest.approx((3 * once + branch) / 4, rel=1e-6)
    assert loss([0], [5], [0.25], num_items=10) == pytest.approx(once / 40, rel=1e-6)
    assert loss([0], [5], [0.25]) == pytest.approx(once, rel=1e-6)  # a mean, also of less than one token


def test_targets_of_a_pack() -> None:
    rows = [supervised([1, 2, 3, 4], first=2), supervised([1, 2, 3, 5], first=2)]
    (pack,) = make_packs(rows, max_tokens=8)
    targets = Targets.from_batch(pack)
    assert targets.source_N.tolist() == [1, 2, 2]
    assert targets.target_N.tolist() == [3, 4, 5]
    assert targets.weight_N.tolist() == [2.0, 1.0, 1.0]


def test_targets_of_labels_leave_the_first_out() -> None:
    labels = torch.tensor([[4, 5, IGNORE_INDEX], [IGNORE_INDEX, IGNORE_INDEX, 6], [7, IGNORE_INDEX, IGNORE_INDEX]])
    targets = Targets.from_labels(labels)
    assert targets.source_N.tolist() == [0, 4]
    assert targets.target_N.tolist() == [5, 6]


def test_ignored_targets_count_nothing(model: Any) -> None:
    hidden = model.model(input_ids=batch()["input_ids"]).last_hidden_state
    targets = Targets.from_labels(batch()["labels"])
    target_N = targets.target_N.clone()
    target_N[3:] = IGNORE_INDEX
    some = Targets(
        source_N=targets.source_N[:3],
        target_N=targets.target_N[:3],
        weight_N=targets.weight_N[:3],
        count_N=targets.count_N[:3],
    )
    loss = supervised_loss(hidden, model.lm_head, replace(targets, target_N=target_N))
    assert loss.item() == pytest.approx(supervised_loss(hidden, model.lm_head, some).item(), rel=1e-6)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("num_items", [None, 0, torch.tensor(0), 12])
def test_nothing_supervised_is_exactly_zero_with_a_graph(model: Any, num_items: Any, label_smoothing: float) -> None:
    inputs = batch()
    inputs["labels"] = torch.full_like(inputs["labels"], IGNORE_INDEX)
    assert torch.isnan(model(**inputs).loss)  # what transformers makes of it
    loss = ours(model, inputs, num_items=num_items, label_smoothing=label_smoothing)
    loss.backward()
    assert loss.item() == 0.0
    assert all(not gradient.any() for gradient in gradients(model).values())


def test_nothing_supervised_is_zero_also_beside_infinity() -> None:
    hidden = torch.full((2, 3, HIDDEN), torch.inf, requires_grad=True)
    targets = Targets.from_labels(torch.full((2, 3), IGNORE_INDEX))
    loss: Any = supervised_loss(hidden, torch.nn.Linear(HIDDEN, NUM_IDS), targets)
    loss.backward()
    assert loss.item() == 0.0
    assert hidden.grad is not None
    assert not hidden.grad.any()


def test_half_precision_is_summed_in_fp32() -> None:
    hidden = torch.randn(600, HIDDEN).bfloat16()
    head = torch.nn.Linear(HIDDEN, NUM_IDS).bfloat16()
    labels = torch.randint(0, NUM_IDS, (1, 600))
    loss = supervised_loss(hidden, head, Targets.from_labels(labels), num_items=1)
    expected = torch.nn.functional.cross_entropy(head(hidden)[:-1].float(), labels[0, 1:], reduction="sum")
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)


def test_a_chunk_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="chunk_size is 0"):
        supervised_loss(torch.zeros(1, 1), torch.nn.Linear(1, 1), Targets.from_labels(torch.zeros(1, 1)), chunk_size=0)


@pytest.mark.parametrize("chunk_size", [None, 2])
def test_sums_are_those_of_the_logits(model: Any, chunk_size: int | None) -> None:
    inputs = batch()
    stop = 9
    inputs["labels"][0, 3] = stop
    hidden = model.model(input_ids=inputs["input_ids"]).last_hidden_state
    targets = Targets.from_labels(inputs["labels"])
    # One more place is watched: nothing is learned there.
    watched = Targets(
        source_N=torch.cat([targets.source_N, torch.tensor([20])]),
        target_N=torch.cat([targets.target_N, torch.tensor([stop])]),
        weight_N=torch.cat([targets.weight_N, torch.zeros(1)]),
        count_N=torch.cat([targets.count_N, torch.tensor([3.0])]),
    )
    loss, sums = observed_loss(
        hidden, model.lm_head, watched, stop_ids=torch.tensor([stop]), chunk_size=chunk_size, label_smoothing=0.1
    )
    assert loss.item() == pytest.approx(
        supervised_loss(hidden, model.lm_head, targets, label_smoothing=0.1).item(), rel=1e-6
    )
    log_p = torch.log_softmax(model.lm_head(hidden).reshape(-1, NUM_IDS), dim=-1)
    pairs = list(zip(targets.source_N.tolist(), targets.target_N.tolist(), strict=True))
    ends = [source for source, target in pairs if target == stop]
    inside = [source for source, target in pairs if target != stop]
    expected = {
        "loss": -sum(log_p[source, target].item() for source, target in pairs) / 9,
        "eos_loss": -sum(log_p[source, stop].item() for source in ends) / len(ends),
        "p_eos_end": (sum(log_p[source, stop].exp().item() for source in ends) + 3 * log_p[20, stop].exp().item())
        / (len(ends) + 3),
        "p_eos_inside": sum(log_p[source, stop].exp().item() for source in inside) / len(inside),
        "token_accuracy": sum(log_p[source].argmax().item() == target for source, target in pairs) / 9,
    }
    found = metrics_of(dict(zip(SUMS, sums.tolist(), strict=True)))
    assert found == pytest.approx(expected, rel=1e-5)


def test_nothing_to_sum_is_none() -> None:
    assert set(metrics_of(dict.fromkeys(SUMS, 0.0)).values()) == {None}


def test_what_is_only_watched_changes_no_gradient() -> None:
    hidden = torch.zeros(2, HIDDEN, requires_grad=True)
    head = torch.nn.Linear(HIDDEN, NUM_IDS)
    with torch.no_grad():
        head.bias[5] = -torch.inf  # a target that cannot be: its loss is infinite
    none = torch.zeros(1)
    targets = Targets(source_N=torch.tensor([1]), target_N=torch.tensor([5]), weight_N=none, count_N=none + 1)
    loss: Any = supervised_loss(hidden, head, targets, num_items=1)
    loss.backward()
    assert loss.item() == 0.0
    assert hidden.grad is not None
    assert not hidden.grad.any()
