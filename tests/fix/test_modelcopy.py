from __future__ import annotations

import os
from pathlib import Path

import pytest

from finetooth.fix import modelcopy
from finetooth.fix.modelcopy import ModelCopy
from tests.fix.stages import demo


def test_small_files_are_copied_and_weights_are_not(tmp_path: Path) -> None:
    model = demo("split", tmp_path / "m")
    for name in ("model.safetensors", "training_args.bin", ".hidden", "config.json.orig", "tokenizer.model"):
        (model / name).write_text("x")
    for folder in ("checkpoint-5", "additional_chat_templates", ".cache"):
        (model / folder).mkdir()
        (model / folder / "tool.jinja").write_text("x")
    copy = ModelCopy.make(model, tmp_path / "copy")
    assert {path.relative_to(copy.directory).as_posix() for path in copy.directory.rglob("*")} == {
        "additional_chat_templates",
        "additional_chat_templates/tool.jinja",
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer.model",
        "tokenizer_config.json",
    }
    assert copy.left_out == ("checkpoint-5/", "config.json.orig", "model.safetensors", "training_args.bin")


def test_a_huge_file_is_no_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modelcopy, "MAX_BYTES", 100_000)
    model = demo("split", tmp_path / "m")
    (model / "huge.dat").write_bytes(b"x" * 100_001)
    assert ModelCopy.make(model, tmp_path / "copy").left_out == ("huge.dat",)


def test_copies_can_be_written_where_the_originals_cannot(tmp_path: Path) -> None:
    model = demo("split", tmp_path / "m")
    for path in model.iterdir():
        path.chmod(0o444)
    copy = ModelCopy.make(model, tmp_path / "copy")
    assert all(os.stat(path).st_mode & 0o200 for path in copy.directory.iterdir())


def test_a_link_that_leads_nowhere_is_an_error(tmp_path: Path) -> None:
    model = demo("split", tmp_path / "m")
    (model / "vocab.json").symlink_to(tmp_path / "gone")
    with pytest.raises(FileNotFoundError):
        ModelCopy.make(model, tmp_path / "copy")


def test_changes(tmp_path: Path) -> None:
    copy = ModelCopy.make(demo("split", tmp_path / "m"), tmp_path / "copy")
    assert not copy.put("config.json", ["eos_token_id"], 2)
    assert copy.put("config.json", ["eos_token_id"], 3)
    assert copy.write("new.json", "{}")
    assert copy.put("generation_config.json", ["x"], 1)
    assert copy.put("generation_config.json", ["x"], 2)
    assert not copy.put("absent.json", ["x"], 2)
    assert [(change.name, change.is_new) for change in copy.changes()] == [
        ("config.json", False),
        ("generation_config.json", False),
        ("new.json", True),
    ]
    assert copy.put("config.json", ["eos_token_id"], 2)
    assert "config.json" not in [change.name for change in copy.changes()]


@pytest.mark.parametrize("kept", [False, True])
def test_a_trial(kept: bool, tmp_path: Path) -> None:
    copy = ModelCopy.make(demo("split", tmp_path / "m"), tmp_path / "copy")
    copy.put("config.json", ["a"], 1)
    with copy.trial() as trial:
        copy.put("config.json", ["b"], 1)
        copy.write("special_tokens_map.json", "{}")
        if kept:
            trial.keep()
    assert copy.files.model_config["a"] == 1
    assert ("b" in copy.files.model_config) is kept
    assert (copy.directory / "special_tokens_map.json").exists() is kept
    assert [change.name for change in copy.changes()] == ["config.json", *["special_tokens_map.json"] * kept]
