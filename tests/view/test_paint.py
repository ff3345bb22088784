from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from finetooth.view.paint import JOINT, fold, paint, shorten_middle
from finetooth.view.visible import cells, harmless
from tests.view.samples import plain


def folded(text: str, *, width: int, indent: int = 0) -> list[str]:
    return [paint(line, color=False) for line in fold([(text, "")], width=width, indent=indent)]


def test_prose_folds_at_spaces() -> None:
    assert folded("first 13 and last 829", width=12, indent=2) == ["first 13 and", "  last 829"]


def test_what_is_joined_stays_together() -> None:
    assert folded(f"last 829{JOINT}'</', 29879{JOINT}'s'", width=20, indent=2) == ["last 829 '</',", "  29879 's'"]


def test_long_words_break() -> None:
    assert folded("/models/a-very-long-name", width=10, indent=2) == ["/models/a-", "  very-lon", "  g-name"]


def test_japanese_folds_anywhere() -> None:
    assert folded("自身のトークン以外のラベルが一個", width=12) == ["自身のトーク", "ン以外のラベ", "ルが一個"]


@given(st.text(), st.integers(20, 60), st.integers(0, 6))
def test_no_line_is_too_long_and_no_character_is_lost(text: str, width: int, indent: int) -> None:
    text = harmless(text)
    lines = folded(text, width=width, indent=indent)
    assert all(cells(line) <= width for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_colour_adds_nothing_but_colour() -> None:
    line = [("masked ", "masked"), ("と", "supervised"), ("</s>", "special-supervised"), ("  ", "masked")]
    painted = paint(line, color=True)
    assert "\x1b[4;97;44mと\x1b[0m" in painted
    assert plain(painted) == paint(line, color=False) == "masked と</s>"


def test_shortening_keeps_both_ends() -> None:
    assert shorten_middle("eos-normalized", width=14) == "eos-normalized"
    assert shorten_middle("eos-normalized", width=9) == "eos-…ized"
    assert shorten_middle("お嬢様です", width=10) == "お嬢様です"
    assert shorten_middle("お嬢様です", width=9) == "お嬢…です"
    assert shorten_middle("abc", width=1) == "…"
    assert shorten_middle("abc", width=0) == ""


def test_no_stop_begins_a_line_and_no_bracket_ends_one() -> None:
    assert folded("あいうえお。かきく「けこ」", width=10) == ["あいうえ", "お。かきく", "「けこ」"]
    assert folded("。" * 8, width=10) == ["。" * 5, "。" * 3]
