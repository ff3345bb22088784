from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from finetooth.config import ConfigErrors, flatten, load_recipes
from finetooth.errors import ConfigError


def recipes(folder: Path, text: str, **options: Any) -> list[Any]:
    (folder / ".git").mkdir(exist_ok=True)
    path = folder / "r.yaml"
    path.write_text(text, encoding="utf-8")
    return load_recipes(path, environ=options.pop("environ", {}), cwd=folder, **options)


def test_a_recipe_without_a_matrix_is_one_run(tmp_path: Path) -> None:
    (one,) = recipes(tmp_path, "model: ./m\ntokenizer: ./t\ndata: a.jsonl\ntrain: {learning_rate: 1e-4}\n")
    config = one.config
    assert (one.name, config.model.path, config.tokenizer.path, config.data.train) == ("r", "./m", "./t", ("a.jsonl",))
    assert config.train.learning_rate == 1e-4
    assert one.settings == {}


def test_a_matrix_is_the_product_of_its_axes(tmp_path: Path) -> None:
    text = """
model: ./m
matrix:
  setup:
    split: {tokenizer: ./a/split}
    whole: {labels: {way: trl, max_length: 9}}
  train.seed: [0, 1]
"""
    found = recipes(tmp_path, text)
    assert [one.name for one in found] == ["split-0", "split-1", "whole-0", "whole-1"]
    assert found[1].config.tokenizer.path == "./a/split"
    assert (found[2].config.labels.way, found[2].config.labels.max_length) == ("trl", 9)
    assert [one.config.train.seed for one in found] == [0, 1, 0, 1]


def test_a_matrix_may_be_a_list(tmp_path: Path) -> None:
    text = "matrix:\n- {name: first, train.seed: 1}\n- {tokenizer: some/where, train: {epochs: 2}}\n"
    found = recipes(tmp_path, text)
    assert [one.name for one in found] == ["first", "where-2"]
    assert found[1].config.train.epochs == 2


def test_names_that_are_alike_are_numbered(tmp_path: Path) -> None:
    found = recipes(tmp_path, "matrix:\n  tokenizer: [a/x, b/x]\n")
    assert [one.name for one in found] == ["0-x", "1-x"]
    assert [one.config.tokenizer.path for one in found] == ["a/x", "b/x"]


def test_a_recipe_overrules_file_and_environment_and_is_overruled_by_flags(tmp_path: Path) -> None:
    (tmp_path / "finetooth.yaml").write_text("train: {seed: 1, epochs: 7}\nlabels: {way: trl}\n")
    (one,) = recipes(
        tmp_path,
        "train: {seed: 3, batch_size: 2}\n",
        environ={"FINETOOTH_TRAIN_SEED": "2"},
        sets=["train.batch_size=5"],
    )
    train = one.config.train
    assert (train.seed, train.epochs, train.batch_size, one.config.labels.way) == (3, 7, 5, "trl")


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    (one,) = recipes(tmp_path, "data: {train: [a, b]}\nlora: {target_modules: q_proj}\nlabels: {max_length: 8}\n")
    (again,) = recipes(tmp_path, one.to_yaml())
    assert flatten(again.config) == flatten(one.config)
    assert "output" not in yaml.safe_load(one.to_yaml())


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("matrix: 3\n", "neither a mapping of axes nor a list"),
        ("matrix: {}\n", "neither a mapping of axes nor a list"),
        ("matrix: [3]\n", "neither a mapping of axes nor a list"),
        ("matrix: {train.sed: [1, 2]}\n", "unknown key `train.sed`"),
        ("matrix: {setup: {a: {train.sed: 1}}}\n", "unknown key `train.sed`"),
        ("matrix: {train.seed: []}\n", "the axis `train.seed` of the matrix has no variants"),
        ("matrix: {train.seed: [one]}\n", "`train.seed` cannot be `one`"),
        ("train: {warmup_steps: -1}\n", "`train.warmup_steps` cannot be `-1`"),
        ("train: {pack_tokens: 0}\n", "`train.pack_tokens` cannot be `0`"),
        ("data: {eval_share: 1}\n", "`data.eval_share` cannot be `1`"),
    ],
)
def test_what_is_refused(text: str, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        recipes(tmp_path, text)
    assert complaint in str(raised.value)
    assert "r.yaml" in str(raised.value)


def test_a_key_of_the_matrix_is_not_set_besides(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"`train\.seed` is set by the matrix and by the command line"):
        recipes(tmp_path, "matrix: {train.seed: [0, 1]}\n", sets=["train.seed=4"])


def test_all_errors_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors) as raised:
        recipes(tmp_path, "modle: x\ntrain: {epochs: 0}\nmatrix: {train.seed: [0, 1], nothing: [2]}\n")
    assert len(raised.value.errors) == 3
