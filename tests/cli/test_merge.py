from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.cli.conftest import Finetooth
from tests.merging.toys import family, read_weights, weights, write_model


@pytest.fixture
def here(finetooth: Finetooth, tmp_path: Path) -> Finetooth:
    """Run the command line where models lie."""
    family(tmp_path)
    return finetooth


def test_flags_and_configuration_give_the_same(here: Finetooth, tmp_path: Path) -> None:
    result = here("merge", "a", "b", "--base", "base", "--method", "ties", "--weight", "0.5", "--density", "0.4",
                  "--density", "0.6", "--parameter", "lambda=0.7", "--out-dtype", "bfloat16", "-o", "one")  # fmt: skip
    assert result.code == 0, result.err
    assert result.err.startswith("merged in ")
    (tmp_path / "merge.yaml").write_text(
        "merge_method: ties\nbase_model: base\nmodels:\n- {model: a, parameters: {weight: 0.5, density: 0.4}}\n"
        "- {model: b, parameters: {weight: 0.5, density: 0.6}}\nparameters: {lambda: 0.7}\nout_dtype: bfloat16\n"
    )
    result = here("merge", "merge.yaml", "-o", "two", "-q")
    assert (result.code, result.err) == (0, "")
    one, two = read_weights(tmp_path / "one"), read_weights(tmp_path / "two")
    assert all(one[name].equal(two[name]) for name in one)


def test_slerp_goes_from_the_first_to_the_second(here: Finetooth, tmp_path: Path) -> None:
    assert here("merge", "a", "b", "--method", "slerp", "--t", "1", "-o", "merged").code == 0
    merged, second = read_weights(tmp_path / "merged"), read_weights(tmp_path / "b")
    assert all(merged[name].equal(second[name]) for name in second)


def test_a_dry_run_writes_nothing(here: Finetooth, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    result = here("merge", "a", "b", "--method", "linear", "--weight", "1", "-o", "merged", "--dry-run")
    assert result.code == 0
    assert result.out.splitlines()[0].startswith("linear: 2 models, 21 tensors; reads")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a", "b"], "without a method"),
        (["a"], "ends in .yaml"),
        (["a", "b", "--method", "liner"], "did you mean `linear`"),
        (["a", "b", "--method", "linear", "--weight", "1", "--weight", "2", "--weight", "3"], "3 times, for 2 models"),
        (["a", "b", "--method", "linear", "--parameter", "lambda"], "not of the form name=value"),
        (["a", "b", "--method", "linear"], "linear needs `weight`"),
        (["merge.yaml", "--t", "0.5"], "beside a configuration"),
        (["nowhere.yaml"], "cannot read nowhere.yaml"),
    ],
)
def test_what_is_wrong_is_told(arguments: list[str], message: str, here: Finetooth) -> None:
    result = here("merge", *arguments, "-o", "merged")
    assert result.code == 2
    assert message in result.err


def unrelated(root: Path) -> str:
    """Write a merge of a model with a base that it does not come from; return the name of its configuration."""
    write_model(root / "stranger", weights(9))
    (root / "merge.yaml").write_text(
        "merge_method: ties\nbase_model: base\nmodels:\n- {model: a}\n- {model: stranger}\n"
        "parameters: {weight: 0.5, density: 0.5}\n"
    )
    return "merge.yaml"


def test_errors_stop_a_merge_unless_forced(here: Finetooth, tmp_path: Path) -> None:
    config = unrelated(tmp_path)
    result = here("merge", config, "-o", "merged")
    assert result.code == 1
    assert "error MRG005 unrelated-base" in result.err
    assert "the check found errors: MRG005" in result.err
    assert not (tmp_path / "merged").exists()
    quiet = here("merge", config, "-o", "merged", "-q")
    assert quiet.code == 1
    assert quiet.err.startswith("error: the check found errors: MRG005 unrelated-base: stranger")
    forced = here("merge", config, "-o", "merged", "--force", "--no-test")
    assert forced.code == 0, forced.err
    assert "error MRG005" in forced.err and "merged in" in forced.err


def test_a_merged_model_is_tried_unless_told_not_to(here: Finetooth) -> None:
    arguments = ("merge", "a", "b", "--method", "linear", "--weight", "1")
    result = here(*arguments, "-o", "one")
    assert result.code == 0, result.err
    assert "opened as LlamaForCausalLM" in result.err
    assert "every value that was written is a number" in result.err
    result = here(*arguments, "-o", "two", "--no-test")
    assert (result.code, "opened as" in result.err) == (0, False)
    assert here(*arguments, "-o", "three", "--lang", "ja").err.count("として開き") == 1


