from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, pre_tokenizers, processors

from finetooth.types import Span
from finetooth.view.groups import Group, group_tokens
from tests import small_tokenizers
from tests.view.samples import HOSTILE, Token, make_side


def shown(groups: Sequence[Group]) -> list[str]:
    return [group.shown for group in groups]


def check_partition(groups: Sequence[Group], num_chars: int, num_tokens: int) -> None:
    """Check that the groups follow each other over all of the text and all of the tokens."""
    char = token = 0
    for group in groups:
        assert (group.start, group.first_token) == (char, token)
        assert group.end >= group.start
        assert group.end_token >= group.first_token
        assert group.has_text or group.num_tokens
        char, token = group.end, group.end_token
    assert (char, token) == (num_chars, num_tokens)


@given(
    st.text(st.characters(exclude_categories=())),
    st.lists(st.tuples(st.integers(-2, 12), st.integers(-2, 12), st.integers(0, 3), st.booleans())),
)
def test_groups_partition_whatever_the_offsets(text: str, drawn: list[tuple[int, int, int, bool]]) -> None:
    tokens: list[Token] = [(token_id, " x", start, end, on) for start, end, token_id, on in drawn]
    side = make_side(text, tokens)
    check_partition(group_tokens(side), len(text), len(tokens))


@pytest.mark.parametrize("train", [small_tokenizers.byte_bpe, small_tokenizers.llama_bpe, small_tokenizers.unigram])
@given(text=st.text(st.sampled_from("ab 猫。\n\tＡ①é🍎</s>")) | st.text())
def test_groups_partition_what_tokenizers_cut(train: Callable[[], Tokenizer], text: str) -> None:
    tokenizer = train()
    encoding = tokenizer.encode(text)
    tokens: list[Token] = [
        (token_id, piece, *offset, False)
        for token_id, piece, offset in zip(encoding.ids, encoding.tokens, encoding.offsets, strict=True)
    ]
    groups = group_tokens(make_side(text, tokens))
    check_partition(groups, len(text), len(tokens))
    for group in groups:
        inside = encoding.offsets[group.first_token : group.end_token]
        assert all(group.start <= start and end <= group.end for start, end in inside if start < end)


def test_bytes_of_a_character_are_one_group() -> None:
    side = make_side(
        "a嬢", [(5, "a", 0, 1, True), *((232 + i, f"<0x{b:02X}>", 1, 2, True) for i, b in enumerate("嬢".encode()))]
    )
    groups = group_tokens(side)
    assert shown(groups) == ["a", "嬢"]
    assert [group.num_tokens for group in groups] == [1, 3]
    assert groups[1].supervised == "all"


def test_a_character_supervised_in_part_is_told() -> None:
    groups = group_tokens(
        make_side("嬢", [(3, "<0xE5>", 0, 1, False), (4, "<0xAC>", 0, 1, True), (5, "<0xA2>", 0, 1, True)])
    )
    assert [group.supervised for group in groups] == ["some"]


def test_ranges_that_overlap_join() -> None:
    """A byte-level token may hold the end of one character and the beginning of the next."""
    groups = group_tokens(make_side("世界x", [(3, "?", 0, 2, False), (4, "?", 1, 2, False), (5, "x", 2, 3, False)]))
    assert [(group.start, group.end, group.num_tokens) for group in groups] == [(0, 2, 2), (2, 3, 1)]


def test_a_space_mark_on_the_first_character_joins_it() -> None:
    groups = group_tokens(make_side("hi", [(3, "▁", 0, 1, False), (4, "h", 0, 1, False), (5, "i", 1, 2, False)]))
    assert [(group.shown, group.num_tokens) for group in groups] == [("h", 2), ("i", 1)]


def test_added_tokens_show_their_piece() -> None:
    tokens: list[Token] = [(1, "<s>", 0, 0, False), (5, "hi", 0, 2, True), (2, "</s>", 2, 2, True)]
    groups = group_tokens(make_side("hi", tokens))
    assert shown(groups) == ["<s>", "hi", "</s>"]
    assert [group.special for group in groups] == [True, False, True]
    assert [group.has_text for group in groups] == [False, True, False]


