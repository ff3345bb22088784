"""The change of a fine-tune as a LoRA."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import finetooth
from finetooth.errors import FinetoothError
from finetooth.merging.lora.linears import target_modules
from tests.merging.lora.adapters import load_model, make_adapter, merged_by_peft, write_gpt2
from tests.merging.lora.test_combining import changes
from tests.merging.toys import family, files_of, read_weights, weights, write_model

PeftModel = pytest.importorskip("peft").PeftModel


def tune(base: Path, directory: Path, touched: Any, seed: int = 1) -> Path:
    """Write a model that differs from another in some tensors."""
    import shutil

    from safetensors.torch import save_file

    shutil.copytree(base, directory)
    generator = torch.Generator().manual_seed(seed)
    tensors = read_weights(base)
    for name, tensor in tensors.items():
        noise = torch.randn(tensor.shape, generator=generator)
        if touched(name):
            tensors[name] = tensor + 0.02 * noise.to(tensor.dtype)
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    return directory


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tuned")
    family(root, "")
    family(root / "tied", "", tied=True)
    write_gpt2(root / "gpt2" / "base")
    tune(root / "base", root / "all", lambda name: True)
    tune(root / "base", root / "layers", lambda name: "_proj" in name)
    tune(root / "tied" / "base", root / "tied" / "all", lambda name: True)
    tune(root / "gpt2" / "base", root / "gpt2" / "all", lambda name: not name.endswith("bias") or ".ln_" in name)
    return root


def test_a_merged_adapter_comes_back(root: Path, tmp_path: Path) -> None:
    adapter = make_adapter(root / "base", tmp_path / "lora", r=4)
    tuned = {"merge_method": "passthrough", "models": [{"model": f"{root / 'base'}+{adapter}"}]}
    finetooth.merge(tuned, tmp_path / "merged")
    found = finetooth.extract_adapter(str(tmp_path / "merged"), tmp_path / "back", base=str(root / "base"), rank=4)
    expected = changes(load_file(adapter / "adapter_model.safetensors"))
    for name, change in changes(load_file(found.directory / "adapter_model.safetensors")).items():
        torch.testing.assert_close(change, expected.pop(name) * 6 / 4, rtol=0, atol=1e-5 * float(change.abs().max()))
    assert not expected
    assert found.total.error < 1e-5
    assert not found.saved and not found.left
    config = json.loads((found.directory / "adapter_config.json").read_text())
    assert config["target_modules"] == ["down_proj", "q_proj", "v_proj"]
    assert config["modules_to_save"] is None


@pytest.mark.parametrize("exact", [True, False])
def test_the_error_falls_with_the_rank_and_is_eckart_and_youngs(exact: bool, root: Path, tmp_path: Path) -> None:
    base, tuned = read_weights(root / "base"), read_weights(root / "layers")
    errors = []
    for rank in (1, 2, 4, 8, 12, 16):
        found = finetooth.extract_adapter(
            str(root / "layers"), tmp_path / str(rank), base=str(root / "base"), rank=rank, exact=exact
        )
        for layer in found.layers:
            change = tuned[f"{layer.name}.weight"].double() - base[f"{layer.name}.weight"].double()
            values = torch.linalg.svdvals(change)
            least = math.sqrt(float(values[rank:].square().sum() / values.square().sum()))
            if exact and rank < len(values):
                # An SVD in fp32 is 300 times farther from this at 4096 x 1024.
                state = load_file(found.directory / "adapter_model.safetensors")
                names = (f"base_model.model.{layer.name}.lora_{kind}.weight" for kind in "BA")
                up, down = (state[name].double() for name in names)
                left, _, right = torch.linalg.svd(change, full_matrices=False)
                best = left[:, :rank] * values[:rank] @ right[:rank]
                torch.testing.assert_close(up @ down, best, rtol=0, atol=1e-6 * float(best.abs().max()))
            assert layer.error == pytest.approx(least, rel=1e-4 if exact else 0.02, abs=2e-6)
            assert layer.share == pytest.approx(1 - least**2, abs=1e-5 if exact else 0.01)
        errors.append(found.total.error)
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0.5 and errors[-1] < 1e-5


@pytest.mark.parametrize("kind", ["", "tied", "gpt2"])
def test_at_full_rank_the_fine_tune_comes_back(kind: str, root: Path, tmp_path: Path) -> None:
    base, tuned = root / kind / "base", root / kind / "all"
    found = finetooth.extract_adapter(str(tuned), tmp_path / "lora", base=str(base), rank=16)
    config = {"merge_method": "passthrough", "models": [{"model": f"{base}+{found.directory}"}]}
    ours = read_weights(finetooth.merge(config, tmp_path / "merged"))
    for name, tensor in read_weights(tuned).items():
        for result in (ours, merged_by_peft(base, found.directory)):
            torch.testing.assert_close(result[name], tensor, rtol=1e-5, atol=1e-6)
    assert ours.keys() == read_weights(tuned).keys()
    assert not found.left
    tokens = torch.tensor([[1, 5, 7, 9]])
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of transformers, that peft meets
        logits = PeftModel.from_pretrained(load_model(base), found.directory)(tokens).logits
        torch.testing.assert_close(logits, load_model(tuned)(tokens).logits, rtol=1e-3, atol=1e-4)


def test_norms_and_embeddings_are_held_whole(root: Path, tmp_path: Path) -> None:
    tuned = tune(root / "base", tmp_path / "tuned", lambda name: name in (
        "model.embed_tokens.weight", "model.layers.1.input_layernorm.weight", "model.layers.0.mlp.up_proj.weight"
    ))  # fmt: skip
    found = finetooth.extract_adapter(str(tuned), tmp_path / "lora", base=str(root / "base"), rank=16)
    assert found.saved == ("model.embed_tokens", "model.layers.1.input_layernorm")
    assert [layer.name for layer in found.layers] == ["model.layers.0.mlp.up_proj"]
    config = json.loads((found.directory / "adapter_config.json").read_text())
    assert config["target_modules"] == ["model.layers.0.mlp.up_proj"]
    merged = merged_by_peft(root / "base", found.directory)
    for name, tensor in read_weights(tuned).items():
        torch.testing.assert_close(merged[name], tensor, rtol=1e-5, atol=1e-6)


def test_biases_of_linear_layers_are_told(root: Path, tmp_path: Path) -> None:
    tuned = tune(root / "gpt2" / "base", tmp_path / "tuned", lambda name: "h.0.mlp.c_fc" in name or ".ln_1." in name)
    found = finetooth.extract_adapter(str(tuned), tmp_path / "lora", base=str(root / "gpt2" / "base"), rank=4)
    assert found.left == ("transformer.h.0.mlp.c_fc.bias",)
    assert found.saved == ("transformer.h.0.ln_1", "transformer.h.1.ln_1")
    assert "not held: `transformer.h.0.mlp.c_fc.bias`" in (found.directory / "README.md").read_text()


def test_one_tied_and_one_untied(root: Path, tmp_path: Path) -> None:
    tied = read_weights(root / "tied" / "base")
    untied = weights(7, near={**tied, "lm_head.weight": tied["model.embed_tokens.weight"]})
    untied["model.embed_tokens.weight"] = tied["model.embed_tokens.weight"]
    write_model(tmp_path / "untied", untied)
    found = finetooth.extract_adapter(
        str(tmp_path / "untied"), tmp_path / "lora", base=str(root / "tied" / "base"), rank=16
    )
    assert "lm_head" in found.saved and "model.embed_tokens" not in found.saved
    merged = merged_by_peft(root / "tied" / "base", found.directory)
    for name, tensor in untied.items():
        torch.testing.assert_close(merged[name], tensor, rtol=1e-5, atol=1e-6)


def test_what_is_written(root: Path, tmp_path: Path) -> None:
    def extract(output: str, **more: Any) -> Path:
        given: dict[str, Any] = {"base": str(root / "base"), "rank": 2} | more
        return finetooth.extract_adapter(str(root / "layers"), tmp_path / output, **given).directory

    files = files_of(extract("lora"))
    assert set(files) == {"README.md", "adapter.yaml", "adapter_config.json", "adapter_model.safetensors"}
    card = files["README.md"].decode()
    assert "| model.layers.0.self_attn.q_proj | " in card and "| total | " in card
    assert card.count("model.safetensors") == 2
    assert extract("lora", force=True)
    small = load_file(extract("small", dtype="bfloat16") / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in small.values()} == {torch.bfloat16}
    with pytest.raises(FinetoothError, match="an adapter already"):
        extract("lora")


@pytest.mark.parametrize("exact", [True, False])
def test_it_is_the_same_each_time(exact: bool, root: Path, tmp_path: Path) -> None:
    found = [
        files_of(
            finetooth.extract_adapter(
                str(root / "all"), tmp_path / str(number) / "lora", base=str(root / "base"), rank=3, exact=exact
            ).directory
        )
        for number in range(2)
    ]
    assert found[0] == found[1]


def _nan(tensors: dict[str, Tensor]) -> None:
    tensors["model.norm.weight"][3] = math.nan


def _wider(tensors: dict[str, Tensor]) -> None:
    tensors["model.embed_tokens.weight"] = torch.zeros(44, 16)


def _without(tensors: dict[str, Tensor]) -> None:
    del tensors["model.layers.1.mlp.up_proj.weight"]


def _norm_alone(tensors: dict[str, Tensor]) -> None:
    tensors["model.norm.weight"] += 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: None, "there is nothing to extract"),
        (_norm_alone, "no linear layer differs"),
        (_nan, "`model.norm.weight` holds 1 values that are no numbers"),
        (_wider, r"the vocabularies differ: `model.embed_tokens.weight` has the shape \[44, 16\]"),
        (_without, "`model.layers.1.mlp.up_proj.weight` is missing"),
    ],
)
def test_what_is_refused(change: Any, message: str, root: Path, tmp_path: Path) -> None:
    tensors = read_weights(root / "base")
    change(tensors)
    write_model(tmp_path / "tuned", tensors)
    with pytest.raises(FinetoothError, match=message):
        finetooth.extract_adapter(str(tmp_path / "tuned"), tmp_path / "lora", base=str(root / "base"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tuned"], "nothing is left"


def test_a_rank_of_nothing_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(FinetoothError, match="the rank cannot be 0"):
        finetooth.extract_adapter(str(root / "all"), tmp_path / "lora", base=str(root / "base"), rank=0)


def test_names_of_targets() -> None:
    modules = ["m.0.q", "m.1.q", "m.0.k", "m.1.k", "head"]
    assert target_modules(["m.0.q", "m.1.q", "m.0.k", "head"], modules) == ["head", "m.0.k", "q"]
