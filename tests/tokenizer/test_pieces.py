"""The bytes behind ids, and what is made of them: supervised tokens, and texts rebuilt from ids."""

from __future__ import annotations

import json
from functools import cache

import pytest
import tokenizers
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken

from finetooth.encoding import tokens_in
from finetooth.labels.as_is import text_of
from finetooth.labels.columns import supervised_tokens
from finetooth.tokenizer import Tokenizer
from finetooth.tokenizer.pieces import PieceBytes, byte_level_alphabet, components, kinds
from finetooth.types import Span
from tests.small_tokenizers import KINDS, SPECIAL_TOKENS, byte_bpe, copy_of, llama_bpe, unigram
from tests.tokenizer.texts import texts

SPACE_MARK = "▁"


@cache
def tokenizer_of(kind: str) -> Tokenizer:
    return Tokenizer(name=kind, backend=KINDS[kind](), special_tokens=SPECIAL_TOKENS)


def encoded(kind: str, text: str) -> tuple[list[int], list[tuple[int, int]]]:
    (encoding,) = tokenizer_of(kind).encode([text], add_special_tokens=False)
    return encoding.ids, encoding.offsets


def joined(kind: str, input_ids: list[int]) -> bytes | None:
    pieces = [tokenizer_of(kind).piece_bytes(token_id) for token_id in input_ids]
    return None if None in pieces else b"".join(piece for piece in pieces if piece is not None)


def id_of(backend: tokenizers.Tokenizer, piece: str) -> int:
    token_id = backend.token_to_id(piece)
    assert token_id is not None
    return token_id


# Bytes ----------------------------------------------------------------------------------------------------------------


@given(text=texts)
@settings(max_examples=200, deadline=None)
def test_byte_level_pieces_are_the_bytes_of_the_text(text: str) -> None:
    assume("<unk>" not in text)
    assert joined("byte_bpe", encoded("byte_bpe", text)[0]) == text.encode()


@given(text=texts)
@settings(max_examples=200, deadline=None)
def test_byte_fallback_pieces_are_the_bytes_of_the_text_but_for_space_marks(text: str) -> None:
    # `<unk>` has no bytes; a space mark in the text is a space to the tokenizer; added tokens take a mark after them.
    assume(not any(special in text for special in SPECIAL_TOKENS.values()) and SPACE_MARK not in text)
    assert joined("llama_bpe", encoded("llama_bpe", text)[0]) == (b" " + text.encode() if text else b"")


def test_unigram_pieces_are_the_bytes_of_the_normalized_text() -> None:
    assert joined("unigram", encoded("unigram", "お嬢様 the cat")[0]) == " お嬢様 the cat".encode()


@given(token_id=st.integers(0, 419))
def test_wordpiece_does_not_tell_its_bytes(token_id: int) -> None:
    tokenizer = tokenizer_of("wordpiece")
    added = tokenizer.added_tokens.get(token_id)
    if token_id == tokenizer.token_id("unk_token"):
        assert tokenizer.piece_bytes(token_id) is None
    else:
        assert tokenizer.piece_bytes(token_id) == (None if added is None else added.content.encode())


@pytest.mark.parametrize("kind", ["llama_bpe", "unigram", "wordpiece"])
def test_the_unknown_token_stands_for_no_bytes_that_it_tells(kind: str) -> None:
    assert tokenizer_of(kind).piece_bytes(0) is None


def test_a_byte_piece_is_its_byte() -> None:
    tokenizer = tokenizer_of("llama_bpe")
    for byte in range(256):
        assert tokenizer.piece_bytes(id_of(tokenizer.backend, f"<0x{byte:02X}>")) == bytes([byte])


def test_the_byte_level_alphabet_is_that_of_transformers() -> None:
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    assert byte_level_alphabet() == {character: byte for byte, character in bytes_to_unicode().items()}
    assert set(byte_level_alphabet()) == set(tokenizers.pre_tokenizers.ByteLevel.alphabet())


def test_an_added_token_is_the_bytes_of_its_content() -> None:
    backend = copy_of(byte_bpe())
    # Neither is written in the byte-level alphabet, as pieces of the vocabulary are.
    backend.add_tokens([AddedToken("日本 語"), AddedToken("é")])
    pieces = PieceBytes(backend)
    assert pieces[id_of(backend, "日本 語")] == "日本 語".encode()
    assert pieces[id_of(backend, "é")] == "é".encode()
    assert pieces[id_of(backend, "</s>")] == b"</s>"


def test_an_added_token_of_space_marks_stands_for_spaces() -> None:
    # As Gemma has them: the model makes this piece of spaces, and the added token is never matched.
    backend = copy_of(llama_bpe())
    mark = id_of(backend, "▁▁")
    backend.add_tokens([AddedToken("▁▁", normalized=False)])
    (encoding,) = Tokenizer(name="x", backend=backend).encode(["x  y"], add_special_tokens=False)
    assert mark in encoding.ids
    assert PieceBytes(backend)[mark] == b"  "


def test_a_byte_level_normalizer_counts_as_byte_level() -> None:
    backend = copy_of(byte_bpe(), normalizer={"type": "ByteLevel"}, pre_tokenizer=None, decoder=None)
    ids = backend.encode("お嬢様").ids
    assert b"".join(piece or b"" for piece in map(PieceBytes(backend).__getitem__, ids)) == "お嬢様".encode()


