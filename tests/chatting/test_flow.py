from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetooth.chatting.flow import Flow, folded, lines_of, readable
from finetooth.view.visible import cells


def flowed(text: str, width: int | None, step: int = 1) -> str:
    flow = Flow(width)
    out = [stretch for start in range(0, len(text), step) for stretch in flow.push(text[start : start + step])]
    return "".join(text for text, _ in [*out, *flow.finish()])


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("one two three", 8, "one two\nthree"),
        ("日本語です。はい", 10, "日本語で\nす。はい"),
        ("列は「名前」です", 6, "列は\n「名\n前」で\nす"),
        ("a\n  b", 10, "a\n  b"),
        ("abcdefghij", 4, "abcd\nefgh\nij"),
        ("設定は generation_config.json です", 24, "設定は\ngeneration_config.json\nです"),
        ("長い　字下げ", 20, "長い　字下げ"),
    ],
)
def test_lines_are_folded_as_they_are_read(text: str, width: int, expected: str) -> None:
    assert flowed(text, width) == expected


@given(st.text(st.sampled_from("ab 日。、「é\u0301\n"), max_size=60), st.integers(2, 30), st.integers(1, 7))
def test_nothing_is_lost_and_every_line_fits(text: str, width: int, step: int) -> None:
    out = flowed(text, width, step)
    assert "".join(out.split()) == "".join(readable(text).split())
    assert all(cells(line) <= width for line in out.split("\n"))
    assert out == flowed(text, width, 60), "how the text is cut must not matter"
    assert flowed(text, None, step) == readable(text)


@given(st.text(max_size=40))
def test_nothing_moves_the_cursor(text: str) -> None:
    assert not any(char < " " or "\x7f" <= char < "\xa0" for char in flowed(text, None).replace("\n", ""))


def test_styles_go_with_their_text() -> None:
    lines = folded([("ab ", "x"), ("cd", "y")], width=6, first_indent=1, indent=2)
    assert lines == [[(" ", ""), ("ab", "x")], [("  ", ""), ("cd", "y")]]
    assert lines_of([("a\nb", "x")]) == [[("a", "x")], [("b", "x")]]
