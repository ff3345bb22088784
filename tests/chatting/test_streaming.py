"""Streamed text is the text of all ids at once, and no half of a character is ever shown."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetooth.chatting.streaming import Piece, TextStream
from finetooth.demo import tokenizer_path
from finetooth.probing.judging import shown
from finetooth.tokenizer import Tokenizer, load_tokenizer
from tests import small_tokenizers


@cache
def tokenizer(kind: str) -> Tokenizer:
    if kind == "demo":
        return load_tokenizer(str(tokenizer_path("split")))
    return Tokenizer(
        name=kind, backend=getattr(small_tokenizers, kind)(), special_tokens=small_tokenizers.SPECIAL_TOKENS
    )


def streamed(kind: str, ids: list[int], *terminators: str) -> list[list[Piece]]:
    stream = TextStream(tokenizer(kind), terminators)
    return [*(stream.push(one) for one in ids), stream.finish()]


KINDS = ("demo", "byte_bpe", "llama_bpe", "unigram", "wordpiece")


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_streamed_text_is_that_of_all_ids(kind: str, data: st.DataObject) -> None:
    size = tokenizer(kind).backend.get_vocab_size()
    # Byte pieces stand near the beginning of a vocabulary: half of the ids come from there.
    one = st.one_of(st.integers(0, size + 3), st.integers(0, min(size, 270)))
    ids = data.draw(st.lists(one, max_size=40))
    for terminators in ((), ("</s>", "<|im_end|>")):
        pieces = [piece for some in streamed(kind, ids, *terminators) for piece in some]
        assert "".join(piece.text for piece in pieces) == shown(ids, tokenizer(kind))


@pytest.mark.parametrize("kind", ["byte_bpe", "llama_bpe", "demo"])
def test_a_kanji_in_three_tokens_appears_whole(kind: str) -> None:
    ids = list(tokenizer(kind).encode(["月は鬱々と。"], add_special_tokens=False)[0].ids)
    pieces = [piece.text for some in streamed(kind, ids) for piece in some]
    assert "".join(pieces).strip() == "月は鬱々と。"
    assert not any("\ufffd" in text for text in pieces)
    assert len(ids) > len("月は鬱々と。"), "no character of the test is in several tokens"


def test_text_comes_as_soon_as_it_is_certain() -> None:
    ids = list(tokenizer("byte_bpe").encode(["what he said about it"], add_special_tokens=False)[0].ids)
    assert all(streamed("byte_bpe", ids, "</s>")[: len(ids)])


def test_letters_of_a_terminator_are_told_from_the_token() -> None:
    letters = list(tokenizer("demo").encode(["ええ。</s>"], add_special_tokens=False)[0].ids)
    steps = streamed("demo", [*letters, 2], "</s>")
    pieces = [piece for some in steps for piece in some]
    assert pieces[-2:] == [Piece("</s>", "literal"), Piece("⟨</s>⟩", "special")]
    assert not any("<" in piece.text for some in steps[: len(letters) - 1] for piece in some)


def test_what_only_begins_as_a_terminator_does_is_given_out() -> None:
    ids = list(tokenizer("demo").encode(["ええ</"], add_special_tokens=False)[0].ids)
    pieces = [piece for some in streamed("demo", ids, "</s>") for piece in some]
    assert "".join(piece.text for piece in pieces).strip() == "ええ</"
    assert {piece.kind for piece in pieces} == {"text"}
