from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from finetooth.demo import EXAMPLE, data_path
from finetooth.errors import ConfigError, FinetoothError
from finetooth.fix import install as module
from finetooth.fix.install import install, install_in_place, refuse_output, stage_for
from finetooth.fix.repair import Repaired, repair
from finetooth.rules import all_rules
from tests.fix.stages import config_of, demo

LABELS = {"way": "completion-collator", "response_template": "[/INST]"}


def repaired_on(stage: Path, model: Path, data: Path) -> Repaired:
    return repair([str(data)], str(model), config_of(**LABELS), stage, rules=all_rules())


def inputs(folder: Path) -> tuple[Path, Path]:
    """Return a model and a data set in which files and rows have to be edited."""
    return demo("split", folder / "m"), Path(shutil.copy(data_path(EXAMPLE), folder / "train.jsonl"))


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_new_directory(tmp_path: Path) -> None:
    output = tmp_path / "a" / "b" / "fixed"
    with stage_for(output) as stage:
        install(repaired_on(stage, *inputs(tmp_path)), stage, output)
    assert sorted(path.name for path in output.iterdir()) == ["data", "fingerprint.json", "model"]
    assert [path.name for path in (output / "data").iterdir()] == ["train.jsonl"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "m", "train.jsonl"]
    assert os.stat(output).st_mode & 0o777 == 0o777 & ~module._umask()


def test_an_empty_directory_is_taken(tmp_path: Path) -> None:
    output = tmp_path / "fixed"
    output.mkdir()
    with stage_for(output) as stage:
        install(repaired_on(stage, *inputs(tmp_path)), stage, output)
    assert (output / "model" / "tokenizer.json").is_file()


def test_of_a_directory_that_holds_something_ours_alone_is_replaced(tmp_path: Path) -> None:
    output = tmp_path / "fixed"
    (output / "model").mkdir(parents=True)
    (output / "model" / "old.json").write_text("{}")
    (output / "notes.txt").write_text("mine")
    with stage_for(output) as stage:
        install(repaired_on(stage, *inputs(tmp_path)), stage, output)
    assert not (output / "model" / "old.json").exists()
    assert (output / "notes.txt").read_text() == "mine"
    assert sorted(path.name for path in output.iterdir()) == ["data", "fingerprint.json", "model", "notes.txt"]


def test_where_one_part_cannot_be_replaced_all_are_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "fixed"
    (output / "model").mkdir(parents=True)
    (output / "data").mkdir()
    (output / "model" / "old.json").write_text("{}")
    before = tree(output)
    rename = os.rename

    def failing(old: Any, new: Any) -> None:
        if Path(new) == output / "data" and "aside" not in str(old):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        rename(old, new)

    with pytest.raises(FinetoothError, match="No space left"), stage_for(output) as stage:
        one = repaired_on(stage, *inputs(tmp_path))
        monkeypatch.setattr(os, "rename", failing)
        install(one, stage, output)
    assert tree(output) == before
    assert sorted(path.name for path in output.iterdir()) == ["data", "model"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "x")])
