"""What ends a turn."""

from __future__ import annotations

import pytest

from finetooth.template import CONTROL_LITERAL, Stops


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("answer<|im_end|>\n", 16),
        ("answer\n<|im_end|>", 17),
        ("<|im_end|><|im_end|>", 10),
        ("answer", None),
        ("", None),
        ("<|im_en", None),
    ],
)
def test_the_first_stop_literal(text: str, end: int | None) -> None:
    assert Stops(literals=("<|im_end|>",)).find(text, 0, len(text)) == end


def test_the_search_keeps_within_its_range() -> None:
    stops = Stops(literals=("</s>",))
    assert stops.find("</s>abc</s>", 1, 11) == 11
    assert stops.find("</s>abc</s>", 1, 10) is None
    assert stops.find("</s>abc</s>", 0, 4) == 4


def test_the_longest_literal_wins() -> None:
    assert Stops(literals=("<|end|>", "<|end|>\n")).find("a<|end|>\nb", 0, 10) == 9


def test_literals_are_texts_and_not_patterns() -> None:
    assert Stops(literals=("[.*]", "")).find("a[x][.*]", 0, 8) == 8


def test_a_literal_of_the_stop_set_wins_over_an_earlier_special_token() -> None:
    stops = Stops(literals=("</s>",), specials=("<|end|>",))
    assert stops.find("a<|end|>\n</s>", 0, 13) == 13
    assert stops.find("a<|end|>\n", 0, 9) == 8


@pytest.mark.parametrize("text", ["<|eot_id|>", "</s>", "<end_of_turn>", "<eos>", "<turn|>"])
def test_a_control_literal_ends_a_turn_where_nothing_else_does(text: str) -> None:
    assert Stops(literals=()).find(f"a{text}\n", 0, len(text) + 2) == len(text) + 1


@pytest.mark.parametrize("text", ["<b>", "< |x|>", "<|a b|>", "<||>", "<s>", f"<|{'x' * 41}|>"])
def test_other_text_is_no_control_literal(text: str) -> None:
    assert CONTROL_LITERAL.search(text) is None
    assert Stops(literals=()).find(text, 0, len(text)) is None


def test_what_opens_the_next_turn_does_not_end_this_one() -> None:
    stops = Stops(literals=("</s>",), specials=("<|user|>",))
    assert stops.find("a\n<|user|>\nb", 0, 12, opener="<|user|>") is None
    assert stops.find("a\n<|end|><|user|>\nb", 0, 19, opener="<|user|>") == 9


def test_the_opener_is_the_terminator_where_inference_stops_at_it() -> None:
    assert Stops(literals=("<|user|>",)).find("a<|user|>\nb", 0, 11, opener="<|user|>") == 9


def test_no_stops_at_all() -> None:
    assert Stops(literals=("",)).find("abc", 0, 3) is None


def test_last_token() -> None:
    stops = Stops(literals=("</s>",), specials=("[INST]",))
    assert stops.last_token("<s>x</s><|im_start|>user\n[INST] ") == "[INST]"
    assert stops.last_token("[INST]</s><|im_start|>user\n") == "<|im_start|>"
    assert stops.last_token("user: ") is None


def test_is_bare() -> None:
    stops = Stops(literals=("</s>",), specials=("[/INST]",))
    assert stops.is_bare("") and stops.is_bare(" \n") and stops.is_bare("<|end|>\n[/INST] </s>")
    assert not stops.is_bare("<|end|>x")
    assert not Stops(literals=()).is_bare("[/INST]")


def test_stops_are_equal_where_their_texts_are() -> None:
    assert Stops(literals=("a",)) == Stops(literals=("a",)) != Stops(literals=("b",))
    assert repr(Stops(literals=("a",))) == "Stops(literals=('a',), specials=())"
