"""Fixtures of the rules about merges: small models, and the merge that they are put into.

about: two tokenizers give one token different ids
merge: {merge_method: linear, models: [a, b], tokenizer_source: union}      # models by the names below
models:
  a: {}                     # random weights, and the tokenizer of tests.small_tokenizers.llama_bpe
  b:
    near: a                 # its weights, and a little noise; `change: 0` for none
    seed: 3
    scale: 2.0              # all weights times this
    tokenizer: {...}        # as `model` of the other fixtures (tests/rules/fixtures.py); null: none
    rows: 700               # of the embeddings; as many as the tokenizer has tokens where left out
    layers: 2
    tied: true
    dtype: bfloat16
    drop: [model.norm.weight]                   # tensors that are left out
    add: {extra.weight: [2, 2]}                 # further tensors, or other shapes of known ones
    fill: {model.norm.weight: .nan}             # tensors that hold one value everywhere
    poke: {model.norm.weight: .inf}             # tensors whose first element is this
    quantize: [model.layers.0.mlp.up_proj.weight]       # tensors that are stored as int8
    run: {probe: {...}, findings: {...}}        # the run that it comes from, with these files
expect, cause, severity, not_run: as in the other fixtures
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor

from finetooth.checking import SetupReport
from finetooth.merging.checks import before
from finetooth.merging.configuration import parse_merges
from finetooth.merging.models import open_model
from finetooth.rules import all_rules
from tests.merging import toys
from tests.rules.fixtures import build_model


def check_merge_fixture(fixture: dict[str, Any], directory: Path) -> SetupReport:
    """Run every rule about merges over a fixture."""
    written: dict[str, dict[str, Tensor]] = {}
    places = {}
    for name, spec in fixture["models"].items():
        places[name] = _write(spec or {}, directory / name, written, name)
    (config,) = parse_merges(yaml.safe_dump(_placed(fixture["merge"], places)), "merge.yaml")
    models = {reference: open_model(reference) for reference in config.references}
    return before(config, models, shown="merge.yaml", rules=all_rules()).parts[0]


def _placed(merge: dict[str, Any], places: dict[str, Path]) -> dict[str, Any]:
    """Return a configuration with directories in the place of names, and numbers for what methods need."""
    text = {name: str(path) for name, path in places.items()}
    found: dict[str, Any] = {
        key: text.get(value, value) if isinstance(value, str) else value for key, value in merge.items()
    }
    if "models" in merge:
        found["models"] = [{"model": text[name]} for name in merge["models"]]
    for one in found.get("slices", ()):
        for source in one["sources"]:
            source["model"] = text[source["model"]]
    return found


def _write(spec: dict[str, Any], place: Path, written: dict[str, dict[str, Tensor]], name: str) -> Path:
    directory = place
    if "run" in spec:
        directory = place / "model"
        place.mkdir()
        (place / "recipe.yaml").write_text("")
        for file, value in spec["run"].items():
            (place / f"{file}.json").write_text(json.dumps(value))
    vocab = 40
    if spec.get("tokenizer", {}) is not None:
        build_model({"base": "llama_bpe"} | spec.get("tokenizer", {}), directory)
        ids = Tokenizer.from_file(str(directory / "tokenizer.json")).get_vocab(with_added_tokens=True)
        vocab = max(ids.values()) + 1
    else:
        directory.mkdir()
    form = {"layers": spec.get("layers", 2), "vocab": spec.get("rows", vocab), "tied": spec.get("tied", False)}
    tensors = _weights(spec, written, name, form)
    dtype = getattr(torch, spec.get("dtype", "float32"))
    config = directory / "config.json"
    known = json.loads(config.read_text()) if config.is_file() else {}
    config.write_text(json.dumps(toys.config(dtype=str(dtype).removeprefix("torch."), **form) | known))
    stored = {key: one.to(dtype).contiguous() for key, one in tensors.items()}
    stored |= {key: stored[key].to(torch.int8) for key in spec.get("quantize", ())}
    save_file(stored, directory / "model.safetensors", metadata={"format": "pt"})
    return directory


def _weights(
    spec: dict[str, Any], written: dict[str, dict[str, Tensor]], name: str, form: dict[str, Any]
) -> dict[str, Tensor]:
    tensors = toys.weights(spec.get("seed", len(written)), **form)
    for key, near in written.get(spec.get("near", ""), {}).items():
        if key in tensors and tensors[key].shape == near.shape:
            noise = torch.randn(near.shape, generator=torch.Generator().manual_seed(len(written)))
            tensors[key] = near + spec.get("change", 0.002) * noise
    written[name] = dict(tensors)
    tensors = {key: spec.get("scale", 1.0) * one for key, one in tensors.items() if key not in spec.get("drop", ())}
    generator = torch.Generator().manual_seed(9)
    tensors |= {key: torch.randn(shape, generator=generator) for key, shape in spec.get("add", {}).items()}
    for key, value in spec.get("fill", {}).items():
        tensors[key] = torch.full_like(tensors[key], value)
    for key, value in spec.get("poke", {}).items():
        tensors[key] = tensors[key].clone()
        tensors[key].view(-1)[0] = value
    return tensors
