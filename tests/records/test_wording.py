from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetooth.records.wording import EXCERPT_CHARS, closest, describe, excerpt, listed


@given(st.text(max_size=500), st.integers(0, 500), st.integers(10, EXCERPT_CHARS))
def test_an_excerpt_is_short_and_printable(text: str, at: int, width: int) -> None:
    shown = excerpt(text, at=min(at, len(text)), width=width)
    assert len(shown) <= width
    assert shown.isprintable()


@given(st.text("abc", min_size=81, max_size=1000), st.data())
def test_an_excerpt_holds_the_position(text: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(text) - 1))
    marked = text[:at] + "X" + text[at + 1 :]
    assert "X" in excerpt(marked, at=at, width=40)


def test_what_is_not_printable_is_escaped() -> None:
    assert excerpt("a\tb\x00\ud83d\ufeffお") == r"a\tb\x00\ud83d\ufeffお"


@pytest.mark.parametrize(
    ("value", "described"),
    [
        (None, "null"),
        (False, "the boolean `false`"),
        (0.5, "the number `0.5`"),
        ("a\nb", r"the string `a\nb`"),
        ("x" * 100, f"the string `{'x' * 39}…`"),
        ((1,), "a list"),
        ({}, "an object"),
        (b"x", "a value of the type `bytes`"),
        (float("nan"), "the number `nan`"),
        (10**400, "the number `"),
    ],
)
def test_values_are_described(value: object, described: str) -> None:
    assert describe(value).startswith(described)


def test_the_closest_name() -> None:
    assert closest("Mesages", ["messages", "text"]) == "messages"
    assert closest("zzz", ["messages", "text"]) is None
    assert closest("x", []) is None


def test_a_long_list_is_cut() -> None:
    assert listed(["a", "b", "c"], most=2) == "`a`, `b` and 1 more"