@pytest.mark.parametrize("format_name", ["text", "json", "markdown", "html", "sarif", "github"])
def test_check_merge_in_every_format(format_name: str, here: Finetooth, tmp_path: Path) -> None:
    result = here("check", "--merge", unrelated(tmp_path), "--format", format_name)
    assert result.code == 1, result.err
    assert "MRG005" in result.out
    if format_name == "json":
        (line,) = result.out.splitlines()
        finding = json.loads(line)
        assert (finding["model"], finding["labels_way"], finding["severity"]) == ("merge.yaml", "merge", "error")
        assert finding["cause"]["code"] == "unrelated"
        assert finding["cause"]["evidence"]["relative_change"] > 1
        assert [place["where"] for place in finding["places"]] == ["stranger"]
    if format_name in ("text", "markdown", "html"):
        assert "a merge of 3 models" in result.out
        assert "records" not in result.out


def test_check_merge_exits_with_0_where_all_is_well(here: Finetooth, tmp_path: Path) -> None:
    (tmp_path / "merge.yaml").write_text(
        "merge_method: linear\nmodels: [{model: a}, {model: b}]\nparameters: {weight: 1}\n"
    )
    result = here("check", "--merge", "merge.yaml")
    assert (result.code, result.err) == (0, "")
    assert "no findings in a merge of 2 models" in result.out
    assert "指摘はありません（2 モデルのマージ）" in here("check", "--merge", "merge.yaml", "--lang", "ja").out
    assert here("check", "--merge", "merge.yaml", "--merge", "merge.yaml").out.count("── merge.yaml") == 2


def test_check_merge_reads_pickles_where_asked(here: Finetooth, tmp_path: Path) -> None:
    (tmp_path / "merge.yaml").write_text(
        "merge_method: linear\nmodels: [{model: a}, {model: b}]\nparameters: {weight: 1}\n"
    )
    torch.save(read_weights(tmp_path / "a"), tmp_path / "a" / "pytorch_model.bin")
    (tmp_path / "a" / "model.safetensors").unlink()
    result = here("check", "--merge", "merge.yaml")
    assert result.code == 2
    assert "--allow-pickle reads it as weights alone" in result.err
    result = here("check", "--merge", "merge.yaml", "--allow-pickle")
    assert (result.code, result.err) == (0, "")
    assert "no findings in a merge of 2 models" in result.out
    result = here("check", "data.jsonl", "--model", "a", "--allow-pickle")
    assert result.code == 2
    assert "there is no --merge" in result.err


def test_check_merge_with_choices_and_baselines(here: Finetooth, tmp_path: Path) -> None:
    config = unrelated(tmp_path)
    assert here("check", "--merge", config, "--ignore", "MRG005").code == 0
    assert here("check", "--merge", config, "--fail-on", "never").code == 0
    assert here("check", "--merge", config, "--write-baseline", "known.json").code == 0
    assert here("check", "--merge", config, "--baseline", "known.json").code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data.jsonl", "--merge", "merge.yaml"], "`DATA` is given beside a merge"),
        (["--merge", "merge.yaml", "--model", "a"], "`--model` is given beside a merge"),
        ([], "missing argument `DATA`"),
        (["--merge", "nowhere.yaml"], "cannot read nowhere.yaml"),
        (["--merge", "needs.yaml"], "linear needs `weight`"),
    ],
)
def test_what_is_wrong_with_check_merge_is_told(
    arguments: list[str], message: str, here: Finetooth, tmp_path: Path
) -> None:
    (tmp_path / "needs.yaml").write_text("merge_method: linear\nmodels: [{model: a}, {model: b}]\n")
    result = here("check", *arguments)
    assert result.code == 2
    assert message in result.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.yaml"], "cannot read nowhere.yaml"),
        (["nowhere", "--method", "linear"], "no such model"),
        (["{here}", "--base", "nowhere", "--method", "ties"], "no such model"),
    ],
)
def test_what_is_not_there_is_told_at_once(arguments: list[str], message: str, tmp_path: Path) -> None:
    script = "import sys; from finetooth.cli.main import main; sys.exit(main() + 10 * ('torch' in sys.modules))"
    command = [sys.executable, "-c", script, "merge", *(text.format(here=tmp_path) for text in arguments), "-o", "out"]
    result = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True)
    assert result.returncode == 2, result.stderr
    assert message in result.stderr
