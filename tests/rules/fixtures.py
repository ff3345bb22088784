"""Fixtures of rules: rows and a set-up that a rule has to find at fault, or has to leave alone.

Each is a YAML file, `tests/rules/<CODE>/bad_<what>.yaml` or `good_<what>.yaml`:

    about: the EOS is cut into pieces after a Japanese full stop     # one sentence
    model:                       # the directory that --model names, built in a temporary folder
      base: demo/split           # demo/split|masked|supervised, or a function of tests.small_tokenizers
      added_tokens:              # added to the vocabulary, or their flags changed
        - {content: "<|im_end|>", special: true, normalized: false}
      tokenizer_config: {pad_token: "<unk>"}      # merged into tokenizer_config.json; null removes a key
      generation_config: {eos_token_id: [2]}      # merged into generation_config.json
      config: {model_type: llama}                 # merged into config.json
      template: "{% for m in messages %}...{% endfor %}"   # written as chat_template.jinja; null removes it
      weights:                   # written as model.safetensors; none where left out
        rows: 40                 # as many as the vocabulary has where left out
        dim: 8
        dtype: BF16              # F32 where left out, or F16
        shards: true             # a file for each tensor, and their index
        embed: {zero: ["<|im_end|>"], mean: [...], same: [["<|a|>", "<|b|>"]]}      # rows of tokens that are changed
        head: {zero: [...]}      # a matrix of the output layer; none where left out. `like_embed: true`: the same one
      adapter: {B: 0.0, more: [...]}     # an adapter whose lora_B is this number everywhere, and further tensors
    trained: {method: lora, target_modules: [...], modules_to_save: [...]}      # as of a recipe with this model
    template: chatml             # --template
    labels: {way: trl, max_length: 64}            # fields of LabelsConfig
    loader: tokenizers           # --loader
    rows:
      - {prompt: "...", completion: "..."}
    expect: [LAB001, RUN002, TOK003]    # the exact set of codes that all rules find, folded ones too; [] where left out
    cause: {LAB001: TOK003}      # the code of a finding's cause
    severity: {LAB001: error}
    not_run: [TOK004]            # rules that say they could not be run

Those of merges have `merge` and `models` instead; tests/rules/merge_fixtures.py says how.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from tokenizers import AddedToken, Tokenizer

from finetooth.checking import SetupReport, check_records
from finetooth.config import config_of
from finetooth.demo import tokenizer_path
from finetooth.labels import Trained, make_setup
from finetooth.records import records_of
from finetooth.rules import all_rules
from tests import small_tokenizers, weights

FOLDER = Path(__file__).parent


def fixture_paths() -> list[Path]:
    """Return every fixture, by rule and name."""
    return sorted(path for path in FOLDER.glob("*/*.yaml") if path.name.startswith(("bad", "good")))


def load(path: Path) -> dict[str, Any]:
    """Return what a fixture says."""
    fixture: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return fixture


def build_model(spec: dict[str, Any], directory: Path) -> Path:
    """Write the directory that a fixture's `model` describes."""
    base = spec.get("base", "demo/supervised")
    if base.startswith("demo/"):
        shutil.copytree(tokenizer_path(base.removeprefix("demo/")), directory)
    else:
        small_tokenizers.save_model(directory, getattr(small_tokenizers, base)())
    for path in directory.iterdir():
        path.chmod(0o644)
    if spec.get("added_tokens"):
        tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        tokenizer.add_tokens([AddedToken(**token) for token in spec["added_tokens"]])
        tokenizer.save(str(directory / "tokenizer.json"))
    for name in ("tokenizer_config", "generation_config", "config"):
        if spec.get(name) is not None:
            path = directory / f"{name}.json"
            values = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
            values |= spec[name]
            kept = {key: value for key, value in values.items() if value is not None}
            path.write_text(json.dumps(kept, ensure_ascii=False, indent=1), encoding="utf-8")
    if "template" in spec:
        path = directory / "chat_template.jinja"
        path.unlink(missing_ok=True)
        if spec["template"] is not None:
            path.write_text(spec["template"], encoding="utf-8")
    if "weights" in spec:
        _write_weights(spec["weights"] or {}, directory)
    if "adapter" in spec:
        _write_adapter(spec["adapter"], directory)
    return directory


def _write_weights(spec: dict[str, Any], directory: Path) -> None:
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    ids = tokenizer.get_vocab(with_added_tokens=True)
    size = (spec.get("rows", len(ids)), spec.get("dim", 8))
    rows = {"model.embed_tokens.weight": weights.changed(weights.matrix(*size), spec.get("embed") or {}, ids)}
    for projection in ("q_proj", "v_proj"):
        rows[f"model.layers.0.self_attn.{projection}.weight"] = weights.matrix(size[1], size[1])
    head = spec.get("head")
    if head is not None:
        like = head.get("like_embed", False)
        own = rows["model.embed_tokens.weight"] if like else weights.matrix(*size, seed=1)
        rows["lm_head.weight"] = weights.changed(own, head, ids)
    weights.write_model(directory, rows, dtype=spec.get("dtype", "F32"), shards=spec.get("shards", False))


def _write_adapter(spec: dict[str, Any], directory: Path) -> None:
    prefix = "base_model.model.model.layers.0.self_attn.q_proj"
    tensors = {f"{prefix}.lora_A.weight": weights.matrix(2, 8), f"{prefix}.lora_B.weight": [[float(spec["B"])] * 2] * 8}
    tensors |= {name: weights.matrix(2, 8) for name in spec.get("more", ())}
    weights.write_safetensors(directory / "adapter_model.safetensors", tensors)
    (directory / "adapter_config.json").write_text('{"peft_type": "LORA"}', encoding="utf-8")


def check_fixture(fixture: dict[str, Any], directory: Path) -> SetupReport:
    """Run every rule over a fixture."""
    model = build_model(fixture.get("model") or {}, directory / "model")
    values = {f"labels.{key}": value for key, value in (fixture.get("labels") or {}).items()}
    wanted = {"tokenizer.template": fixture.get("template"), "tokenizer.loader": fixture.get("loader")}
    setup = make_setup(str(model), config_of({**values, **wanted}))
    if "trained" in fixture:
        told: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in fixture["trained"].items()
        }
        setup = replace(setup, trained=Trained(directory=model, **told))
    report = check_records(records_of(fixture["rows"]), [setup], all_rules())
    return report.parts[0]
