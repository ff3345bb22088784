from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from finetooth.messages import set_language
from finetooth.types import IGNORE_INDEX, Encoded, InspectedRecord, Record, Side
from finetooth.view.terminal import render_terminal
from finetooth.view.visible import cells
from tests.shared_data import SHARED, needs_shared
from tests.view.samples import (
    TablePieces,
    Token,
    check_golden,
    hostile,
    make_record,
    make_side,
    one_side,
    plain,
    three_sides,
)

WIDTHS = (20, 21, 24, 33, 40, 59, 80, 121, 200)


def draw(inspected: InspectedRecord, *, width: int = 80, **options: Any) -> str:
    return render_terminal(inspected, width=width, color=False, **options)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("plain", {}),
        ("ids", {"show_ids": True}),
        ("diff", {"diff": True}),
    ],
)
def test_golden_three_sides(name: str, options: dict[str, bool]) -> None:
    check_golden(f"three_sides_{name}.txt", draw(three_sides(), **options))


def test_golden_one_side() -> None:
    check_golden("one_side.txt", draw(one_side()))


def test_golden_narrow() -> None:
    check_golden("three_sides_narrow.txt", draw(three_sides(), width=20))


def test_golden_color() -> None:
    check_golden("three_sides_color.ansi", render_terminal(three_sides(), width=80, color=True))


def test_golden_japanese() -> None:
    set_language("ja")
    check_golden("three_sides_ja.txt", draw(three_sides(), diff=True))


def test_golden_hostile() -> None:
    check_golden("hostile.txt", draw(hostile(2)))


EVERY: list[dict[str, Any]] = [{}, {"show_ids": True}, {"diff": True}, {"diff": True, "show_ids": True}, {"kept": None}]


@pytest.mark.parametrize("language", ["en", "ja"])
@pytest.mark.parametrize("inspected", [three_sides(), one_side(), hostile(1), hostile(3)], ids=["3", "1", "h1", "h3"])
def test_no_line_is_wider_than_the_terminal(inspected: InspectedRecord, language: str) -> None:
    set_language(language)
    for width in WIDTHS:
        for options in EVERY:
            for line in draw(inspected, width=width, **options).split("\n"):
                assert cells(line) <= width, (width, options, line)


@pytest.mark.parametrize("options", EVERY)
@pytest.mark.parametrize("inspected", [three_sides(), one_side(), hostile(2)], ids=["3", "1", "h2"])
def test_colour_carries_no_information_of_its_own(inspected: InspectedRecord, options: dict[str, bool]) -> None:
    for width in WIDTHS:
        painted = render_terminal(inspected, width=width, color=True, **options)
        assert painted != plain(painted)
        assert plain(painted) == draw(inspected, width=width, **options)


