from __future__ import annotations

import json
import platform
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from finetooth import environment
from finetooth.version import __version__
from tests.cli.conftest import Finetooth


def test_json(finetooth: Finetooth) -> None:
    result = finetooth("env", "--format", "json")
    facts = json.loads(result.out)
    assert (result.code, result.err) == (0, "")
    assert (facts["finetooth"], facts["python"]) == (__version__, platform.python_version())
    assert facts["packages"]["click"] == metadata.version("click")
    assert facts["cores"] >= 1
    assert facts["config_file"] is None


def test_text_in_both_languages(finetooth: Finetooth) -> None:
    english, japanese = finetooth("env").out, finetooth("env", "--lang", "ja").out
    assert "config file  none\n" in english
    assert "設定ファイル      なし\n" in japanese
    assert len(english.splitlines()) == len(japanese.splitlines())


def test_a_broken_configuration_does_not_stop_it(finetooth: Finetooth, tmp_path: Path) -> None:
    (tmp_path / "finetooth.yaml").write_text("labels: [\n")
    result = finetooth("env", "--format", "json")
    assert result.code == 0
    assert json.loads(result.out)["config_file"] == str(tmp_path / "finetooth.yaml")


REQUIREMENTS = [
    "click>=8.2",
    "torch>=2.6; extra == 'train'",
    'peft>=0.18 ; python_version >= "3.11" and extra == "train"',
    "peft>=0.18; extra == 'gpu'",
    "liger-kernel>=0.5; extra == 'gpu'",
]


def installed(*packages: str) -> Callable[[str], str | None]:
    return lambda name: "1.0" if name in packages else None


def test_missing_packages_of_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "requires", lambda name: REQUIREMENTS)
    monkeypatch.setattr(environment, "version", installed("torch"))
    assert environment.missing("train") == {"peft"}
    assert environment.missing("gpu") == {"peft", "liger-kernel"}


def test_what_is_missing_is_named(finetooth: Finetooth, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "version", installed("click", "torch"))
    monkeypatch.setattr(environment, "extras", lambda: ["gpu", "train"])
    monkeypatch.setattr(metadata, "requires", lambda name: REQUIREMENTS)
    lines = finetooth("env").out.splitlines()
    assert "rich          not installed" in lines
    assert lines[-2:] == ["gpu    missing: liger-kernel, peft", "train  missing: peft"]


def test_a_source_tree_that_was_never_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "metadata", nothing)
    assert environment.extras() == []


def test_fingerprint_of_a_model(finetooth: Finetooth, demo_model: str) -> None:
    facts = json.loads(finetooth("env", "--model", demo_model, "--format", "json").out)
    found = facts["fingerprint"]
    assert found["model"] == demo_model
    assert found["probe_hash"] == found["file_probe_hash"]
    text = finetooth("env", "--model", demo_model).out
    assert found["probe_hash"] in text
    assert found["files"]["tokenizer.json"] in text
    assert "fingerprint" not in json.loads(finetooth("env", "--format", "json").out)


def test_a_model_that_is_not_there(finetooth: Finetooth) -> None:
    result = finetooth("env", "--model", "./nowhere")
    assert result.code == 2
    assert "./nowhere" in result.err
