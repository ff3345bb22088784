"""mergekit's YAML is read, and what is not supported is refused by name, with its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from finetooth.errors import ConfigError
from finetooth.merging.configuration import MergeConfig, load_merges, merge_of
from finetooth.merging.methods import METHODS
from finetooth.merging.references import ModelReference
from finetooth.merging.settings import Setting

GOOD = """
merge_method: ties
base_model: ./base
models:
  - model: ./base
  - model: ./a
    parameters:
      weight: [0, 1e-1, 1]
      density:
        - {filter: mlp, value: [0.5, 0.9]}
        - {filter: "*", value: 0.7}
  - model: owner/name@main+./lora
parameters:
  weight: 0.5
  normalize: false
  int8_mask: true
dtype: float32
out_dtype: bfloat16
tokenizer:
  source: union
  tokens:
    <|im_end|>: {source: ./a, force: true}
    <x>: {source: {kind: model_token, model: ./a, token: <y>}}
chat_template: chatml
"""


def load(text: str, tmp_path: Path) -> list[MergeConfig]:
    path = tmp_path / "merge.yaml"
    path.write_text(text)
    return load_merges(path)


def test_the_whole_form(tmp_path: Path) -> None:
    (config,) = load(GOOD, tmp_path)
    assert config.method is METHODS["ties"]
    (one,) = config.slices
    assert [str(source.reference) for source in one.sources] == ["./base", "./a", "owner/name@main+./lora"]
    assert one.sources[2].reference == ModelReference("owner/name", "./lora", "main")
    weight, density = one.sources[1].settings["weight"], one.sources[1].settings["density"]
    assert [weight.value_for("model.norm.weight", t) for t in (0, 0.25, 0.5, 1)] == [0, 0.05, 0.1, 1]
    assert density.value_for("model.layers.0.mlp.up_proj.weight", 0.5) == pytest.approx(0.7)
    assert density.value_for("lm_head.weight", 0.5) == 0.7
    assert config.settings["normalize"].value_for("x", 0) is False
    assert (config.dtype, config.out_dtype, config.chat_template) == ("float32", "bfloat16", "chatml")
    assert config.tokenizer is not None
    assert config.tokenizer.tokens["<|im_end|>"].is_forced
    assert config.tokenizer.tokens["<x>"].token == "<y>"


def test_a_gradient_of_one() -> None:
    assert Setting(((None, (0.3,)),), "").value_for("x", 1.0) == 0.3


def test_modules_of_one_and_anchors(tmp_path: Path) -> None:
    (config,) = load(
        "merge_method: linear\nmodules:\n  default:\n    models:\n    - &a {model: ./a, parameters: {weight: 1}}\n"
        "    - {<<: *a, model: ./b}\n",
        tmp_path,
    )
    assert [str(source.reference) for source in config.slices[0].sources] == ["./a", "./b"]
    assert "weight" in config.slices[0].sources[1].settings


LINEAR = "merge_method: linear\nmodels:\n- model: ./a\n- model: ./b\n"
SLICED = "merge_method: passthrough\nslices:\n- sources:\n  - "

BAD = {
    "": ("merge.yaml", "holds no merge"),
    "models: [": ("merge.yaml:1", "not valid YAML"),
    "[1, 2]": ("merge.yaml:1", "has to hold keys and values"),
    "models:\n- model: ./a\n": ("merge.yaml:1", "names no `merge_method`"),
    "merge_method: tiez\nmodels: []\n": ("merge.yaml:1", "did you mean `ties`"),
    "merge_method: arcee_fusion\nmodels: []\n": ("merge.yaml:1", "unknown merge method `arcee_fusion`"),
    "merge_method: linear\n": ("merge.yaml:1", "neither `models` nor `slices`"),
    LINEAR + "slices:\n- sources: []\n": ("merge.yaml:1", "both `models` and `slices`"),
    LINEAR + "parametres: {}\n": ("merge.yaml:5", "did you mean `parameters`"),
    LINEAR + "input_model_parameters: {}\n": ("merge.yaml:5", "unknown key `input_model_parameters`"),
    LINEAR + "parameters:\n  wieght: 1\n": ("merge.yaml:6", "did you mean `weight`"),
    LINEAR + "parameters: {density: 1}\n": ("merge.yaml:5", "linear has no parameter `density`"),
    LINEAR + "parameters: {weight: much}\n": ("merge.yaml:5", "`weight` cannot be `much`"),
    LINEAR + "parameters: {weight: .nan}\n": ("merge.yaml:5", "`weight` cannot be `nan`"),
    LINEAR + "parameters: {weight: [{filter: mlp}]}\n": ("merge.yaml:5", "no `value`"),
    LINEAR + "parameters: {normalize: [0, 1]}\n": ("merge.yaml:5", "cannot change from layer to layer"),
    LINEAR + "parameters: {normalize: perhaps}\n": ("merge.yaml:5", "true, false"),
    LINEAR + "dtype: float8\n": ("merge.yaml:5", "float32, float16, bfloat16"),
    LINEAR + "models: []\n": ("merge.yaml:5", "given twice, first at"),
    LINEAR + "tokenizer_source: base\n": ("merge.yaml:1", "there is no `base_model`"),
    LINEAR + "tokenizer: {source: union}\ntokenizer_source: union\n": ("merge.yaml:6", "both given"),
    LINEAR + "tokenizer: {pad_to_multiple_of: 64}\n": (
        "merge.yaml:5",
        "`tokenizer.pad_to_multiple_of` is not supported",
    ),
    LINEAR + "tokenizer:\n  tokens:\n    <x>: {force: true}\n": ("merge.yaml:7", "no `source`"),
    LINEAR + "tokenizer:\n  tokens:\n    <x>: {source: {kind: mean}}\n": ("merge.yaml:7", "kind: model_token"),
    "merge_method: linear\nmodels:\n- model: ./a\n  parameters: {normalize: true}\n": (
        "merge.yaml:4",
        "a parameter of the method, not of a model",
    ),
    "merge_method: linear\nmodels:\n- ./a\n": ("merge.yaml:3", "has to hold keys and values"),
    "merge_method: linear\nmodels:\n- parameters: {}\n": ("merge.yaml:3", "names no `model`"),
    "merge_method: linear\nmodels: ./a\n": ("merge.yaml:2", "has to be a list"),
    "merge_method: ties\nmodels:\n- model: ./a\n": ("merge.yaml:1", "ties needs a `base_model`"),
    "merge_method: ties\nbase_model: ./b\nmodels:\n- model: ./b\n  parameters: {weight: 1}\n- model: ./a\n": (
        "merge.yaml:4",
        "of the base model changes nothing",
    ),
    "merge_method: slerp\nbase_model: ./a\nmodels:\n- model: ./a\n": ("merge.yaml:3", "takes 1 models beside the base"),
    "merge_method: passthrough\nbase_model: ./a\nmodels:\n- model: ./a\n": (
        "merge.yaml:1",
        "no use for a `base_model`",
    ),
    "merge_method: passthrough\nmodels:\n- model: ./a\n- model: ./b\n": ("merge.yaml:2", "is given 2"),
    "merge_method: ties\nbase_model: ./b\nmodels:\n- model: ./a\nparameters: {density: 1.5}\n": (
        "merge.yaml:5",
        "0 <= x <= 1",
    ),
    "merge_method: ties\nbase_model: ./b\nmodels:\n- model: ./a\nparameters: {consensus_method: mean}\n": (
        "merge.yaml:5",
        "sum, count",
    ),
    SLICED + "{model: ./a}\n": ("merge.yaml:4", "no `layer_range`"),
    SLICED + "{model: ./a, layer_range: [3, 1]}\n": ("merge.yaml:4", "`layer_range` cannot be `\\[3, 1\\]`"),
    SLICED + "{model: ./a, layer_range: [0, 1], residual_weight: 1}\n": (
        "merge.yaml:4",
        "unknown key `residual_weight`",
    ),
    "merge_method: linear\nslices:\n- sources:\n  - {model: ./a, layer_range: [0, 2]}\n"
    "  - {model: ./b, layer_range: [0, 3]}\n": ("merge.yaml:3", "ranges of different length"),
    "merge_method: linear\nmodules:\n  text: {models: []}\n  vision: {models: []}\n": (
        "merge.yaml:2",
        "several modules \\(text, vision\\)",
    ),
    LINEAR + "---\n" + LINEAR: ("merge.yaml:1", "a merge that others follow has no `name`"),
    "name: first\nmerge_method: linear\nmodels:\n- model: second\n---\nname: second\n" + LINEAR: (
        "merge.yaml:1",
        "`second` is used before it is made",
    ),
    "a: &a [*a]": ("merge.yaml:1", "not valid YAML"),
}


@pytest.mark.parametrize("text", BAD)
def test_what_is_wrong_is_told_with_its_line(text: str, tmp_path: Path) -> None:
    where, message = BAD[text]
    with pytest.raises(ConfigError, match=message) as caught:
        load(text, tmp_path)
    assert caught.value.where == str(tmp_path / where)


@pytest.mark.parametrize(
    ("document", "where", "message"),
    [
        ({}, "merge", "names no `merge_method`"),
        (
            {"merge_method": "linear", "models": [{"model": "a"}, {"model": "b", "parameters": {"wieght": 1}}]},
            "models[1].parameters.wieght",
            "no parameter `wieght`",
        ),
        ({"merge_method": "linear", "models": ({"model": {1, 2}},)}, "models[0].model", "of type set"),
    ],
)
def test_what_is_wrong_in_a_mapping_is_told_with_its_key(document: dict[str, Any], where: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        merge_of(document, "merge")
    assert caught.value.where == where


def test_a_mapping_holds_paths_and_numbers_of_numpy(tmp_path: Path) -> None:
    values = {"weight": np.float32(0.5), "density": np.int64(1)}
    document = {"merge_method": "ties", "base_model": tmp_path, "models": ({"model": Path("a"), "parameters": values},)}
    config = merge_of(document, "merge")
    assert config.document == {
        "merge_method": "ties",
        "base_model": str(tmp_path),
        "models": [{"model": "a", "parameters": {"weight": 0.5, "density": 1}}],
    }
    assert yaml.safe_load(yaml.safe_dump(config.document)) == config.document


def test_published_configurations_are_read(tmp_path: Path) -> None:
    """Forms that are common in model cards."""
    (config,) = load(
        """
slices:
  - sources:
      - model: owner/first
        layer_range: [0, 32]
      - model: owner/second
        layer_range: [0, 32]
merge_method: slerp
base_model: owner/first
parameters:
  t:
    - filter: self_attn
      value: [0, 0.5, 0.3, 0.7, 1]
    - filter: mlp
      value: [1, 0.5, 0.7, 0.3, 0]
    - value: 0.5
dtype: bfloat16
""",
        tmp_path,
    )
    assert config.settings["t"].value_for("model.layers.0.self_attn.q_proj.weight", 0.125) == 0.25
    assert [source.layers for source in config.slices[0].sources] == [(0, 32), (0, 32)]
