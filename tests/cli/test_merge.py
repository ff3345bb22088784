from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Finetooth
from tests.merging.toys import family, read_weights


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