def test_the_kinds_of_components_are_found_at_any_depth() -> None:
    assert kinds({"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]}) == {
        *("Sequence", "ByteFallback", "Fuse")
    }
    assert kinds(None) == set()
    assert "vocab" not in json.dumps(components(llama_bpe()))
    assert components(llama_bpe())["model"]["byte_fallback"] is True


# Supervised tokens ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(KINDS))
@given(text=texts.filter(bool), data=st.data())
@settings(max_examples=250, deadline=None)
def test_edges_from_bytes_are_those_from_ranges(kind: str, text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    span = Span(start=start, end=end, role="assistant", message_index=0, supervised=True)
    input_ids, offsets = encoded(kind, text)
    edges = supervised_tokens(tokenizer_of(kind), input_ids, text, span)
    if edges is not None:
        assert list(range(*edges)) == list(tokens_in(offsets, start, end)), (text, start, end)


@pytest.mark.parametrize("kind", ["byte_bpe", "llama_bpe", "unigram"])
def test_edges_are_found_in_plain_chats(kind: str) -> None:
    text = "<s>[INST] お嬢様は紅茶を見ました。 [/INST] the cat drinks a cup of tea. </s>"
    start = text.index(" the cat")
    span = Span(start=start, end=len(text), role="assistant", message_index=1, supervised=True)
    input_ids, offsets = encoded(kind, text)
    edges = supervised_tokens(tokenizer_of(kind), input_ids, text, span)
    assert edges is not None
    assert list(range(*edges)) == list(tokens_in(offsets, start, len(text)))
    assert input_ids[edges[1] - 1] == 2


def test_edges_are_left_to_the_tokenizer_where_a_token_tells_no_bytes() -> None:
    text = "the cat drinks"
    span = Span(start=3, end=len(text), role="assistant", message_index=1, supervised=True)
    assert supervised_tokens(tokenizer_of("wordpiece"), encoded("wordpiece", text)[0], text, span) is None


# Texts from ids -------------------------------------------------------------------------------------------------------


@given(text=texts)
@settings(max_examples=200, deadline=None)
def test_a_text_comes_back_from_byte_level_ids_with_its_ranges(text: str) -> None:
    input_ids, offsets = encoded("byte_bpe", text)
    assert text_of(tokenizer_of("byte_bpe"), input_ids) == (text, offsets)


@given(text=texts)
@settings(max_examples=200, deadline=None)
def test_a_text_comes_back_from_byte_fallback_ids_behind_a_space(text: str) -> None:
    assume(not any(special in text for special in SPECIAL_TOKENS.values()) and SPACE_MARK not in text)
    input_ids, _ = encoded("llama_bpe", text)
    rebuilt, offsets = text_of(tokenizer_of("llama_bpe"), input_ids)
    assert rebuilt == (f" {text}" if text else "")
    assert all(0 <= start < end <= len(rebuilt) for start, end in offsets)


@pytest.mark.parametrize("kind", sorted(KINDS))
@given(input_ids=st.lists(st.integers(-2, 720), max_size=40))
@settings(max_examples=150, deadline=None)
def test_any_ids_give_a_text_with_ranges_in_order(kind: str, input_ids: list[int]) -> None:
    text, offsets = text_of(tokenizer_of(kind), input_ids)
    assert len(offsets) == len(input_ids)
    assert all(0 <= start <= end <= len(text) for start, end in offsets)
    assert [start for start, _ in offsets] == sorted(start for start, _ in offsets)
    covered = {index for start, end in offsets for index in range(start, end)}
    assert covered == set(range(len(text)))


@pytest.mark.parametrize("kind", ["byte_bpe", "llama_bpe"])
def test_ids_cut_within_a_character_show_its_place(kind: str) -> None:
    input_ids, offsets = encoded(kind, "x🍵y")
    tea = [index for index, (start, end) in enumerate(offsets) if (start, end) == (1, 2)]
    assert len(tea) > 1
    first, last = (
        text_of(tokenizer_of(kind), input_ids[tea[0] : tea[-1]]),
        text_of(tokenizer_of(kind), input_ids[tea[1] :]),
    )
    assert first[0] == "\N{REPLACEMENT CHARACTER}"
    assert set(first[1]) == {(0, 1)}
    assert last[0].endswith("\N{REPLACEMENT CHARACTER}y")


@given(data=st.binary(max_size=40))
@example(data=b"a\xe3\x81")
@example(data=b"\xf0\x9f\x8d\xe3\x81\x82\xff\xed\xa0\x80")
@settings(max_examples=200, deadline=None)
def test_broken_bytes_become_what_python_makes_of_them(data: bytes) -> None:
    tokenizer = tokenizer_of("byte_bpe")
    alphabet = {byte: character for character, byte in byte_level_alphabet().items()}
    input_ids = [id_of(tokenizer.backend, alphabet[byte]) for byte in data]
    text, _ = text_of(tokenizer, input_ids)
    assert text == data.decode("utf-8", "replace")


def test_unknown_tokens_are_shown_by_name() -> None:
    backend = unigram()
    input_ids = backend.encode("the 🍵 cat", add_special_tokens=False).ids
    assert 0 in input_ids
    assert text_of(tokenizer_of("unigram"), input_ids)[0] == " the <unk> cat"
