"""Twenty steps of AdamW on packs, against padded rows, and against transformers' own Trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from finetooth.loss import Targets  # noqa: E402
from finetooth.packing import make_packs, make_padded  # noqa: E402
from finetooth.packing.mask import FORM_OF, MaskMaker  # noqa: E402
from finetooth.training.forward import Head, inputs_of  # noqa: E402
from finetooth.training.rows import EncodedRows  # noqa: E402
from finetooth.training.steps import StepSampler  # noqa: E402
from finetooth.training.trainer import ForestTrainer  # noqa: E402
from tests.packing.rows import IdRow, forests  # noqa: E402
from tests.training.toys import (  # noqa: E402
    arguments,
    losses,
    padded_batch,
    persona_rows,
    relative_difference,
    toy,
    weights,
)

NUM_STEPS = 20
CLOSE = 3e-5
"""Of weights after `NUM_STEPS` in fp32, whose sums every CPU makes in an order of its own: up to 1.5e-5 was seen."""

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")


def with_adapter(model: Any) -> Any:
    import peft

    torch.manual_seed(1)
    config = peft.LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear", init_lora_weights=False)
    return peft.get_peft_model(model, config)


def trained(model: Any, rows: EncodedRows, directory: Path, **options: Any) -> tuple[list[float], dict[str, Any], Any]:
    """Return the losses, the weights, and the trainer of a run of `NUM_STEPS` steps."""
    ours = {name: options.pop(name) for name in ("pack", "pack_tokens", "micro_batch_size") if name in options}
    trainer = ForestTrainer(model, arguments(directory, max_steps=NUM_STEPS, **options), train_dataset=rows, **ours)
    trainer.train()
    return losses(trainer), weights(model), trainer


def without_key_bias(found: dict[str, Any]) -> dict[str, Any]:
    """Leave out the biases of keys: under softmax they have no gradient but rounding, which Adam makes steps of."""
    return {name: weight for name, weight in found.items() if not name.endswith("k_proj.bias")}


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("kind", ["Llama", "Mistral", "Qwen2", "Qwen3", "Gemma", "Gemma 3", "Phi-3"])
def test_packs_train_as_padded_rows_do(kind: str, method: str, tmp_path: Path) -> None:
    rows = persona_rows()
    runs = []
    for pack in ("forest", "pad"):
        model = toy(kind) if method == "full" else with_adapter(toy(kind))
        found = trained(model, rows, tmp_path, pack=pack, pack_tokens=150 if pack == "forest" else "auto")
        assert found[2].way == pack
        runs.append(found)
    assert len(runs[0][0]) == NUM_STEPS
    assert runs[0][0] == pytest.approx(runs[1][0], abs=CLOSE)
    assert relative_difference(without_key_bias(runs[0][1]), without_key_bias(runs[1][1])) < CLOSE


def test_packs_train_as_transformers_trainer_does(tmp_path: Path) -> None:
    """The model's own loss, in Trainer, with nothing of ours but the order of the rows."""
    import transformers

    rows = persona_rows()
    found, expected = toy("Llama"), toy("Llama")
    loss, after, _ = trained(found, rows, tmp_path, pack="forest")

    order = StepSampler(len(rows), 8, seed=0)
    batches = []
    for epoch in range(NUM_STEPS // 3 + 1):
        order.set_epoch(epoch)
        batches += [index for step in order for index in step]

    class InOrder(transformers.Trainer):  # type: ignore[misc]
        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            return batches

    plain = [{"input_ids": row.input_ids, "labels": row.labels} for row in rows]
    trainer = InOrder(
        expected, arguments(tmp_path, max_steps=NUM_STEPS), train_dataset=plain, data_collator=padded_batch
    )
    trainer.train()
    assert loss == pytest.approx(losses(trainer), abs=CLOSE)
    assert relative_difference(after, weights(expected)) < CLOSE
    assert [line["grad_norm"] for line in trainer.state.log_history if "loss" in line] == pytest.approx(
        [line["grad_norm"] for line in _.state.log_history if "loss" in line], rel=1e-4
    )


@pytest.mark.parametrize("pack", ["forest", "pad"])
def test_one_batch_of_eight_equals_eight_of_one(pack: str, tmp_path: Path) -> None:
    rows = persona_rows()
    runs = [
        trained(toy("Llama"), rows, tmp_path, pack=pack, **sizes)
        for sizes in (
            {"per_device_train_batch_size": 8},
            {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 8},
            {"per_device_train_batch_size": 8, "micro_batch_size": 1, "pack_tokens": 60},
        )
    ]
    for loss, after, trainer in runs[1:]:
        assert trainer.args.gradient_accumulation_steps == 1
        assert loss == pytest.approx(runs[0][0], abs=CLOSE)
        assert relative_difference(after, runs[0][1]) < CLOSE


def test_label_smoothing_and_checkpointing(tmp_path: Path) -> None:
    rows = persona_rows()
    runs = [
        trained(toy("Llama"), rows, tmp_path, pack=pack, label_smoothing_factor=0.1, **more)
        for pack, more in (("forest", {"activation_checkpointing": True}), ("pad", {}))
    ]
    assert runs[0][0] == pytest.approx(runs[1][0], abs=CLOSE)
    assert relative_difference(runs[0][1], runs[1][1]) < CLOSE


def test_a_step_that_teaches_nothing_is_zero(tmp_path: Path) -> None:
    from tests.training.toys import rows_of

    loss, _, trainer = trained(toy("Llama"), rows_of([([1, 5, 6], []), ([1, 7], [])]), tmp_path, pack="pad")
    assert loss == [0.0] * NUM_STEPS
    assert trainer.state.log_history[0]["grad_norm"] == 0.0


@settings(max_examples=25, deadline=None)
@given(forests(num_ids=5), st.integers(5, 40), st.sampled_from(["sdpa", "eager", "forest_sdpa"]), st.booleans())
def test_random_forests_against_rows_one_by_one(
    rows: list[IdRow], max_tokens: int, attention: str, windowed: bool
) -> None:
    """Brute force: every row alone, unpadded, by the model's own forward."""
    model = toy("Mistral" if windowed else "Llama", attention).eval()
    if windowed:
        model.config.sliding_window = 3
        for layer in model.model.layers:
            layer.self_attn.sliding_window = 3
    maker = MaskMaker(form=FORM_OF[attention], window=3 if windowed else None)
    head = Head(model, is_plain=True)

    expected_loss = 0.0
    for row in rows:
        if any(label != -100 for label in row.labels[1:]):
            logits = model(input_ids=torch.tensor([row.input_ids])).logits[0, :-1]
            loss = torch.nn.functional.cross_entropy(logits, torch.tensor(row.labels[1:]), reduction="sum")
            loss.backward()
            expected_loss += loss.item()
    expected = {name: weight.grad for name, weight in model.named_parameters()}
    # Under a softmax of one key no query has a gradient but rounding: that is measured against the largest one.
    largest = max((float(gradient.norm()) for gradient in expected.values() if gradient is not None), default=0.0)
    for batches in (make_packs(rows, max_tokens=max_tokens, long_rows="alone"), make_padded(rows, max_rows=3)):
        model.zero_grad()
        total = 0.0
        for batch in batches:
            loss, _ = head.loss(
                model,
                inputs_of(batch, maker, "cpu"),
                Targets.from_batch(batch),
                stop_ids=None,
                num_items=1,
                label_smoothing=0.0,
            )
            torch.autograd.backward(loss)
            total += loss.item()
        assert total == pytest.approx(expected_loss, rel=1e-5, abs=1e-5)
        for name, weight in model.named_parameters():
            if expected[name] is not None and weight.grad is not None:
                size = max(float(expected[name].norm()), 0.05 * largest)
                assert (weight.grad - expected[name]).norm() <= 1e-5 * size, name
