from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetooth.types import Side
from finetooth.view.sides import short_names
from finetooth.view.visible import cells
from tests.view.samples import make_side


def sides(*models: str, ways: tuple[str, ...] = ("finetooth",)) -> list[Side]:
    return [make_side("a", [(5, "a", 0, 1, True)], model=model, labels_way=way) for model in models for way in ways]


@pytest.mark.parametrize(
    ("models", "names"),
    [
        (("runs/llama2-pad-is-eos", "runs/llama2-pad-is-unk"), ["1 eos", "2 unk"]),
        (("lab/llama-7b-chat", "lab/mistral-7b-chat"), ["1 llama", "2 mistral"]),
        (("lab/model", "lab/model-v2"), ["1 model", "2 model-v2"]),
        (("chat", "v2-chat"), ["1 chat", "2 v2-chat"]),
        (("a/model/", "b/model/"), ["1 a", "2 b"]),
        (("same", "same"), ["1", "2"]),
    ],
)
def test_names_hold_what_differs(models: tuple[str, ...], names: list[str]) -> None:
    assert short_names(sides(*models), width=100) == names


REPORT = ("tokenizers/llama2-eos-normalized", "tokenizers/llama2-pad-is-eos", "tokenizers/llama2-pad-is-unk")


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
@pytest.mark.parametrize("way", ["trl", "completion-collator"])
def test_ways_of_making_labels_are_whole_or_left_out(width: int, way: str) -> None:
    names = short_names(sides(*REPORT, ways=(way, "finetooth")), width=width)
    assert len(set(names)) == 6
    told = [name.split(" ")[-1] for name in names]
    assert told == [way, "finetooth"] * 3 or told == ["1", "2", "3", "4", "5", "6"]
    assert (told[0] == way) is (width >= {"trl": 60, "completion-collator": 80}[way])


def test_models_are_shortened_in_the_middle() -> None:
    assert short_names(sides(*REPORT, ways=("trl", "finetooth")), width=80)[::2] == [
        "1 eos-no…lized trl",
        "3 pad-is-eos trl",
        "5 pad-is-unk trl",
    ]
    assert short_names(sides(*REPORT), width=59) == ["1", "2", "3"], "narrow: the text needs the cells"


def test_names_that_would_be_shortened_alike_begin_where_they_differ() -> None:
    a, b = short_names(sides("x" * 30 + "A" + "x" * 30, "x" * 30 + "B" + "x" * 30), width=80)
    assert (a[:4], b[:4]) == ("1 …A", "2 …B")


def test_the_loader_is_told_where_nothing_else_differs() -> None:
    one, other = sides("m", "m")
    loaded = Side(encoded=dataclasses.replace(other.encoded, loader="transformers"), pieces=other.pieces)
    assert short_names([one, loaded], width=100) == ["1 tokenizers", "2 transformers"]


@given(st.lists(st.text(max_size=60), min_size=2, max_size=12), st.integers(20, 120))
def test_any_names_fit_and_differ(models: list[str], width: int) -> None:
    names = short_names(sides(*models), width=width)
    assert len(set(names)) == len(models)
    assert all(cells(name) <= max(width * 3 // 10, 2) for name in names)