@pytest.mark.parametrize("color", [False, True])
def test_data_cannot_act_on_the_terminal(color: bool) -> None:
    for options in EVERY:
        text = plain(render_terminal(hostile(2), width=70, color=color, **options))
        text.encode("utf-8")
        acting = {char for char in text if unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"}}
        assert acting <= {"\n"}


def random_side(text: str, cuts: Sequence[int], supervised: Sequence[bool], model: str) -> Side:
    places = sorted({0, len(text), *(cut for cut in cuts if 0 < cut < len(text))})
    tokens: list[Token] = [(1, "<s>", 0, 0, False)]
    for number, (start, end) in enumerate(pairwise(places)):
        on = supervised[number % len(supervised)]
        # Two tokens for every third range, as bytes of a character are.
        tokens += [(10 + start, "x", start, end, on)] * (1 + (number % 3 == 0))
    return make_side(text, tokens, model=model)


SIDES = st.lists(
    st.tuples(st.lists(st.integers(1, 60)), st.lists(st.booleans(), min_size=1, max_size=5)), min_size=1, max_size=3
)


@settings(max_examples=60)
@given(st.text(st.characters(exclude_categories=()), max_size=60), SIDES, st.integers(20, 90), st.booleans())
def test_any_text_fits_and_reads_the_same_without_colour(
    text: str, drawn: list[tuple[list[int], list[bool]]], width: int, show_ids: bool
) -> None:
    sides = [random_side(text, cuts, on, f"model-{number}") for number, (cuts, on) in enumerate(drawn)]
    inspected = make_record(*sides)
    for diff in (False, True):
        without = draw(inspected, width=width, show_ids=show_ids, diff=diff)
        assert all(cells(line) <= width for line in without.split("\n"))
        assert plain(render_terminal(inspected, width=width, color=True, show_ids=show_ids, diff=diff)) == without


def test_rulers_stand_under_their_characters() -> None:
    side = make_side("嬢aé様", [(5, "嬢", 0, 1, True), (6, "aé", 1, 3, False), (7, "様", 3, 4, True)])
    lines = draw(make_record(side), legend=False).split("\n")
    assert lines[-2:] == ["0 嬢aé様", "  |_' |_"]


def test_a_character_makes_room_for_its_number_of_tokens() -> None:
    tokens: list[Token] = [(5, "x", 0, 1, True), (6, "x", 0, 1, True), (7, "b", 1, 2, False)]
    assert draw(make_record(make_side("éb", tokens)), legend=False).split("\n")[-2:] == ["0 é b", "  |2'"]


def test_a_character_supervised_in_part_stands_out() -> None:
    tokens: list[Token] = [(3, "<0xE5>", 0, 1, False), (4, "<0xAC>", 0, 1, True), (5, "<0xA2>", 0, 1, True)]
    assert draw(make_record(make_side("嬢", tokens)), legend=False).split("\n")[-1] == "  !3"


def test_special_added_and_missing_tokens_are_told_apart() -> None:
    tokens: list[Token] = [(1, "<s>", 0, 0, False), (5, "ab", 0, 2, False), (2, "</s>", 3, 7, True)]
    lines = draw(make_record(make_side("ab\x00</s>", tokens)), legend=False).split("\n")
    assert lines[-2:] == ["0       ab␀</s>", "  '*<s> ' x|*__"]


def test_ids_stand_under_their_tokens() -> None:
    lines = draw(one_side(), width=60, show_ids=True, legend=False).split("\n")
    text, ruler, ids = lines[-3:]
    for shown, token_id in (("好", "31076"), ("わ", "31068"), ("</", "829"), (">", "29958")):
        column = cells(text[: text.index(shown)])
        assert ids[column:].startswith(token_id)
        assert ruler[column] == "|"


def test_sides_that_agree_share_a_ruler() -> None:
    masked = three_sides().sides[1]
    drawn = draw(make_record(masked, masked), legend=False)
    assert "no difference" in drawn
    assert "^" not in drawn
    assert sum(line.startswith("all ") for line in drawn.split("\n")) == 2


def test_diff_of_sides_that_agree_says_so() -> None:
    masked = three_sides().sides[1]
    drawn = draw(make_record(masked, masked), diff=True, legend=False)
    assert drawn.endswith("no difference")


def test_diff_of_one_side_says_so() -> None:
    assert draw(one_side(), diff=True, legend=False).endswith("nothing to compare: one side")


def test_diff_names_ids_and_what_becomes_of_them() -> None:
    drawn = draw(three_sides(), diff=True, legend=False, width=100)
    assert "829 '</', 29879 's', 29958 '>' supervised" in drawn
    assert "2 '</s>' masked" in drawn
    assert "2 '</s>' supervised" in drawn


def test_texts_that_differ_are_drawn_one_by_one() -> None:
    one = make_side("[INST] hi", [(5, "[INST]", 0, 6, False), (6, "▁hi", 6, 9, True)], model="llama")
    other = make_side("<|user|> hi", [(7, "<|user|>", 0, 8, False), (6, "▁hi", 8, 11, True)], model="phi")
    for diff in (False, True):
        drawn = draw(make_record(one, other), diff=diff, legend=False)
        assert "the texts differ from character 0 on" in drawn
        assert "1 [INST]·hi\n2 <|user|>·hi" in drawn


def long_side(num_chars: int, *, supervised: bool, model: str = "model") -> Side:
    tokens: list[Token] = [(5, "a", i, i + 1, supervised) for i in range(num_chars)]
    return make_side("a" * num_chars + "!", [*tokens, (6, "!", num_chars, num_chars + 1, True)], model=model)


def test_the_middle_of_long_masked_text_is_left_out() -> None:
    inspected = make_record(long_side(1234, supervised=False))
    assert "… 1,074 characters, 1,074 tokens masked …" in draw(inspected)
    assert draw(inspected, legend=False).count("a") < 300
    assert draw(inspected, kept=None, legend=False).count("a") > 1234


def test_supervised_and_short_text_is_never_left_out() -> None:
    for inspected in (make_record(long_side(1234, supervised=True)), make_record(long_side(380, supervised=False))):
        assert "…" not in draw(inspected)


def test_text_is_left_out_only_where_no_side_is_supervised() -> None:
    sides = long_side(1234, supervised=False, model="a"), long_side(1234, supervised=True, model="b")
    assert "…" not in draw(make_record(*sides), legend=False)


def test_dropped_rows_and_notes_are_told() -> None:
    drawn = draw(make_record(make_side("a", [(5, "a", 0, 1, False)], dropped="longer than 1024", notes=["no marker"])))
    assert "dropped: longer than 1024" in drawn
    assert "note: no marker" in drawn


def test_labels_that_are_not_their_token_are_told() -> None:
    side = make_side("ab", [(5, "a", 0, 1, True), (6, "b", 1, 2, True)], labels=[6, 5])
    assert "2 labels are not the id of their own token" in draw(make_record(side))


def test_a_text_without_tokens() -> None:
    assert draw(make_record(make_side("", [])), legend=False).endswith("no tokens")
    assert "x" in draw(make_record(make_side("ab", [])), legend=False).split("\n")[-1]


def test_no_sides() -> None:
    assert draw(make_record(), legend=False) == "record 0 · rows.jsonl:1 · text"


def test_sides_are_named_by_what_tells_them_apart() -> None:
    side = make_side("a", [(5, "a", 0, 1, True)], model="m", labels_way="finetooth")
    other = make_side("a", [(5, "a", 0, 1, False)], model="m", labels_way="trl")
    drawn = draw(make_record(side, other))
    assert "\n1 finetooth |\n2 trl       '\n" in drawn


def test_the_legend_can_be_left_out() -> None:
    assert draw(one_side()).startswith(draw(one_side(), legend=False))
    assert "masked token" not in draw(one_side(), legend=False)


def report_side(name: str) -> Side:
    """Return the report's example with the labels that it prints for one tokenizer."""
    text = json.loads((SHARED / "data/report-example/text.jsonl").read_text(encoding="utf-8"))["text"]
    printed = json.loads((SHARED / "data/report-example/expected.json").read_text(encoding="utf-8"))
    tokenizer = Tokenizer.from_file(str(SHARED / "data/tokenizers" / name / "tokenizer.json"))
    encoding = tokenizer.encode(text)
    supervised: list[int] = printed["supervised_labels"][name]
    first = max(i for i in range(len(encoding.ids)) if encoding.ids[i : i + len(supervised)] == supervised)
    labels = [IGNORE_INDEX] * len(encoding.ids)
    labels[first : first + len(supervised)] = supervised
    encoded = Encoded(
        record_index=0,
        where="text.jsonl:1",
        model=name,
        loader="tokenizers",
        labels_way="completion-collator",
        text=text,
        input_ids=encoding.ids,
        labels=labels,
        offsets=encoding.offsets,
        spans=(),
    )
    pieces = {index: piece for piece, index in tokenizer.get_vocab(with_added_tokens=True).items()}
    return Side(encoded=encoded, pieces=TablePieces(name, pieces, frozenset((0, 1, 2))))


@needs_shared
def test_the_reports_example_shows_its_three_endings() -> None:
    names = ("llama2-eos-normalized", "llama2-pad-is-eos", "llama2-pad-is-unk")
    sides = [report_side(name) for name in names]
    text = sides[0].encoded.text
    record = Record(index=0, where="text.jsonl:1", shape="text", row={"text": text}, text=text)
    lines = draw(InspectedRecord(record=record, sides=sides), width=100, legend=False).split("\n")
    assert "differences: 2, at characters 3:4 (ids) · 239:243 (cuts, labels)" in lines
    counts = [line.split(" · ")[0].strip() for line in lines if " supervised (" in line]
    assert counts == [
        "285 tokens, 25 supervised (8.8%)",
        "283 tokens, 22 supervised (7.8%)",
        "283 tokens, 23 supervised (8.1%)",
    ]
    ends = [line.split("last ")[1] for line in lines if " · last " in line]
    assert ends[0] == "829 '</', 29879 's', 29958 '>'"
    assert ends[2].endswith("2 '</s>'")
    assert [line[-6:] for line in lines[-4:]] == ["|_|_||", "|_|_'*", "|_|*__", "  ^^^^"]
