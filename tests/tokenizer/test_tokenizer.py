"""Character ranges, and what a vocabulary says of an id."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
import tokenizers
from hypothesis import example, given, settings

from finetooth.errors import TokenizerError
from finetooth.tokenizer import Tokenizer, load_tokenizer
from finetooth.tokenizer.tokenizer import trims_ranges
from tests.small_tokenizers import (
    KINDS,
    SPECIAL_TOKENS,
    byte_bpe,
    copy_of,
    llama_bpe,
    save_model,
    wordpiece,
    write_json,
)
from tests.tokenizer.texts import texts

BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
ROBERTA = {
    "type": "RobertaProcessing",
    "sep": ["</s>", 2],
    "cls": ["<s>", 1],
    "trim_offsets": True,
    "add_prefix_space": False,
}
TEMPLATE = {
    "type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
    "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
}


def tokenizer_of(kind: str) -> Tokenizer:
    return Tokenizer(name=kind, backend=KINDS[kind](), special_tokens=SPECIAL_TOKENS)


def uncovered(text: str, offsets: list[tuple[int, int]]) -> list[int]:
    covered = {index for start, end in offsets for index in range(start, end)}
    return [index for index in range(len(text)) if index not in covered]


# Ranges ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["byte_bpe", "llama_bpe"])
@given(text=texts)
@example(text="  Hello \r\n\r\n お嬢様 🍵")
@settings(max_examples=150, deadline=None)
def test_every_character_is_in_a_range(kind: str, text: str) -> None:
    (encoding,) = tokenizer_of(kind).encode([text], add_special_tokens=False)
    assert uncovered(text, encoding.offsets) == []


@given(text=texts)
@settings(max_examples=150, deadline=None)
def test_unigram_leaves_out_what_nfkc_takes_away_and_no_more(text: str) -> None:
    (encoding,) = tokenizer_of("unigram").encode([text], add_special_tokens=False)
    for index in uncovered(text, encoding.offsets):
        # A mark that is composed with what stands before it is no character of its own after NFKC.
        composed = unicodedata.normalize("NFKC", text[: index + 1])
        assert len(composed) <= len(unicodedata.normalize("NFKC", text[:index])), repr(text[index])


@given(text=texts)
@settings(max_examples=150, deadline=None)
def test_wordpiece_leaves_out_white_space_and_what_its_normalizer_takes_away(text: str) -> None:
    backend = wordpiece()
    (encoding,) = tokenizer_of("wordpiece").encode([text], add_special_tokens=False)
    for index in uncovered(text, encoding.offsets):
        normalized = backend.normalizer.normalize_str(f"x{text[index]}")
        assert not normalized[1:].strip(), repr(text[index])


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("add_special_tokens", [False, True])
@given(text=texts)
@settings(max_examples=60, deadline=None)
def test_the_ids_are_the_same_with_and_without_ranges(kind: str, add_special_tokens: bool, text: str) -> None:
    tokenizer = tokenizer_of(kind)
    ways = (tokenizer.encode, tokenizer.encode_as_loaded, tokenizer.encode_ids)
    ids = [way([text, "x"], add_special_tokens=add_special_tokens)[0].ids for way in ways]
    assert ids[0] == ids[1] == ids[2]


@pytest.mark.parametrize(
    ("post_processor", "trims"),
    [
        (None, False),
        (TEMPLATE, False),
        (BYTE_LEVEL, True),
        (BYTE_LEVEL | {"trim_offsets": False}, False),
        (ROBERTA, True),
        (ROBERTA | {"trim_offsets": False}, False),
        ({"type": "Sequence", "processors": [BYTE_LEVEL, TEMPLATE]}, True),
        ({"type": "Sequence", "processors": [TEMPLATE, ROBERTA]}, True),
        ({"type": "Sequence", "processors": [TEMPLATE]}, False),
    ],
    ids=str,
)
def test_trimming_is_found_and_undone(post_processor: dict[str, object] | None, trims: bool) -> None:
    backend = copy_of(byte_bpe(), post_processor=post_processor)
    tokenizer = Tokenizer(name="x", backend=backend)
    text = "the  cat\n drinks tea"
    assert trims_ranges(backend.post_processor) is trims
    assert (uncovered(text, backend.encode(text).offsets) != []) is trims
    (encoding,) = tokenizer.encode([text], add_special_tokens=True)
    (as_loaded,) = tokenizer.encode_as_loaded([text], add_special_tokens=True)
    assert uncovered(text, encoding.offsets) == []
    assert encoding.ids == as_loaded.ids == backend.encode(text).ids
    assert as_loaded.offsets == backend.encode(text).offsets
    assert (tokenizer.untrimmed is tokenizer.backend) is not trims


def test_a_token_of_white_space_alone_has_a_range() -> None:
    (encoding,) = tokenizer_of("byte_bpe").encode(["a   b"], add_special_tokens=False)
    (as_loaded,) = tokenizer_of("byte_bpe").encode_as_loaded(["a   b"], add_special_tokens=False)
    assert all(end > start for start, end in encoding.offsets)
    assert any(end == start for start, end in as_loaded.offsets)


def test_splitting_special_tokens_survives_untrimming() -> None:
    backend = copy_of(byte_bpe())
    backend.encode_special_tokens = True
    tokenizer = Tokenizer(name="x", backend=backend)
    (encoding,) = tokenizer.encode(["a</s>"], add_special_tokens=False)
    assert 2 not in encoding.ids
    assert encoding.ids == backend.encode("a</s>").ids


@pytest.mark.parametrize("way", ["encode", "encode_as_loaded", "encode_ids"])
def test_a_lone_surrogate_is_placed(way: str) -> None:
    with pytest.raises(TokenizerError, match=r"U\+D83C, character 2"):
        getattr(tokenizer_of("byte_bpe"), way)(["fine", "ab\ud83cc"], add_special_tokens=False)


def test_no_texts_give_no_encodings() -> None:
    assert tokenizer_of("byte_bpe").encode([], add_special_tokens=True) == []
    assert tokenizer_of("byte_bpe").encode_ids([], add_special_tokens=True) == []


# Ids ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("token_id", [-1, -100, 10_000, 2**31, 2**32, 2**70])
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_number_that_is_no_id(kind: str, token_id: int) -> None:
    tokenizer = tokenizer_of(kind)
    assert tokenizer.piece(token_id) == f"<{token_id}>"
    assert tokenizer.piece_bytes(token_id) is None
    assert tokenizer.decode_one(token_id) == ""
    assert not tokenizer.is_special(token_id)


def test_ids_by_name() -> None:
    tokenizer = Tokenizer(name="x", backend=llama_bpe(), special_tokens={"eos_token": "</s>", "pad_token": "<absent>"})
    assert (tokenizer.eos_token, tokenizer.eos_id) == ("</s>", 2)
    assert tokenizer.pad_id is None
    assert tokenizer.bos_token is None
    assert tokenizer.token_id("bos_token") is None
    assert tokenizer.piece(2) == "</s>"
    assert tokenizer.is_special(2)
    assert not tokenizer.is_special(100)
    assert tokenizer.added_tokens[2].content == "</s>"


def test_special_is_what_is_flagged_so() -> None:
    backend = copy_of(byte_bpe())
    backend.add_tokens([tokenizers.AddedToken("<plain>", special=False)])
    tokenizer = Tokenizer(name="x", backend=backend)
    special = {token.content: tokenizer.is_special(token_id) for token_id, token in tokenizer.added_tokens.items()}
    assert special["<|im_end|>"]
    assert not special["<plain>"]


def test_an_id_decodes_by_itself() -> None:
    tokenizer = tokenizer_of("byte_bpe")
    (encoding,) = tokenizer.encode([" cat"], add_special_tokens=False)
    assert [tokenizer.decode_one(token_id) for token_id in encoding.ids] == [" cat"]
    assert tokenizer.decode_one(2) == "</s>"


# Where generation stops -----------------------------------------------------------------------------------------------


def stops_of(tmp_path: Path, **files: object) -> Tokenizer:
    save_model(tmp_path, byte_bpe())
    for name, content in files.items():
        write_json(tmp_path / f"{name}.json", content)
    return load_tokenizer(str(tmp_path))


def test_generation_stops_at_what_generation_config_says_and_at_eos(tmp_path: Path) -> None:
    tokenizer = stops_of(tmp_path, generation_config={"eos_token_id": [5, 700000]}, config={"eos_token_id": 4})
    assert tokenizer.stop_ids == {2, 5, 700000}
    assert tokenizer.stops.literals == ("</s>", "<|im_end|>")
    assert tokenizer.stops.specials == ("</s>", "<|im_start|>", "<|im_end|>")


def test_generation_stops_at_what_config_says_where_the_other_is_silent(tmp_path: Path) -> None:
    tokenizer = stops_of(tmp_path, generation_config={"temperature": 0.6}, config={"eos_token_id": 5})
    assert tokenizer.stop_ids == {2, 5}


def test_generation_stops_at_eos_where_no_file_says_more(tmp_path: Path) -> None:
    tokenizer = stops_of(tmp_path)
    assert tokenizer.stop_ids == {2}
    assert tokenizer.stops.literals == ("</s>",)


def test_a_tokenizer_without_eos_has_no_stops() -> None:
    tokenizer = Tokenizer(name="x", backend=byte_bpe())
    assert tokenizer.stop_ids == frozenset()
    assert tokenizer.stops.literals == ()


def test_padding_that_is_eos_still_stops() -> None:
    tokenizer = Tokenizer(name="x", backend=byte_bpe(), special_tokens={"eos_token": "</s>", "pad_token": "</s>"})
    assert "</s>" in tokenizer.stops.literals
    assert "</s>" in tokenizer.stops.specials


# The chat template ----------------------------------------------------------------------------------------------------


def test_chat_templates_by_name_and_place(tmp_path: Path) -> None:
    save_model(tmp_path, byte_bpe())
    (tmp_path / "chat_template.jinja").write_text("{{ eos_token }}main", encoding="utf-8")
    (tmp_path / "additional_chat_templates").mkdir()
    (tmp_path / "additional_chat_templates" / "tools.jinja").write_text("tools", encoding="utf-8")
    tokenizer = load_tokenizer(str(tmp_path))
    main, tools = tokenizer.chat_template(), tokenizer.chat_template("tools")
    assert main is not None
    assert tools is not None
    assert main.render([]) == "</s>main"
    assert main.name == str(tmp_path / "chat_template.jinja")
    assert tools.name == str(tmp_path / "additional_chat_templates" / "tools.jinja")
    assert tokenizer.chat_template("absent") is None


def test_a_template_in_the_configuration_is_named_by_it(tmp_path: Path) -> None:
    save_model(tmp_path, byte_bpe(), chat_template="hello")
    template = load_tokenizer(str(tmp_path)).chat_template()
    assert template is not None
    assert template.name == str(tmp_path / "tokenizer_config.json")


def test_no_files_no_template() -> None:
    tokenizer = Tokenizer(name="x", backend=byte_bpe())
    assert tokenizer.chat_templates == {}
    assert tokenizer.chat_template() is None
    assert repr(tokenizer) == "Tokenizer('x', loader='tokenizers')"


def test_the_small_tokenizers_are_not_changed_by_being_used() -> None:
    before = json.loads(byte_bpe().to_str())
    Tokenizer(name="x", backend=byte_bpe()).encode(["a b"], add_special_tokens=True)
    assert json.loads(byte_bpe().to_str()) == before
