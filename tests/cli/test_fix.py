from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from finetooth.demo import DIALOGUES, EXAMPLE, data_path, tokenizer_path
from finetooth.fix.datacopy import DataCopy
from finetooth.messages import say
from tests.cli.conftest import Finetooth, Result
from tests.fix.stages import demo, merge, write_rows
from tests.shared_data import SHARED, needs_shared
from tests.test_imports import HEAVY, loaded

COLLATOR = ("--labels", "completion-collator", "--response-template", "[/INST]")


def fix(finetooth: Finetooth, *arguments: Any, name: str = "split") -> Result:
    return finetooth("fix", str(data_path(EXAMPLE)), "-m", str(tokenizer_path(name)), *COLLATOR, *map(str, arguments))


def test_before_and_after(finetooth: Finetooth, tmp_path: Path) -> None:
    result = fix(finetooth, "--output", "fixed")
    assert result.code == 0
    assert result.out.splitlines()[:2] == [
        "mended",
        "  TOK003 LAB001  <unk> <s> </s>: normalized: false in tokenizer.json, so that each is found after every "
        "character",
    ]
    assert result.out.partition("\n\n")[2] == (
        "how answers end                              before  after\n"
        "  the end is text: its token does not match       1      0\n"
        "  the model learns to stop                        0      1\n"
        "\n"
        "findings                     before  after\n"
        "  LAB001 split-eos                1      0\n"
        "  RUN002 pad-is-eos               1      0\n"
        "  TOK001 double-bos               1      0\n"
        "  TOK003 normalized-special       1      0\n"
    )
    assert "not mended" not in result.out
    assert result.err == "written: fixed/model, fixed/data\n"
    assert sorted(path.name for path in (tmp_path / "fixed").iterdir()) == ["data", "fingerprint.json", "model"]


def test_the_same_check_then_finds_nothing(finetooth: Finetooth) -> None:
    fix(finetooth, "--output", "fixed")
    result = finetooth("check", "fixed/data/example.jsonl", "--model", "fixed/model", *COLLATOR)
    assert result.code == 0


@needs_shared
def test_the_example_of_the_report(finetooth: Finetooth) -> None:
    data = str(SHARED / "data" / "report-example" / "text.jsonl")
    model = str(SHARED / "data" / "tokenizers" / "llama2-eos-normalized")
    labels = ("--labels", "completion-collator", "--response-template", "[/INST] ")
    result = finetooth("fix", data, "--model", model, *labels, "--output", "fixed")
    assert result.code == 1, "the slot, the newline and <<SYS>> are left"
    assert "warning DAT005 blank-slot" in result.out
    checked = finetooth("check", data, "--model", "fixed/model", *labels, "--format", "json")
    found = {json.loads(line)["code"] for line in checked.out.splitlines()}
    assert not found & {"LAB001", "LAB002", "LAB003"}


def test_json(finetooth: Finetooth) -> None:
    result = fix(finetooth, "-o", "fixed", "--format", "json", "--lang", "ja")
    told = json.loads(result.out)
    assert result.err == ""
    assert [edit["name"] for edit in told["edits"]] == ["added-token-flags", "padding-token", "second-bos"]
    assert {edit["safety"] for edit in told["edits"]} == {"safe"}
    assert told["before"]["endings"] == {"split-by-normalizer": 1}
    assert told["after"] == {"endings": {"stops": 1}, "findings": {}}
    assert told["written"] == ["fixed/model", "fixed/data"]
    assert told["left"] == told["offered"] == []
    stored = json.loads(Path("fixed/fingerprint.json").read_text(encoding="utf-8"))
    assert told["label_hash"] == stored["label_hash"]
    env = json.loads(finetooth("env", "--model", "fixed/model", "--format", "json").out)
    assert env["fingerprint"]["probe_hash"] == stored["probe_hash"]