def test_an_appended_token_with_the_range_of_a_prepended_one_stays_at_the_end() -> None:
    """The tokenizers library gives (0, 0) to every token of a post-processor, an EOS too."""
    groups = group_tokens(make_side("hi", [(5, "hi", 0, 2, True), (2, "</s>", 0, 0, True)]))
    assert [(group.shown, group.start) for group in groups] == [("hi", 0), ("</s>", 2)]


def test_text_without_a_token_is_a_group() -> None:
    groups = group_tokens(make_side("a\x00\x00b\x00", [(5, "a", 0, 1, True), (6, "b", 3, 4, True)]))
    assert [(group.shown, group.num_tokens, group.supervised) for group in groups] == [
        ("a", 1, "all"),
        ("␀␀", 0, "none"),
        ("b", 1, "all"),
        ("␀", 0, "none"),
    ]


def test_padding_is_folded_and_counted() -> None:
    tokens: list[Token] = [(5, "a", 0, 1, True), *([(0, "<unk>", 1, 1, False)] * 998), (7, "b", 1, 1, False)]
    groups = group_tokens(make_side("a", tokens))
    assert shown(groups) == ["a", "<unk>×998", "b"]
    assert groups[1].num_tokens == 998


def test_padding_that_is_supervised_in_part_is_not_folded_together() -> None:
    tokens: list[Token] = [*([(0, "<unk>", 0, 0, False)] * 5), *([(0, "<unk>", 0, 0, True)] * 5)]
    groups = group_tokens(make_side("", tokens))
    assert [(group.shown, group.supervised) for group in groups] == [("<unk>×5", "none"), ("<unk>×5", "all")]


def test_three_alike_are_not_folded() -> None:
    assert shown(group_tokens(make_side("", [(0, "<pad>", 0, 0, False)] * 3))) == ["<pad>"] * 3


def _byte_level(trim_offsets: bool) -> Tokenizer:
    tokenizer = small_tokenizers.copy_of(small_tokenizers.byte_bpe())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=trim_offsets)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=trim_offsets)
    return tokenizer


def test_spaces_that_a_post_processor_trimmed_are_given_back() -> None:
    text = "The cat  drinks   tea. "
    cut = {}
    for trim_offsets in (True, False):
        encoding = _byte_level(trim_offsets).encode(text)
        pieces = [piece.replace("Ġ", " ") for piece in encoding.tokens]
        tokens: list[Token] = [
            (token_id, piece, *offset, False)
            for token_id, piece, offset in zip(encoding.ids, pieces, encoding.offsets, strict=True)
        ]
        cut[trim_offsets] = [(g.start, g.end, g.first_token) for g in group_tokens(make_side(text, tokens))]
    assert cut[True] == cut[False]


def test_roles_are_those_of_the_spans() -> None:
    spans = [
        Span(start=1, end=3, role="user", message_index=0, supervised=False),
        Span(start=3, end=6, role="assistant", message_index=1, supervised=True),
    ]
    tokens: list[Token] = [(5, "<", 0, 1, False), (6, "ab", 1, 3, False), (7, "cd", 3, 5, True), (8, "e>", 5, 7, True)]
    groups = group_tokens(make_side("<abcde>", tokens, spans=spans))
    assert [group.role for group in groups] == [None, "user", "assistant", "assistant"]


def test_a_token_across_roles_takes_the_one_it_holds_most_of() -> None:
    spans = [
        Span(start=0, end=1, role="user", message_index=0, supervised=False),
        Span(start=1, end=4, role="assistant", message_index=1, supervised=True),
    ]
    assert [g.role for g in group_tokens(make_side("abcd", [(5, "abcd", 0, 4, True)], spans=spans))] == ["assistant"]


def test_what_is_shown_is_inert() -> None:
    side = make_side(HOSTILE, [(100 + i, char, i, i + 1, False) for i, char in enumerate(HOSTILE)])
    text = "".join(shown(group_tokens(side)))
    assert "\x1b" not in text
    assert "\u202e" not in text
    text.encode("utf-8")
