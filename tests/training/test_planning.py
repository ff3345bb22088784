from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

from finetooth.config import Config, DataConfig, LoraConfig, ModelConfig, TrainConfig
from finetooth.packing import make_packs
from finetooth.tokenizer import load_tokenizer
from finetooth.training.memory import estimate, read_shapes
from finetooth.training.planning import plan_run
from finetooth.training.preparing import held_out
from finetooth.training.preview import branches, draw
from finetooth.training.rows import EncodedRows
from finetooth.training.steps import StepMaker, StepSampler, Way
from tests.training.recipes import save_model
from tests.training.toys import persona_rows, rows_of

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


def config(**train: object) -> Config:
    return Config(model=ModelConfig(path="x"), data=DataConfig(train=("y",)), train=TrainConfig(**train))  # type: ignore[arg-type]


def plan_of(rows: EncodedRows, **train: object) -> object:
    return plan_run(config(**train), rows, num_eval_rows=0, num_dropped=0, on_gpu=False, weight_bytes=4)


def test_a_plan_counts() -> None:
    rows = persona_rows(24)
    plan = plan_run(
        config(batch_size=8, epochs=2.5), rows, num_eval_rows=3, num_dropped=1, on_gpu=False, weight_bytes=4
    )
    assert (plan.num_rows, plan.num_eval_rows, plan.num_dropped) == (24, 3, 1)
    assert plan.num_tokens == sum(len(row.input_ids) for row in rows)
    assert plan.num_supervised == sum(label != -100 for row in rows for label in row.labels)
    assert plan.num_idle_rows == 1
    assert plan.longest == max(len(row.input_ids) for row in rows)
    assert (plan.steps_per_epoch, plan.num_steps) == (3, 8)
    assert plan.packing.sharing_ratio > 1.5
    assert plan.packing.num_rows == 24
    assert plan.to_json()["packing"]["sharing_ratio"] == plan.packing.sharing_ratio


@pytest.mark.parametrize(("pack", "way"), [("auto", "forest"), ("forest", "forest"), ("pad", "pad")])
def test_a_plan_packs_as_asked(pack: str, way: str) -> None:
    assert plan_of(persona_rows(24, shared=200), pack=pack).way == way  # type: ignore[attr-defined]


def test_shapes_are_read_from_headers(tmp_path: Path) -> None:
    import transformers

    shapes = read_shapes(str(save_model(tmp_path / "base")))
    assert shapes is not None
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    assert shapes.num_weights == sum(weight.numel() for weight in model.parameters())
    import peft

    adapter = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear"))
    trained = sum(weight.numel() for weight in adapter.parameters() if weight.requires_grad)
    assert shapes.num_adapter_weights(4) == trained
    (tmp_path / "base" / "model.safetensors").write_bytes(b"\xff" * 16)
    assert read_shapes(str(tmp_path / "base")) is None
    assert read_shapes(str(tmp_path / "nowhere")) is None


def test_an_adapter_needs_less_memory(tmp_path: Path) -> None:
    shapes = read_shapes(str(save_model(tmp_path / "base")))
    assert shapes is not None
    full, adapter, checkpointed = (
        estimate(
            shapes,
            Config(train=TrainConfig(method=method, gradient_checkpointing=again), lora=LoraConfig(r=2)),  # type: ignore[arg-type]
            weight_bytes=4,
            pack_tokens=4096,
            num_targets=100,
        )
        for method, again in (("full", False), ("lora", False), ("lora", True))
    )
    assert full.total > adapter.total > checkpointed.total
    assert full.optimizer == 8 * shapes.num_weights
    assert adapter.optimizer == 8 * shapes.num_adapter_weights(2)


def test_held_out_rows_are_drawn_by_the_seed() -> None:
    rows = persona_rows(20)
    kept, held = held_out(rows, 0.2, seed=1)
    assert (len(kept), len(held)) == (16, 4)
    assert sorted([*kept.places, *held.places]) == sorted(rows.places)
    assert held_out(rows, 0.2, seed=1)[1].places == held.places
    assert held_out(rows, 0.2, seed=2)[1].places != held.places
    assert held[0].input_ids == rows[rows.places.index(held.places[0])].input_ids
    assert len(held_out(rows.take([0]), 0.5, seed=0)[1]) == 0


def test_every_epoch_has_an_order_of_its_own() -> None:
    sampler = StepSampler(10, 4, seed=3)
    first = list(sampler)
    assert [len(step) for step in first] == [4, 4, 2]
    assert sorted(index for step in first for index in step) == list(range(10))
    assert list(sampler) == first
    sampler.set_epoch(1)
    assert list(sampler) != first
    assert list(StepSampler(4, 3, seed=None)) == [[0, 1, 2], [3]]


@pytest.mark.parametrize("way", ["forest", "pad"])
def test_ranks_share_a_step(way: Way) -> None:
    rows = list(persona_rows(9))
    steps = [StepMaker(way=way, max_tokens=120, rank=rank, num_ranks=2)(rows)["step"] for rank in range(2)]
    assert steps[0].num_items == steps[1].num_items == sum(sum(label != -100 for label in row.labels) for row in rows)
    assert len(steps[0].batches) == len(steps[1].batches)
    assert sum(batch.num_supervised for step in steps for batch in step.batches) == steps[0].num_items


def test_a_pack_is_drawn_as_a_tree(demo_model: str) -> None:
    tokenizer = load_tokenizer(demo_model)

    def ids(text: str) -> list[int]:
        return list(tokenizer.encode([text], add_special_tokens=False)[0].ids)

    persona = ids("<s>[INST] あなたはお嬢様です。")
    rows = list(
        rows_of([(persona + ids(f"{question} [/INST]"), [*ids(" ええ。"), 2]) for question in ("はい？", "紅茶は？")])
    )
    lines = list(draw(rows, tokenizer, width=100))
    assert len(lines) == 3
    assert lines[0].startswith("11 tokens in 2 rows")  # the persona, and the space that the tokenizer puts after it
    assert "あなたはお嬢様です。" in lines[0]
    assert all("⟦" in line and "</s>⟧" in line and "ええ。" in line for line in lines[1:])
    assert all(line.startswith("  ") for line in lines[1:])
    assert list(draw(list(rows_of([([1, 5], [])])), tokenizer, width=80)) == ["nothing in this step is learned"]


def test_branches_hold_every_token_once() -> None:
    rows = list(persona_rows(24))
    for pack in make_packs(rows, max_tokens=300):
        found = branches(pack)
        assert [token for one in found for token in range(one.start, one.end)] == list(range(pack.num_tokens))
        assert found[0].num_rows <= len(pack.row_indices)
        assert sum(one.num_rows for one in found if one.depth == 0) == len(pack.row_indices)