@pytest.mark.parametrize("at", ["copyfile", "write", "rows"])
def test_what_stops_it_leaves_nothing(
    error: BaseException, at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from finetooth.fix.datacopy import DataCopy
    from finetooth.fix.modelcopy import ModelCopy

    def stopped(*_: Any, **__: Any) -> None:
        raise error

    model, data = inputs(tmp_path)
    before = tree(tmp_path)
    target = {"copyfile": (shutil, "copyfile"), "write": (ModelCopy, "write"), "rows": (DataCopy, "write")}[at]
    monkeypatch.setattr(*target, stopped)
    due = FinetoothError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(due), stage_for(tmp_path / "fixed") as stage:
        install(repaired_on(stage, model, data), stage, tmp_path / "fixed")
    assert tree(tmp_path) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m", "train.jsonl"]


@pytest.mark.parametrize(
    ("name", "force", "complaint"),
    [
        ("full", False, "not empty"),
        ("file", False, "is a file"),
        ("file", True, "is a file"),
        ("m", True, "would replace what is read"),
        (".", True, "would replace what is read"),
        ("link", True, "would replace what is read"),
    ],
)
def test_outputs_that_are_refused(name: str, force: bool, complaint: str, tmp_path: Path) -> None:
    model, data = inputs(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(model)
    with pytest.raises(ConfigError, match=complaint):
        refuse_output(tmp_path / name, force=force, inputs=[model, data])


@pytest.mark.parametrize(("name", "force"), [("full", True), ("empty", False), ("new", False), ("m/inside", False)])
def test_outputs_that_are_taken(name: str, force: bool, tmp_path: Path) -> None:
    model, data = inputs(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    (tmp_path / "empty").mkdir()
    refuse_output(tmp_path / name, force=force, inputs=[model, data])


def in_place(model: Path, data: Path, *, force: bool = False) -> list[Path]:
    with stage_for(None) as stage:
        return install_in_place(repaired_on(stage, model, data), force=force)


def test_in_place_keeps_the_originals(tmp_path: Path) -> None:
    model, data = inputs(tmp_path)
    (model / "tokenizer.json").chmod(0o640)
    before = tree(tmp_path)
    written = in_place(model, data)
    after = tree(tmp_path)
    changed = {path.relative_to(tmp_path).as_posix() for path in written}
    assert changed == {
        "m/tokenizer.json",
        "m/tokenizer_config.json",
        "m/config.json",
        "m/generation_config.json",
        "m/fingerprint.json",
        "train.jsonl",
    }
    for name in changed - {"m/fingerprint.json"}:
        assert after[f"{name}.orig"] == before[name] != after[name]
    assert set(after) == set(before) | {f"{name}.orig" for name in changed - {"m/fingerprint.json"}} | changed
    assert os.stat(model / "tokenizer.json").st_mode & 0o777 == 0o640


def test_in_place_twice_is_once(tmp_path: Path) -> None:
    model, data = inputs(tmp_path)
    in_place(model, data)
    before = tree(tmp_path)
    assert in_place(model, data) == []
    assert tree(tmp_path) == before


def test_an_original_of_an_earlier_run_is_the_true_one(tmp_path: Path) -> None:
    model, data = inputs(tmp_path)
    (model / "tokenizer.json.orig").write_text("true")
    before = tree(tmp_path)
    with pytest.raises(ConfigError, match="an original is kept already"):
        in_place(model, data)
    assert tree(tmp_path) == before
    in_place(model, data, force=True)
    assert (model / "tokenizer.json.orig").read_text() == "true"
    assert (model / "config.json.orig").exists()


def test_in_place_never_writes_through_a_link(tmp_path: Path) -> None:
    model, data = inputs(tmp_path)
    blob = tmp_path / "blob"
    shutil.move(model / "tokenizer.json", blob)
    (model / "tokenizer.json").symlink_to(blob)
    before = blob.read_bytes()
    in_place(model, data)
    assert blob.read_bytes() == before
    assert not (model / "tokenizer.json").is_symlink()
    assert (model / "tokenizer.json.orig").resolve() == blob


def test_in_place_puts_everything_back_where_one_file_cannot_be_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, data = inputs(tmp_path)
    (model / "generation_config.json").unlink()
    before = tree(tmp_path)
    replace = os.replace

    def failing(old: Any, new: Any) -> None:
        if Path(new).name == "train.jsonl" and ".orig" not in str(old):
            raise KeyboardInterrupt
        replace(old, new)

    with pytest.raises(KeyboardInterrupt), stage_for(None) as stage:
        one = repaired_on(stage, model, data)
        monkeypatch.setattr(os, "replace", failing)
        install_in_place(one, force=False)
    assert tree(tmp_path) == before


def test_in_place_wants_lines(tmp_path: Path) -> None:
    model = demo("split", tmp_path / "m")
    data = tmp_path / "train.csv"
    data.write_text('text\n"<s>[INST] a [/INST] b</s>"\n')
    before = tree(tmp_path)
    with pytest.raises(ConfigError, match="only JSONL files"):
        in_place(model, data)
    assert tree(tmp_path) == before
