from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetooth.cli.help import columns, wrap
from finetooth.cli.main import COMMANDS
from tests.cli.conftest import Finetooth


def test_columns() -> None:
    assert columns("abc") == 3
    assert columns("日本語") == 6
    assert columns("ｶﾅ") == 2


def test_words_are_not_cut() -> None:
    assert wrap("one `two three` four", 9) == ["one `two", "three`", "four"]
    assert wrap("a verylongword", 4) == ["a", "verylongword"]


def test_japanese_is_cut_anywhere_but_before_a_full_stop() -> None:
    assert wrap("日本語です。はい", 10) == ["日本語で", "す。はい"]
    assert wrap("設定は --set です", 10) == ["設定は", "--set です"]


def test_no_line_ends_in_an_opening_bracket() -> None:
    assert wrap("日本語（`abc`）です", 8) == ["日本語", "（`abc`）", "です"]
    assert wrap("列は「名前」です", 6) == ["列は", "「名", "前」で", "す"]


@given(st.text(st.sampled_from("ab 日。、「"), max_size=60), st.integers(4, 30))
def test_wrapping_loses_nothing_and_fits(text: str, width: int) -> None:
    lines = wrap(text, width)
    assert "".join("".join(lines).split()) == "".join(text.split())
    for line, following in pairwise(lines):
        # Only a piece that cannot be cut is wider: a word, or a character with the stops that follow it.
        assert columns(line) <= width or " " not in re.sub(" +(?=[。、])|(?<=「) +", "", line)
        assert not following.startswith(("。", "、"))
        assert not line.endswith("「")


@pytest.mark.parametrize("name", list(COMMANDS))
@pytest.mark.parametrize("lang", ["en", "ja"])
def test_every_help_page_fits_eighty_columns(finetooth: Finetooth, name: str, lang: str) -> None:
    result = finetooth(name, "--help", "--lang", lang)
    assert result.code == 0
    # Examples are to be pasted, and stand as they are.
    lines = [line for line in result.out.splitlines() if not line.lstrip("$ ").startswith("finetooth ")]
    assert [line for line in lines if columns(line) > 80] == []
