from __future__ import annotations

import dataclasses
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetooth.types import IGNORE_INDEX, Side
from finetooth.view.columns import begins_line, find_regions, make_columns, share_vocabulary
from finetooth.view.groups import group_tokens
from tests.view.samples import TablePieces, Token, make_side, three_sides


def cut_at(text: str, cuts: list[int], *, added: int = 0) -> Side:
    """Return a side that cuts a text at some places, tokens without text before it."""
    places = sorted({0, len(text), *(cut for cut in cuts if 0 < cut < len(text))})
    tokens: list[Token] = [(1, "<s>", 0, 0, False)] * added
    tokens += [(10 + a, text[a:b], a, b, False) for a, b in pairwise(places)]
    return make_side(text, tokens)


@given(
    st.text(min_size=1, max_size=20),
    st.lists(st.tuples(st.lists(st.integers(0, 20)), st.integers(0, 2)), min_size=1, max_size=3),
)
def test_columns_hold_every_group_of_every_side_once(text: str, drawn: list[tuple[list[int], int]]) -> None:
    sides = [cut_at(text, cuts, added=added) for cuts, added in drawn]
    columns = make_columns(sides)
    for place, side in enumerate(sides):
        assert [group for column in columns for group in column.rows[place]] == group_tokens(side)
    assert [(a.end, b.start) for a, b in pairwise(columns) if a.end != b.start] == []
    for column in columns:
        for row in column.rows:
            assert not row or (row[0].start, row[-1].end) == (column.start, column.end)


@given(st.text(min_size=1, max_size=20), st.lists(st.integers(0, 20)))
def test_a_side_does_not_differ_from_itself(text: str, cuts: list[int]) -> None:
    sides = [cut_at(text, cuts, added=1)] * 2
    assert find_regions(make_columns(sides)) == []


def test_regions_say_where_and_in_what_sides_differ() -> None:
    regions = find_regions(make_columns(three_sides().sides))
    assert [(region.start, region.end, set(region.kinds)) for region in regions] == [
        (3, 4, {"ids"}),
        (28, 32, {"cuts", "labels"}),
    ]


def test_labels_alone_can_differ() -> None:
    masked, whole = three_sides().sides[1:]
    regions = find_regions(make_columns([masked, whole]))
    assert [(region.start, region.end, set(region.kinds)) for region in regions] == [(28, 32, {"labels"})]


def test_a_forged_label_differs_from_the_token_itself() -> None:
    whole = three_sides().sides[2]
    labels = [label if label != 30267 else 2 for label in whole.encoded.labels]
    forged = Side(encoded=dataclasses.replace(whole.encoded, labels=labels), pieces=whole.pieces)
    assert [set(region.kinds) for region in find_regions(make_columns([whole, forged]))] == [{"labels"}]


def test_the_bytes_of_a_character_differ_from_one_token_for_it() -> None:
    one = make_side("嬢", [(7, "嬢", 0, 1, True)])
    three = make_side("嬢", [(3, "<0xE5>", 0, 1, True), (4, "<0xAC>", 0, 1, True), (5, "<0xA2>", 0, 1, True)])
    assert [set(region.kinds) for region in find_regions(make_columns([one, three]))] == [{"cuts"}]


def test_ids_are_not_compared_between_vocabularies() -> None:
    one = make_side("ab", [(5, "a", 0, 1, True), (6, "b", 1, 2, True)])
    other = make_side("ab", [(6, "a", 0, 1, True), (5, "b", 1, 2, True)])
    assert not share_vocabulary(one, other)
    assert find_regions(make_columns([one, other])) == []


def vocabulary(size: int, pieces: str, row: list[int]) -> Side:
    """Return a side of some bytes and of pieces that are named by a word, with a row of some of its ids."""
    table = {i: f"<0x{i:02X}>" if i < 256 else f"{pieces}{i}" for i in range(size)}
    side = make_side("a" * len(row), [(token_id, "a", i, i + 1, False) for i, token_id in enumerate(row)])
    return Side(encoded=side.encoded, pieces=TablePieces(pieces, table, frozenset()))


@pytest.mark.parametrize("row", [[200, 201, 202], [300, 301], [200, 300]])
def test_vocabularies_are_told_apart_by_themselves_and_not_by_the_row(row: list[int]) -> None:
    assert not share_vocabulary(vocabulary(512, "x", row), vocabulary(32000, "y", row))
    assert not share_vocabulary(vocabulary(32000, "x", row), vocabulary(32000, "y", row))
    assert share_vocabulary(vocabulary(32000, "x", row), vocabulary(150000, "x", row)), "extended"


def test_one_name_that_differs_leaves_a_vocabulary_shared() -> None:
    split, masked, _ = three_sides().sides
    assert split.pieces.piece(1) != masked.pieces.piece(1)
    assert share_vocabulary(split, masked)


def test_a_masked_added_token_is_no_difference_of_labels() -> None:
    bare = make_side("hi", [(5, "hi", 0, 2, True)])
    begun = make_side("hi", [(1, "<s>", 0, 0, False), (5, "hi", 0, 2, True)])
    assert [set(region.kinds) for region in find_regions(make_columns([bare, begun]))] == [{"cuts"}]


def test_empty_lines_stay_with_the_line_before() -> None:
    text = "a\n\nb\n"
    side = make_side(text, [*((i, c, i, i + 1, False) for i, c in enumerate(text)), (2, "</s>", 5, 5, True)])
    columns = make_columns([side])
    assert [column.start for column in columns if begins_line(text, column)] == [3]
    assert side.encoded.labels[0] == IGNORE_INDEX
