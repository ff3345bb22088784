"""From a configuration to a directory that opens."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import finetooth
from finetooth.errors import FinetoothError
from finetooth.merging.methods import METHODS
from finetooth.merging.working import Pace
from tests.merging.toys import family, files_of, read_weights, shapes, weights, write_model


def settings(root: Path, method: str, names: str = "abc", **more: Any) -> dict[str, Any]:
    """Return a configuration that merges models of a directory."""
    taken = METHODS[method]
    given = {"weight": 0.5, "density": 0.6, "epsilon": 0.2, "t": 0.3, "select_topk": 0.5}
    config: dict[str, Any] = {
        "merge_method": method,
        "models": [{"model": str(root / name)} for name in names[: taken.max_models or None]],
        "parameters": {name: value for name, value in given.items() if taken.parameter(name)},
    }
    if taken.base in ("required", "endpoint"):
        config["base_model"] = str(root / "base")
    return config | more


def equal(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_threads_and_chunks_do_not_change_a_byte(method: str, models: Path, tmp_path: Path) -> None:
    for name, pace in {"one": Pace(threads=1), "two": Pace(threads=3, chunk=4096)}.items():
        finetooth.merge(settings(models, method), tmp_path / name, pace=pace, seed=5)
    one, two = files_of(tmp_path / "one"), files_of(tmp_path / "two")
    assert {name for name in one if one[name] != two[name]} == {"README.md"}  # it tells the directory's name


def test_the_result_opens_and_generates(models: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    directory = finetooth.merge(settings(models, "ties", out_dtype="bfloat16"), tmp_path / "merged")
    model = AutoModelForCausalLM.from_pretrained(directory, dtype="auto")
    assert model.dtype is torch.bfloat16
    assert {name: tuple(one.shape) for name, one in model.state_dict().items()} == shapes()
    answer = model.generate(torch.tensor([[1, 5, 7]]), do_sample=False)
    assert answer.shape[1] in range(4, 8)
    card = (directory / "README.md").read_text()
    assert "merge_method: ties" in card
    assert card.count("model.safetensors") == 4
    assert (directory / "generation_config.json").read_bytes() == (
        models / "base" / "generation_config.json"
    ).read_bytes()


def test_sharded_is_single(tmp_path: Path) -> None:
    family(tmp_path / "single")
    family(tmp_path / "sharded", shards=3)
    one = finetooth.merge(settings(tmp_path / "single", "linear"), tmp_path / "one")
    three = finetooth.merge(settings(tmp_path / "sharded", "linear"), tmp_path / "three", shard_bytes=8000)
    assert len(list(three.glob("*.safetensors"))) > 1
    index = json.loads((three / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"]) == set(shapes())
    assert equal(read_weights(one), read_weights(three))
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained(three)


def test_dtypes(tmp_path: Path) -> None:
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        family(tmp_path / str(dtype), "a", dtype=dtype)
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for name, dtype in {"base": torch.bfloat16, "a": torch.float16}.items():
        (mixed / name).symlink_to(tmp_path / str(dtype) / name)
    merged = finetooth.merge(settings(mixed, "slerp", "a"), tmp_path / "own")
    assert {one.dtype for one in read_weights(merged).values()} == {torch.bfloat16}
    assert json.loads((merged / "config.json").read_text())["torch_dtype"] == "bfloat16"
    merged = finetooth.merge(settings(mixed, "slerp", "a", dtype="float32", out_dtype="float16"), tmp_path / "given")
    assert {one.dtype for one in read_weights(merged).values()} == {torch.float16}
    double = finetooth.merge(settings(tmp_path / str(torch.float64), "slerp", "a"), tmp_path / "double")
    assert {one.dtype for one in read_weights(double).values()} == {torch.float64}


def test_tied_models_stay_tied(tmp_path: Path) -> None:
    family(tmp_path, "a", tied=True)
    merged = finetooth.merge(settings(tmp_path, "slerp", "a"), tmp_path / "merged")
    assert "lm_head.weight" not in read_weights(merged)
    assert json.loads((merged / "config.json").read_text())["tie_word_embeddings"] is True


def test_tied_and_untied_become_untied(tmp_path: Path) -> None:
    tied = family(tmp_path, "a", tied=True)
    untied = weights(9, near={**tied["base"], "lm_head.weight": tied["base"]["model.embed_tokens.weight"]})
    write_model(tmp_path / "b", untied)
    config = {
        "merge_method": "linear",
        "models": [{"model": str(tmp_path / name), "parameters": {"weight": 1}} for name in "ab"],
    }
    merged = finetooth.merge(config, tmp_path / "merged")
    expected = (tied["a"]["model.embed_tokens.weight"] + untied["lm_head.weight"]) / 2
    torch.testing.assert_close(read_weights(merged)["lm_head.weight"], expected)
    assert json.loads((merged / "config.json").read_text())["tie_word_embeddings"] is False


def test_slices_put_layers_together(models: Path, tmp_path: Path) -> None:
    config = {
        "merge_method": "passthrough",
        "slices": [
            {"sources": [{"model": str(models / "a"), "layer_range": [0, 2]}]},
            {"sources": [{"model": str(models / "b"), "layer_range": [1, 2], "parameters": {"scale": 0.5}}]},
        ],
    }
    directory = finetooth.merge(config, tmp_path / "merged")
    merged, a, b = read_weights(directory), read_weights(models / "a"), read_weights(models / "b")
    assert {name: tuple(one.shape) for name, one in merged.items()} == shapes(layers=3)
    name = "self_attn.q_proj.weight"
    assert torch.equal(merged[f"model.layers.1.{name}"], a[f"model.layers.1.{name}"])
    assert torch.equal(merged[f"model.layers.2.{name}"], 0.5 * b[f"model.layers.1.{name}"])
    assert torch.equal(merged["model.embed_tokens.weight"], a["model.embed_tokens.weight"])
    assert torch.equal(merged["model.norm.weight"], 0.5 * b["model.norm.weight"])
    assert json.loads((directory / "config.json").read_text())["num_hidden_layers"] == 3


def test_gradients_filters_and_levels(models: Path, tmp_path: Path) -> None:
    config = {
        "merge_method": "linear",
        "models": [
            {
                "model": str(models / "a"),
                "parameters": {"weight": [{"filter": "mlp", "value": [0, 1]}, {"value": 0.25}]},
            },
            {"model": str(models / "b")},
        ],
        "parameters": {"weight": 0.5, "normalize": False},
    }
    merged = read_weights(finetooth.merge(config, tmp_path / "merged"))
    a, b = read_weights(models / "a"), read_weights(models / "b")
    for name in merged:
        weight = 0.25 if "mlp" not in name else 0.0 if ".0." in name else 1.0
        torch.testing.assert_close(merged[name], weight * a[name] + 0.5 * b[name])


def test_tensors_of_odd_shapes(tmp_path: Path) -> None:
    odd = {"none": torch.zeros(0, 3), "lone": torch.tensor(2.0), "cube": torch.arange(24.0).view(2, 3, 4)}
    for number, name in enumerate(("base", "a", "b", "c")):
        write_model(tmp_path / name, {key: value + 0.1 * number for key, value in odd.items()})
    for method in ("linear", "ties", "della", "karcher", "model_stock", "sce"):
        merged = read_weights(finetooth.merge(settings(tmp_path, method), tmp_path / f"merged-{method}"))
        assert {key: value.shape for key, value in merged.items()} == {key: value.shape for key, value in odd.items()}


def test_stages_build_on_each_other(models: Path, tmp_path: Path) -> None:
    path = tmp_path / "merge.yaml"
    path.write_text(
        f"name: first\nmerge_method: linear\nmodels:\n- model: {models}/a\n- model: {models}/b\n"
        f"parameters: {{weight: 1}}\n---\n"
        f"merge_method: slerp\nbase_model: first\nmodels:\n- model: {models}/c\nparameters: {{t: 0.5}}\n"
    )
    staged = finetooth.merge(path, tmp_path / "staged")
    first = finetooth.merge(settings(models, "linear", "ab", parameters={"weight": 1}), tmp_path / "first")
    config = settings(models, "slerp", "c", base_model=str(first), parameters={"t": 0.5})
    assert equal(read_weights(staged), read_weights(finetooth.merge(config, tmp_path / "second")))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "merge.yaml", "second", "staged"]
    assert not [path for path in staged.iterdir() if path.name.startswith(".")]
    card = (staged / "README.md").read_text()
    assert f"{models}/a" in card and "| first |" not in card


def test_pickles_are_read_only_where_asked(models: Path, tmp_path: Path) -> None:
    directory = tmp_path / "pickled"
    directory.mkdir()
    (directory / "config.json").write_bytes((models / "a" / "config.json").read_bytes())
    torch.save(read_weights(models / "a"), directory / "pytorch_model.bin")
    config = settings(models, "slerp", models=[{"model": str(directory)}])
    with pytest.raises(FinetoothError, match=r"pickle(.|\n)*--allow-pickle"):
        finetooth.merge(config, tmp_path / "refused")
    merged = finetooth.merge(config, tmp_path / "merged", allow_pickle=True, force=True)
    plain = finetooth.merge(settings(models, "slerp", "a"), tmp_path / "plain")
    assert equal(read_weights(merged), read_weights(plain))
    torch.save({"a": Path("no weight")}, directory / "pytorch_model.bin")
    with pytest.raises(FinetoothError, match="more than weights"):
        finetooth.merge(config, tmp_path / "again", allow_pickle=True)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # by peft
def test_an_adapter_is_merged_as_it_is_read(models: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(models / "a")
    lora = LoraConfig(
        r=4, lora_alpha=6, target_modules=["q_proj", "down_proj"], rank_pattern={"down_proj": 2}, use_rslora=True
    )
    tuned = get_peft_model(model, lora)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator)
    tuned.save_pretrained(tmp_path / "lora")
    config = {"merge_method": "passthrough", "models": [{"model": f"{models / 'a'}+{tmp_path / 'lora'}"}]}
    merged = read_weights(finetooth.merge(config, tmp_path / "merged", pace=Pace(threads=1, chunk=4096)))
    expected = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(models / "a"), tmp_path / "lora"
    ).merge_and_unload()
    assert merged.keys() == expected.state_dict().keys()
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(merged[name], value)
    assert not torch.equal(
        merged["model.layers.0.mlp.down_proj.weight"], read_weights(models / "a")["model.layers.0.mlp.down_proj.weight"]
    )
