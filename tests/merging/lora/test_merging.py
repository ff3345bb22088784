"""An adapter merged into its base is what peft makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import finetooth
from finetooth.errors import FinetoothError
from finetooth.merging.models import open_model
from finetooth.merging.references import ModelReference
from finetooth.merging.sources import Buffer, Files
from tests.merging.lora.adapters import load_model, make_adapter, merged_by_peft, write_gpt2
from tests.merging.toys import family, read_weights

pytest.importorskip("peft")


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bases")
    family(root / "untied", "")
    family(root / "tied", "", tied=True)
    family(root / "bf16", "", dtype=torch.bfloat16)
    write_gpt2(root / "gpt2" / "base")
    write_gpt2(root / "gpt2-untied" / "base", tied=False)
    return root


def merged(base: Path, adapter: Path, output: Path, suffix: str = "", **more: Any) -> dict[str, Tensor]:
    config = {"merge_method": "passthrough", "models": [{"model": f"{base}+{adapter}{suffix}"}]}
    return read_weights(finetooth.merge(config, output, **more))


def relative(left: Tensor, right: Tensor) -> float:
    return float((left.double() - right.double()).abs().max() / right.double().abs().max().clamp(min=1e-30))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("untied", {}),
        ("untied", {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"layers.1.self_attn.v_proj": 11}}),
        ("untied", {"use_rslora": True, "rank_pattern": {"down_proj": 8}}),
        ("untied", {"modules_to_save": ["lm_head", "norm"]}),
        ("untied", {"target_modules": ["embed_tokens", "lm_head", "q_proj"]}),
        ("untied", {"use_dora": True}),
        ("untied", {"use_dora": True, "use_rslora": True, "modules_to_save": ["embed_tokens"]}),
        ("untied", {"target_modules": "all-linear", "exclude_modules": ["o_proj"]}),
        ("tied", {}),
        ("tied", {"modules_to_save": ["lm_head"]}),
        ("tied", {"modules_to_save": ["embed_tokens"]}),
        ("tied", {"modules_to_save": ["embed_tokens", "lm_head"]}),
        ("tied", {"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True}),
        ("gpt2", {"target_modules": ["c_attn", "c_proj", "c_fc"]}),
        ("gpt2-untied", {"target_modules": ["c_attn", "c_proj", "lm_head", "wte"]}),
    ],
)
def test_as_merge_and_unload(kind: str, options: dict[str, Any], bases: Path, tmp_path: Path) -> None:
    base = bases / kind / "base"
    adapter = make_adapter(base, tmp_path / "lora", **options)
    ours, theirs = merged(base, adapter, tmp_path / "merged"), merged_by_peft(base, adapter)
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert relative(ours[name], tensor) <= 1e-6, name
    assert any(not ours[name].equal(tensor) for name, tensor in read_weights(base).items())
    config = json.loads((tmp_path / "merged" / "config.json").read_text())
    assert config["tie_word_embeddings"] is (theirs.keys().isdisjoint({"lm_head.weight"}))
    tokens = torch.tensor([[1, 5, 7, 9]])
    with torch.no_grad():
        logits = load_model(tmp_path / "merged")(tokens).logits
        torch.testing.assert_close(logits, load_model(tmp_path / "lora-by-peft")(tokens).logits, rtol=1e-4, atol=1e-5)


def test_embeddings_of_a_tied_model_take_the_head_along_and_that_is_told(bases: Path, tmp_path: Path) -> None:
    base = bases / "tied" / "base"
    adapter = make_adapter(base, tmp_path / "lora", target_modules=["embed_tokens"])
    with pytest.warns(UserWarning, match=r"changes `model.embed_tokens.weight`, and with it the head"):
        ours = merged(base, adapter, tmp_path / "merged")
    theirs = merged_by_peft(base, adapter)
    assert ours.keys() == theirs.keys()
    assert all(relative(ours[name], tensor) <= 1e-6 for name, tensor in theirs.items())


def test_a_tied_head_is_refused(bases: Path, tmp_path: Path) -> None:
    base = bases / "tied" / "base"
    adapter = make_adapter(base, tmp_path / "lora", target_modules=["lm_head"])
    with pytest.raises(FinetoothError, match=r"changes `lm_head`, which the model ties"):
        merged(base, adapter, tmp_path / "merged")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_bf16_is_within_one_unit(dtype: torch.dtype, bases: Path, tmp_path: Path) -> None:
    base = bases / "bf16" / "base"
    adapter = make_adapter(base, tmp_path / "lora", dtype=dtype)
    ours = merged(base, adapter, tmp_path / "merged")
    theirs = merged_by_peft(base, adapter, dtype=torch.bfloat16)
    for name, tensor in theirs.items():
        assert ours[name].dtype is tensor.dtype is torch.bfloat16
        assert _units(ours[name], tensor) <= 1, name


def _units(left: Tensor, right: Tensor) -> int:
    """Return the largest distance in units in the last place of bf16."""

    def place(tensor: Tensor) -> Tensor:
        bits = tensor.view(torch.int16).int()
        return torch.where(bits < 0, -32768 - bits, bits)  # the order of the numbers

    return int((place(left) - place(right)).abs().max())


@pytest.mark.parametrize("options", [{}, {"use_dora": True}, {"modules_to_save": ["norm"]}])
def test_scale(options: dict[str, Any], bases: Path, tmp_path: Path) -> None:
    base = bases / "untied" / "base"
    adapter = make_adapter(base, tmp_path / "lora", **options)
    ours = merged(base, adapter, tmp_path / "merged", "*-0.25")
    for name, tensor in merged_by_peft(base, adapter, scale=-0.25).items():
        assert relative(ours[name], tensor) <= 1e-6, name
    assert f"{adapter}*-0.25" in (tmp_path / "merged" / "README.md").read_text()


@pytest.mark.parametrize(
    ("kind", "options"),
    [("untied", {"use_dora": True}), ("gpt2", {"target_modules": ["c_attn"]}),
     ("untied", {"target_modules": ["embed_tokens"]})],
)  # fmt: skip
def test_stretches_do_not_change_a_bit(kind: str, options: dict[str, Any], bases: Path, tmp_path: Path) -> None:
    base = bases / kind / "base"
    model = open_model(ModelReference(str(base), str(make_adapter(base, tmp_path / "lora", **options))))
    assert model.adapter is not None
    files = Files()
    try:
        for name in model.adapter.factors:
            source = model.tensor(name)
            assert source is not None
            for entry in source.entries:
                files.open(entry.file)
            whole, parts = torch.empty(source.shape).flatten(), torch.empty(source.shape).flatten()
            source.read(0, whole, Buffer(files))
            for start in range(0, len(parts), 37):  # ends within rows
                source.read(start, parts[start : start + 37], Buffer(files))
            assert torch.equal(whole, parts), name
    finally:
        files.close()


def test_an_adapter_of_zeros_is_told(bases: Path, tmp_path: Path) -> None:
    base = bases / "untied" / "base"
    make_adapter(base, tmp_path / "lora", noise=0)
    told: list[str] = []
    ours = merged(base, tmp_path / "lora", tmp_path / "merged", on_note=told.append)
    assert told == [f"the adapter changes nothing: every B of it is zero, as before training ({tmp_path / 'lora'})"]
    assert all(ours[name].equal(tensor) for name, tensor in read_weights(base).items())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a+b", ModelReference("a", "b")),
        ("a+b*0.5", ModelReference("a", "b", None, 0.5)),
        ("o/a@main+o/b*-2", ModelReference("o/a", "o/b", "main", -2.0)),
        ("a+b*x", ModelReference("a", "b*x")),
        ("a+b*inf", ModelReference("a", "b*inf")),
        ("a*2", ModelReference("a*2")),
    ],
)
def test_references(text: str, expected: ModelReference) -> None:
    assert ModelReference.parse(text) == expected
    if expected.scale != -2:
        assert str(expected) == text


def test_references_with_signs_in_names(tmp_path: Path) -> None:
    for name in ("a+b", "c*2"):
        (tmp_path / name).mkdir()
    parsed = ModelReference.parse(f"{tmp_path}/a+b+{tmp_path}/c*2")
    assert parsed == ModelReference(f"{tmp_path}/a+b", f"{tmp_path}/c*2")


def test_dora_of_embeddings_is_refused_by_name(bases: Path, tmp_path: Path) -> None:
    base = bases / "untied" / "base"
    adapter = make_adapter(base, tmp_path / "lora", target_modules=["embed_tokens"], use_dora=True)
    with pytest.raises(FinetoothError, match=r"use_dora \(model.embed_tokens\)"):
        merged(base, adapter, tmp_path / "merged")


@pytest.mark.parametrize("way", ["pissa", "olora"])
def test_what_changes_the_base_as_it_loads_is_refused(way: str, bases: Path, tmp_path: Path) -> None:
    base = bases / "untied" / "base"
    adapter = make_adapter(base, tmp_path / "lora")
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"init_lora_weights": way}))
    with pytest.raises(FinetoothError, match=f"init_lora_weights: {way}"):
        merged(base, adapter, tmp_path / "merged")
