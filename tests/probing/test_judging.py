from __future__ import annotations

import re

import pytest

from finetooth.demo import tokenizer_path
from finetooth.probing.judging import first_oddity, judge, repetition, shown, terminators_of
from finetooth.probing.prompts import Prompt
from finetooth.probing.report import MAX_SAMPLES, ProbeReport, longest_useful, wilson
from finetooth.tokenizer import Tokenizer, load_tokenizer

STOPS = {2}


@pytest.fixture(scope="module")
def split() -> Tokenizer:
    """Return the tokenizer under which `</s>` after text is ordinary pieces."""
    return load_tokenizer(str(tokenizer_path("split")))


@pytest.fixture(scope="module")
def whole() -> Tokenizer:
    return load_tokenizer(str(tokenizer_path("supervised")))


def prompt(question: str = "お元気ですか。") -> Prompt:
    return Prompt(record=0, where="x:1", input_ids=[1], question=question)


def ids(tokenizer: Tokenizer, text: str) -> list[int]:
    return list(tokenizer.encode([text], add_special_tokens=False)[0].ids)


def test_an_answer_that_stops(whole: Tokenizer) -> None:
    answer = judge(prompt(), [*ids(whole, " ええ。"), 2], whole, STOPS)
    assert (answer.stopped, answer.runaway, answer.leaked, answer.passed_over) == (True, False, None, None)
    assert (answer.text.strip(), answer.shown.strip()) == ("ええ。", "ええ。⟨</s>⟩")
    assert answer.outcome == "stops"


def test_outcomes_are_those_of_a_prediction(split: Tokenizer, whole: Tokenizer) -> None:
    """A terminator that a reader sees is worse than one that is missing, whether or not something stopped it later."""
    leaked = ids(split, " ええ。</s>")
    assert judge(prompt(), leaked, split, STOPS).outcome == "shows-literal"
    assert judge(prompt(), [*leaked, 2], split, STOPS).outcome == "shows-literal"
    assert judge(prompt(), ids(whole, " ええ。"), whole, STOPS).outcome == "runs-on"
    report = ProbeReport(model="m", stop_ids=(2,), max_new_tokens=8)
    for answer in (leaked, [2], [2], ids(split, " ええ。")):
        report.add(judge(prompt(), answer, split, STOPS))
    assert report.to_json()["outcomes"] == {"stops": 2, "shows-literal": 1, "runs-on": 1}


def test_a_literal_terminator_is_told_from_the_token(split: Tokenizer) -> None:
    answer = judge(prompt(), ids(split, " ええ。</s>"), split, STOPS)
    assert answer.leaked == "</s>"
    assert not answer.stopped
    assert answer.shown.strip() == "ええ。</s>"


def test_a_terminator_that_nothing_stops_at(whole: Tokenizer) -> None:
    answer = judge(prompt(), [*ids(whole, " ええ。"), 2, *ids(whole, "また。")], whole, {7})
    assert (answer.stopped, answer.leaked, answer.passed_over) == (False, None, "</s>")
    assert "⟨</s>⟩" in answer.shown
    assert "</s>" not in answer.text


def test_echo_and_style(whole: Tokenizer) -> None:
    style = [re.compile("ですわ。$"), re.compile("かしら")]
    answer = judge(prompt(), ids(whole, " お元気ですか。まあ、素敵ですわ。"), whole, STOPS, style=style)
    assert answer.echoed
    assert answer.style == (True, False)
    assert not judge(prompt("はい"), ids(whole, " はい、ええ。"), whole, STOPS).echoed


@pytest.mark.parametrize(
    ("text", "oddity"),
    [
        ("", "nothing"),
        (" \n ", "nothing"),
        (" \nええ。", "newline"),
        ("[/INST] ええ。", "role-mark"),
        (" assistant: yes", "role-mark"),
        ("<|im_start|>assistant", "role-mark"),
        (" ええ。", None),
        ("Users say so.", None),
    ],
)
def test_odd_beginnings(text: str, oddity: str | None) -> None:
    assert first_oddity(text) == oddity


def test_repetition() -> None:
    assert repetition([1, 2, 3, 4] * 8) > 0.8
    assert repetition(list(range(40))) == 0.0
    assert repetition([5] * 6) == 0.0  # too short to tell


def test_terminators_are_those_of_the_tokenizer(whole: Tokenizer) -> None:
    assert "</s>" in terminators_of(whole)
    assert "<|im_end|>" not in terminators_of(whole)
    assert shown([], whole) == ""


@pytest.mark.parametrize(
    ("count", "total", "expected"),
    # Newcombe 1998, Statistics in Medicine 17, 857-872, table I, method 3.
    [(81, 263, (0.2553, 0.3662)), (15, 148, (0.0624, 0.1605)), (0, 20, (0.0, 0.1611)), (1, 29, (0.0061, 0.1718))],
)
def test_intervals_are_wilsons(count: int, total: int, expected: tuple[float, float]) -> None:
    assert wilson(count, total) == pytest.approx(expected, abs=5e-5)


def test_of_nothing_nothing_is_known() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    assert longest_useful([]) == 128
    assert (longest_useful([3]), longest_useful([100]), longest_useful([9999])) == (32, 200, 512)


def test_samples_are_few_and_hold_the_first_of_each_fault(whole: Tokenizer) -> None:
    report = ProbeReport(model="m", stop_ids=(2,), max_new_tokens=8, asked_chars=4)
    for number in range(200):
        text = ids(whole, " お元気ですか。") if number == 150 else ids(whole, " ええ。")
        report.add(judge(prompt(), [*text, 2], whole, STOPS))
    assert report.num_prompts == 200
    assert len(report.samples) == MAX_SAMPLES + 1
    assert report.samples[-1].echoed
    found = report.to_json()
    assert (found["stop_rate"], found["leak_rate"], found["runaway_rate"], found["echo_rate"]) == (1.0, 0.0, 0.0, 0.005)
    first = ["num_prompts", "stop_rate", "leak_rate", "runaway_rate", "echo_rate", "mean_chars"]
    assert list(found)[: len(first)] == first
    assert found["in_length_rate"] == 0.995
    assert len(found["samples"]) == MAX_SAMPLES + 1