def test_the_difference_and_nothing_written(finetooth: Finetooth, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    result = fix(finetooth, "--diff")
    assert result.code == 1
    assert sorted(tmp_path.rglob("*")) == before
    assert '-      "normalized": true,\n+      "normalized": false,\n' in result.out
    assert '-  "pad_token": "</s>",\n+  "pad_token": "<unk>",\n' in result.out
    assert f"--- {data_path(EXAMPLE)}\n+++ {data_path(EXAMPLE)}\n@@ -1 +1 @@\n" in result.out
    assert result.err.startswith("mended\n  TOK003")
    assert finetooth(
        "fix", str(data_path(DIALOGUES["ja"])), "-m", str(tokenizer_path("supervised")), "--diff"
    ) == Result(0, "", "nothing to mend\n")


@pytest.mark.skipif(shutil.which("patch") is None, reason="patch is not installed")
def test_the_difference_is_a_patch(finetooth: Finetooth, tmp_path: Path) -> None:
    model = demo("masked", tmp_path / "m")
    data = write_rows(tmp_path / "train.jsonl", [{"text": "<s>[INST] 紅茶 [/INST] はい。</s>"}] * 2)
    arguments = ("fix", "train.jsonl", "-m", "m", *COLLATOR)
    patch = finetooth(*arguments, "--diff").out
    finetooth(*arguments, "-o", "fixed")
    subprocess.run(["patch", "-p0"], input=patch.encode(), cwd=tmp_path, check=True, capture_output=True)
    assert data.read_bytes() == (tmp_path / "fixed" / "data" / "train.jsonl").read_bytes()
    for path in model.glob("*.json"):
        assert path.read_bytes() == (tmp_path / "fixed" / "model" / path.name).read_bytes()


def test_twice_is_once(finetooth: Finetooth, tmp_path: Path) -> None:
    fix(finetooth, "-o", "one")
    again = finetooth("fix", "one/data/example.jsonl", "-m", "one/model", *COLLATOR, "-o", "two")
    assert again.out.startswith("nothing to mend\n")
    assert again.err.endswith("no row was changed: train on the data as it is\n")
    first, second = (
        {path.name: path.read_bytes() for path in (tmp_path / name / "model").iterdir()} for name in ("one", "two")
    )
    assert first == second


def test_in_place(finetooth: Finetooth, tmp_path: Path) -> None:
    demo("split", tmp_path / "m")
    shutil.copy(data_path(EXAMPLE), tmp_path / "train.jsonl")
    result = finetooth("fix", "train.jsonl", "-m", "m", *COLLATOR, "--in-place")
    assert result.code == 0
    assert "m/tokenizer.json" in result.err
    assert (tmp_path / "m" / "tokenizer.json.orig").read_bytes() == (
        tokenizer_path("split") / "tokenizer.json"
    ).read_bytes()
    assert (tmp_path / "train.jsonl.orig").read_bytes() == data_path(EXAMPLE).read_bytes()
    assert finetooth("check", "train.jsonl", "-m", "m", *COLLATOR).code == 0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "nothing says where the result is to go"),
        (("-o", "full"), "the output directory is not empty"),
        (("-o", "file"), "the output is a file"),
        (("-o", "fixed", "--in-place"), "exclude each other"),
        (("--in-place", "-m", "someone/model"), "cannot be changed in place: someone/model"),
    ],
)
def test_what_is_refused(arguments: tuple[str, ...], complaint: str, finetooth: Finetooth, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    (tmp_path / "file").touch()
    result = fix(finetooth, *arguments)
    assert result.code == 2
    assert complaint in result.err
    assert result.out == ""


def test_no_model(finetooth: Finetooth) -> None:
    result = finetooth("fix", "train.jsonl", "-o", "fixed")
    assert (result.code, result.err.splitlines()[0]) == (2, "error: no model is named")


def test_force(finetooth: Finetooth, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    assert fix(finetooth, "-o", "full", "--force").code == 0
    assert sorted(path.name for path in (tmp_path / "full").iterdir()) == ["data", "fingerprint.json", "model", "x"]


def test_an_interrupt_leaves_nothing(finetooth: Finetooth, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(DataCopy, "write", stopped)
    assert fix(finetooth, "-o", "fixed").code == 130
    assert [path.name for path in tmp_path.iterdir()] == [".git"]


def test_a_full_disk(finetooth: Finetooth, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, os.strerror(28), "data/example.jsonl")

    monkeypatch.setattr(DataCopy, "write", full)
    result = fix(finetooth, "-o", "fixed")
    assert result.code == 2
    assert result.err.splitlines()[:2] == [
        "error: the repair was not written: No space left on device",
        " --> data/example.jsonl",
    ]
    assert [path.name for path in tmp_path.iterdir()] == [".git"]


def test_read_only_inputs(finetooth: Finetooth, tmp_path: Path) -> None:
    model = demo("split", tmp_path / "m")
    for path in (*model.iterdir(), model):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        assert finetooth("fix", str(data_path(EXAMPLE)), "-m", "m", *COLLATOR, "-o", "fixed").code == 0
        (tmp_path / "fixed" / "model" / "config.json").write_text("{}")
    finally:
        model.chmod(0o755)


def test_weights_are_named_and_not_copied(finetooth: Finetooth, tmp_path: Path) -> None:
    (demo("split", tmp_path / "m") / "model.safetensors").write_bytes(b"x")
    result = finetooth("fix", str(data_path(EXAMPLE)), "-m", "m", *COLLATOR, "-o", "fixed")
    assert "not copied from the model: model.safetensors\n" in result.err
    assert not (tmp_path / "fixed" / "model" / "model.safetensors").exists()


def test_what_is_left_has_its_reason_and_remedy(finetooth: Finetooth, tmp_path: Path) -> None:
    model = demo("split", tmp_path / "m")
    merge(model / "tokenizer_config.json", {"unk_token": None})
    data = write_rows(tmp_path / "train.jsonl", [{"text": "[INST] a<unk> [/INST] b</s>"}])
    result = finetooth("fix", str(data), "-m", "m", *COLLATOR, "-o", "fixed")
    assert result.code == 1
    after = result.out.partition("not mended\n")[2]
    assert "error LAB002 masked-eos" in after
    assert "no token of the vocabulary is free to be padding" in after
    assert "help: mask padding by its position" in after


def test_nothing_heavy_is_imported(tmp_path: Path) -> None:
    arguments = ("fix", str(data_path(EXAMPLE)), "-m", str(tokenizer_path("split")), *COLLATOR, "-o", "fixed")
    code, packages = loaded(*arguments, cwd=tmp_path)
    assert code == 0
    assert not packages & HEAVY


def test_japanese(finetooth: Finetooth) -> None:
    result = fix(finetooth, "-o", "fixed", "--lang", "ja")
    assert result.code == 0
    assert result.out.startswith(f"{say('cli_fix.mended')}\n  TOK003 LAB001  <unk> <s> </s>: ")
    assert f"{say('cli_fix.before')}  {say('cli_fix.after')}" in result.out
    assert result.err == say("cli_fix.written", paths="fixed/model, fixed/data") + "\n"
    assert say("cli_fix.before") != "before"


def test_broken_rows_are_told_once(finetooth: Finetooth, tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"text": "<s>[INST] a [/INST] b</s>"}\n{broken\n')
    arguments = ("fix", "train.jsonl", "-m", str(tokenizer_path("split")), *COLLATOR, "-o", "fixed")
    assert finetooth(*arguments).code == 2
    result = finetooth(*arguments, "--skip-broken")
    assert result.code == 0
    assert result.err.count("train.jsonl:2") == 1
    assert (tmp_path / "fixed" / "data" / "train.jsonl").read_text().endswith('</s>"}\n{broken\n')
