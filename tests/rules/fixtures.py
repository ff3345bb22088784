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
from pathlib import Path
from typing import Any

import yaml
from tokenizers import AddedToken, Tokenizer

from finetooth.checking import SetupReport, check_records
from finetooth.config import config_of
from finetooth.demo import tokenizer_path
from finetooth.labels import make_setup
from finetooth.records import records_of
from finetooth.rules import all_rules
from tests import small_tokenizers

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
    return directory


def check_fixture(fixture: dict[str, Any], directory: Path) -> SetupReport:
    """Run every rule over a fixture."""
    model = build_model(fixture.get("model") or {}, directory / "model")
    values = {f"labels.{key}": value for key, value in (fixture.get("labels") or {}).items()}
    wanted = {"tokenizer.template": fixture.get("template"), "tokenizer.loader": fixture.get("loader")}
    setup = make_setup(str(model), config_of({**values, **wanted}))
    report = check_records(records_of(fixture["rows"]), [setup], all_rules())
    return report.parts[0]
