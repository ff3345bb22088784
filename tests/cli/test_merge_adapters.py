from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from finetooth.cli.merge import command
from finetooth.cli.modes import ALWAYS, PLAIN, TAKEN
from tests.cli.conftest import Finetooth
from tests.merging.lora.adapters import make_adapter, merged_by_peft
from tests.merging.toys import family, read_weights

pytest.importorskip("peft")


@pytest.fixture
def here(finetooth: Finetooth, tmp_path: Path) -> Finetooth:
    """Run the command line where a base, a fine-tune `a` and two adapters lie."""
    family(tmp_path, "a")
    for seed, name in enumerate(("one", "two")):
        make_adapter(tmp_path / "base", tmp_path / name, seed=seed)
    return finetooth


def test_an_adapter_is_merged_into_its_base(here: Finetooth, tmp_path: Path) -> None:
    result = here("merge", "base", "--adapter", "one", "--adapter-scale", "0.5", "-o", "merged")
    assert result.code == 0, result.err
    assert result.err.startswith("merged in ")
    expected = merged_by_peft(tmp_path / "base", tmp_path / "one", scale=0.5)
    assert all(merged.allclose(expected[name]) for name, merged in read_weights(tmp_path / "merged").items())
    assert "base+one*0.5" in (tmp_path / "merged" / "README.md").read_text()
    result = here("merge", "base", "--adapter", "one", "-o", "other", "--dry-run")
    assert (result.code, result.out.splitlines()[0][:22]) == (0, "passthrough: 1 models,")


def test_an_adapter_that_changes_nothing_is_told(here: Finetooth, tmp_path: Path) -> None:
    make_adapter(tmp_path / "base", tmp_path / "zero", noise=0)
    result = here("merge", "base", "--adapter", "zero", "-o", "merged")
    assert result.code == 0
    assert result.err.startswith("the adapter changes nothing: every B of it is zero")


def test_adapters_are_combined(here: Finetooth, tmp_path: Path) -> None:
    result = here("merge", "one", "two", "--combine", "ties_svd", "--weight", "0.6", "--weight", "0.4", "--density",
                  "0.5", "--rank", "3", "--majority-sign", "frequency", "-o", "both")  # fmt: skip
    assert result.code == 0, result.err
    assert result.err.startswith("2 adapters combined in ")
    assert {min(one.shape) for one in load_file(tmp_path / "both" / "adapter_model.safetensors").values()} == {3}


def test_an_adapter_is_extracted(here: Finetooth, tmp_path: Path) -> None:
    result = here("merge", "a", "--extract", "--base", "base", "--rank", "16", "-o", "lora")
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert lines[-2].startswith("total") and "kept 100.00%  relative error" in lines[-2]
    assert lines[-1].startswith("held whole, 6: model.embed_tokens, ")
    assert len(lines) == 2 * 7 + 1 + 2
    assert result.err.startswith("extracted at rank 16 in ")
    again = here("merge", "a", "--extract", "--base", "base", "--approximate", "-o", "lora", "--force", "-q")
    assert (again.code, again.err) == (0, "")


def test_each_option_is_told_where_it_goes() -> None:
    with command.make_context("merge", ["a", "-o", "b"]) as context:
        own = {param.name for param in command.params if param.name in context.params} - {"models"}
    assert own == {*ALWAYS, *PLAIN, *(name for names in TAKEN.values() for name in names)}


def test_pickles_are_extracted_from_where_asked(here: Finetooth, tmp_path: Path) -> None:
    torch.save(read_weights(tmp_path / "a"), tmp_path / "a" / "pytorch_model.bin")
    (tmp_path / "a" / "model.safetensors").rename(tmp_path / "before.safetensors")
    result = here("merge", "a", "--extract", "--base", "base", "-o", "lora")
    assert result.code == 2
    assert "--allow-pickle reads it as weights alone" in result.err
    assert here("merge", "a", "--extract", "--base", "base", "-o", "lora", "--allow-pickle").code == 0
    (tmp_path / "before.safetensors").rename(tmp_path / "a" / "model.safetensors")
    assert here("merge", "a", "--extract", "--base", "base", "-o", "same").code == 0
    name = "adapter_model.safetensors"
    assert (tmp_path / "lora" / name).read_bytes() == (tmp_path / "same" / name).read_bytes()
    assert {path.name for path in tmp_path.iterdir()} - {".git"} == {"a", "base", "lora", "one", "same", "two"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["one", "two", "--combine", "cat"], "no weight is given"),
        (["one", "two", "--combine", "cat", "--weight", "1", "--t", "0.5"], "`--t` does not go with `--combine`"),
        (["one", "two", "--combine", "cat", "--weight", "1", "--resume"], "`--resume` does not go with `--combine`"),
        (["a", "--extract", "--base", "base", "--threads", "2"], "`--threads` does not go with `--extract`"),
        (["one", "--combine", "ties", "--weight", "1", "--density", "1", "--density", "1"], "at one density"),
        (["one", "two", "--combine", "tie", "--weight", "1"], "did you mean `ties`"),
        (["a", "--extract"], "no base to compare with"),
        (["a", "base", "--extract", "--base", "base"], "`--extract` takes one model, and 2 are given"),
        (["base", "a", "--adapter", "one"], "`--adapter` takes one model"),
        (["base", "--adapter", "one", "--method", "linear"], "`--method` does not go with `--adapter`"),
        (["a", "base", "--method", "linear", "--rank", "3"], "`--rank` goes with `--combine`"),
        (["base", "--adapter-scale", "2"], "`--adapter-scale` goes with `--adapter`, which is not given"),
        (["a", "base", "--method", "linear", "--prompts", "3"], "`--prompts` goes with `--sweep`, which is not given"),
        (["a", "base", "--method", "slerp", "--sweep", "t=0,1", "--dry-run"], "`--dry-run` does not go with `--sweep`"),
        (["a", "base", "--method", "slerp", "--candidate", "t=0", "--no-test"], "does not go with `--sweep`"),
        (["a", "base", "--method", "slerp", "--sweep", "t=0", "--allow-pickle"], "does not go with `--sweep`"),
        (["base", "--adapter", "one", "--sweep", "t=0"], "`--sweep` does not go with `--adapter`"),
        (["one", "two", "--combine", "cat", "--weight", "1", "--device", "cpu"], "does not go with `--combine`"),
        (["base", "--adapter", "a"], "no adapter_config.json"),
        (["base", "--adapter", "one", "--adapter-scale", "nan"], "one*nan"),
    ],
)
def test_what_is_wrong_is_told(arguments: list[str], message: str, here: Finetooth) -> None:
    result = here("merge", *arguments, "-o", "merged")
    assert result.code == 2
    assert message in result.err
