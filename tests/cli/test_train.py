"""`finetooth train` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")

from tests.cli.conftest import Finetooth
from tests.training.recipes import save_model, write_recipe

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")


def test_a_dry_run_tells_the_plan_and_writes_nothing(finetooth: Finetooth, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    result = finetooth("train", str(recipe), "--dry-run")
    assert result.code == 0, result.err
    assert "20 (0 dropped, 0 teach nothing)" in result.out
    assert "6 of 7 rows (3 an epoch)" in result.out
    assert "forest" in result.out
    assert "weights" in result.out
    assert "⟦" in result.err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_plan_as_json(finetooth: Finetooth, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, matrix={"train.seed": [0, 1]})
    result = finetooth("train", str(recipe), "--dry-run", "--format", "json", "-q")
    plans = json.loads(result.out)
    assert [plan["name"] for plan in plans] == ["0", "1"]
    assert plans[0]["packing"]["sharing_ratio"] > 1
    assert plans[0]["memory"]["total"] > 0
    assert result.err == ""


def test_it_checks_shows_trains_and_tells(finetooth: Finetooth, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    result = finetooth("train", str(recipe), "-o", "out", "--set", "train.max_steps=2")
    assert result.code == 0, result.err
    for said in ("the model learns to stop", "the first step, as the model will see it", "the loss is computed by"):
        assert said in result.err
    assert "step 2/2" in result.err
    assert result.out.splitlines()[1].split()[:2] == ["out", "2"]
    assert finetooth("train", str(recipe), "-o", "out").code == 2
    other = finetooth("train", str(recipe), "-o", "out", "--resume", "--set", "train.seed=3")
    assert other.code == 2
    assert "begun with another recipe" in other.err
    again = finetooth("train", str(recipe), "-o", "out", "--resume", "--format", "json", "--set", "train.max_steps=2")
    assert json.loads(again.out)[0]["step"] == 2
    assert "finished already" in again.err


def test_errors_of_the_check_stop_it(finetooth: Finetooth, tmp_path: Path) -> None:
    save_model(tmp_path / "base", tokenizer="masked")
    labels = {"way": "completion-collator", "response_template": "[/INST]"}
    recipe = write_recipe(tmp_path, labels=labels, train__max_steps=1)
    result = finetooth("train", str(recipe), "-o", "out")
    assert result.code == 1
    assert finetooth("train", str(recipe), "--dry-run", "-q").code == 1
    assert "LAB002" in result.err
    assert "--no-check" in result.err
    assert not (tmp_path / "out").exists()
    again = finetooth("train", str(recipe), "-o", "out", "--no-check", "-q")
    assert again.code == 0
    assert again.err.splitlines() == [
        "error LAB002 masked-eos: the label of `</s>` (2) at the end of answers is -100, in 20 of 20 rows",
        "out: the check found errors, and it is trained all the same",
    ]


def test_a_run_that_fails_does_not_keep_the_next_from_running(finetooth: Finetooth, tmp_path: Path) -> None:
    recipe = write_recipe(
        tmp_path, train__max_steps=1, matrix={"train.scheduler": ["steep", "linear"], "train.save_steps": ["never"]}
    )
    result = finetooth("train", str(recipe), "-o", "out")
    assert result.code == 2
    assert "steep-never failed" in result.err
    assert "transformers refuses the arguments" in result.err
    assert (tmp_path / "out" / "linear-never" / "model").is_dir()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "nothing says where the run goes"),
        (["-o", "out", "--pack", "tree"], "invalid value `tree`"),
        (["-o", "out", "--set", "train.epochs=0"], "`train.epochs` cannot be `0`"),
        (["-o", "out", "--set", "data=nowhere.jsonl"], "nowhere.jsonl"),
        (["-o", "out", "--set", "train.epoch=2"], "did you mean `train.epochs`?"),
    ],
)
def test_what_is_refused(arguments: list[str], complaint: str, finetooth: Finetooth, tmp_path: Path) -> None:
    result = finetooth("train", str(write_recipe(tmp_path)), *arguments)
    assert result.code == 2
    assert complaint in result.err


def test_a_recipe_that_is_not_there(finetooth: Finetooth) -> None:
    result = finetooth("train", "nowhere.yaml", "-o", "out")
    assert result.code == 2
    assert "cannot read nowhere.yaml" in result.err


def test_a_recipe_that_is_broken(finetooth: Finetooth, tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("model: [\n")
    result = finetooth("train", "broken.yaml", "-o", "out")
    assert result.code == 2
    assert "not valid YAML" in result.err
