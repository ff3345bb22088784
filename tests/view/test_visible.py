from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetooth.view.visible import cells, char_cells, harmless, visible, visible_char

ANY_CHAR = st.characters(exclude_categories=())


@pytest.mark.parametrize(
    ("char", "shown"),
    [
        (" ", "·"),
        ("\n", "↵"),
        ("\t", "→"),
        ("\u3000", "□"),
        ("\x1b", "␛"),
        ("\r", "␍"),
        ("\x00", "␀"),
        ("\x7f", "␡"),
        ("\x9b", "⟨U+009B⟩"),
        ("\u202e", "⟨U+202E⟩"),
        ("\u200d", "⟨U+200D⟩"),
        ("\ufe0f", "⟨U+FE0F⟩"),
        ("\ud800", "⟨U+D800⟩"),
        ("\ue000", "⟨U+E000⟩"),
        ("\u00a0", "⟨U+00A0⟩"),
        ("嬢", "嬢"),
        ("👍", "👍"),
        ("<", "<"),
    ],
)
def test_visible_char(char: str, shown: str) -> None:
    assert visible_char(char) == shown


def test_what_terminals_fuse_is_spelt_out_on_a_grid_alone() -> None:
    assert visible("🇯🇵👍🏽") == "🇯🇵👍🏽"
    assert visible("🇯🇵", grid=True) == "⟨U+1F1EF⟩⟨U+1F1F5⟩"
    assert visible("👍🏽", grid=True) == "👍⟨U+1F3FD⟩"


@given(ANY_CHAR)
def test_nothing_that_acts_is_left(char: str) -> None:
    for shown in (visible_char(char), harmless(char)):
        assert all(unicodedata.category(each) not in {"Cc", "Cf", "Cs", "Zl", "Zp"} for each in shown)
        shown.encode("utf-8")


def test_harmless_leaves_spaces() -> None:
    assert harmless("a b\nc") == "a b↵c"


@given(st.text(ANY_CHAR))
def test_making_visible_twice_changes_nothing(text: str) -> None:
    assert harmless(harmless(text)) == harmless(text)


@pytest.mark.parametrize(("char", "width"), [("a", 1), ("嬢", 2), ("ｱ", 1), ("Ａ", 2), ("\u0301", 0), ("한", 2)])
def test_char_cells(char: str, width: int) -> None:
    assert char_cells(char) == width


def test_cells_agree_with_an_independent_table() -> None:
    rich_cells = pytest.importorskip("rich.cells")
    for text in (
        "お嬢様のように、30 文字程度で。",
        "plain ASCII",
        "ｶﾞ全角ＡＢＣ",
        "한국어 中文",
        "👩👧🍎",
        "e\u0301te\u0301",
    ):
        assert cells(text) == rich_cells.cell_len(text)
