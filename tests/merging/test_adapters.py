"""Adapters that are not plain LoRA, or do not fit, are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import finetooth
from finetooth.errors import FinetoothError

NAME = "base_model.model.model.layers.0.self_attn.q_proj"
CONFIG = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "bias": "none", "target_modules": ["q_proj"]}
WEIGHTS = {f"{NAME}.lora_A.weight": torch.ones(2, 16), f"{NAME}.lora_B.weight": torch.ones(16, 2)}


def merged_with(models: Path, directory: Path, config: Any, weights: dict[str, torch.Tensor]) -> Path:
    directory.mkdir()
    (directory / "adapter_config.json").write_text(json.dumps(config))
    save_file(weights, directory / "adapter_model.safetensors")
    config = {"merge_method": "passthrough", "models": [{"model": f"{models / 'a'}+{directory}"}]}
    return finetooth.merge(config, directory.parent / "merged")


@pytest.mark.parametrize(
    ("config", "weights", "message"),
    [
        ({"use_dora": True}, {}, "does not fit the model at `model.layers.0.self_attn.q_proj.lora_magnitude_vector`"),
        ({"use_bdlora": {"nblocks": 2}}, {}, "`use_bdlora` of the adapter is not supported"),
        ({"bias": "all"}, {}, "bias: all"),
        ({"peft_type": "IA3"}, {}, "peft_type: IA3"),
        ({"some_new_way": 3}, {}, "some_new_way"),
        ({}, {f"{NAME}.lora_A.weight": torch.ones(2, 15)}, "does not fit the model at `model.layers.0"),
        ({}, {f"{NAME}.lora_B.weight": torch.ones(16, 3)}, "does not fit"),
        ({}, {f"{NAME.replace('q_', 'x_')}.lora_A.weight": torch.ones(2, 16)}, "does not fit"),
        ({}, {f"{NAME}.lora_magnitude_vector": torch.ones(16)}, "lora_magnitude_vector"),
        ({}, {"base_model.model.model.embed_tokens.weight": torch.ones(3, 16)}, "does not fit"),
    ],
)
def test_what_is_refused(
    config: Any, weights: dict[str, torch.Tensor], message: str, models: Path, tmp_path: Path
) -> None:
    with pytest.raises(FinetoothError, match=message) as caught:
        merged_with(models, tmp_path / "lora", CONFIG | config, WEIGHTS | weights)
    assert caught.value.help is not None and "merge_and_unload" in caught.value.help


def test_whole_tensors_replace_those_of_the_model(models: Path, tmp_path: Path) -> None:
    from tests.merging.toys import read_weights

    norm = torch.arange(16.0)
    weights = WEIGHTS | {"base_model.model.model.norm.weight": norm}
    merged = read_weights(merged_with(models, tmp_path / "lora", CONFIG, weights))
    assert torch.equal(merged["model.norm.weight"], norm)
    before = read_weights(models / "a")["model.layers.0.self_attn.q_proj.weight"]
    torch.testing.assert_close(merged["model.layers.0.self_attn.q_proj.weight"], before + 2 * 2.0)


def test_an_adapter_alone_is_no_model(models: Path, tmp_path: Path) -> None:
    merged_with(models, tmp_path / "lora", CONFIG, WEIGHTS)
    (tmp_path / "lora" / "config.json").write_text("{}")
    config = {"merge_method": "passthrough", "models": [{"model": str(tmp_path / "lora")}]}
    with pytest.raises(FinetoothError, match=r"an adapter, and no model(.|\n)*base\+"):
        finetooth.merge(config, tmp_path / "again")
