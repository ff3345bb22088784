"""Tokenizers as finetooth loads them, against `AutoTokenizer` on the same directories.

Where `loader="tokenizers"` calls itself exact (`unchecked` is `None`), it must give transformers' ids, special tokens,
flags and chat templates; where it does not, `loader="auto"` must go through transformers and give the same.
"""

from __future__ import annotations

import inspect
import json
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer as Backend

from finetooth.tokenizer import Tokenizer, load_tokenizer
from finetooth.tokenizer.load import GENERIC_CLASSES, REPLACED_MODEL_TYPES
from tests.shared_data import SHARED, needs_shared
from tests.small_tokenizers import (
    KINDS,
    SPECIAL_TOKENS,
    byte_bpe,
    copy_of,
    llama_bpe,
    save_model,
    unigram,
    wordpiece,
    write_json,
)
from tests.sources import PACKAGE

PROBES = (
    "",
    "the cat drinks a cup of tea.",
    "お嬢様は紅茶を見ました。</s>",
    "<s>[INST] <<SYS>>\nx\n<</SYS>>\n\nこんにちは [/INST] ごきげんよう。</s><s>[INST]",
    "</s> x</s>。</s>\n</s>  </s>",
    " <pad><unk> <new>a <NEW> <new> <more>、<more> <|im_end|>\n[CLS] a [SEP]",
    "  two  spaces\r\n\ttab 🍵 e\u0301 ﬁ ＡＢＣ",
)

SHIPPED = sorted((PACKAGE / "demo" / "data" / "tokenizers").iterdir())
REAL = [SHARED / "data" / "stories260K"] + [
    SHARED / "data" / "tokenizers" / f"llama2-{name}" for name in ("eos-normalized", "pad-is-eos", "pad-is-unk")
]


def loaded_by_transformers(directory: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(directory))


def check_equal(tokenizer: Tokenizer, theirs: Any) -> None:
    """Compare everything that depends on the class that loads."""
    assert tokenizer.special_tokens == theirs.special_tokens_map
    assert list(tokenizer.special_tokens) == list(theirs.special_tokens_map)
    templates = theirs.chat_template
    assert tokenizer.chat_templates == ({"default": templates} if isinstance(templates, str) else templates or {})
    flags = {index: repr(token) for index, token in theirs.added_tokens_decoder.items()}
    assert {index: repr(token) for index, token in tokenizer.added_tokens.items()} == flags
    for name in SPECIAL_TOKENS:
        assert tokenizer.token_id(name) == getattr(theirs, f"{name}_id"), name
    for add_special_tokens in (True, False):
        expected = theirs(list(PROBES), add_special_tokens=add_special_tokens, return_offsets_mapping=True)
        encodings = tokenizer.encode_as_loaded(PROBES, add_special_tokens=add_special_tokens)
        assert [encoding.ids for encoding in encodings] == expected["input_ids"]
        assert [encoding.offsets for encoding in encodings] == expected["offset_mapping"]
        for way in (tokenizer.encode, tokenizer.encode_ids):
            encodings = way(PROBES, add_special_tokens=add_special_tokens)
            assert [encoding.ids for encoding in encodings] == expected["input_ids"]


def check(directory: Path, *, exact: bool) -> None:
    theirs = loaded_by_transformers(directory)
    alone = load_tokenizer(str(directory), loader="tokenizers")
    assert (alone.unchecked is None) is exact
    if exact:
        check_equal(alone, theirs)
    auto = load_tokenizer(str(directory))
    assert auto.loader == ("tokenizers" if exact else "transformers")
    assert auto.unchecked is None
    check_equal(auto, theirs)
    check_equal(load_tokenizer(str(directory), loader="transformers"), theirs)


# Real and shipped tokenizers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("directory", SHIPPED, ids=lambda path: path.name)
def test_the_demo_s_tokenizers(directory: Path) -> None:
    check(directory, exact=True)


@needs_shared
@pytest.mark.parametrize("directory", REAL, ids=lambda path: path.name)
def test_real_tokenizers(directory: Path) -> None:
    check(directory, exact=True)


@needs_shared
def test_the_same_files_end_otherwise_by_class(tmp_path: Path) -> None:
    original = REAL[1]
    for path in original.iterdir():
        (tmp_path / path.name).symlink_to(path)
    config = json.loads((original / "tokenizer_config.json").read_text(encoding="utf-8"))
    (tmp_path / "tokenizer_config.json").unlink()
    write_json(tmp_path / "tokenizer_config.json", config | {"tokenizer_class": "LlamaTokenizer"})

    def ids(tokenizer: Tokenizer) -> list[int]:
        (encoding,) = tokenizer.encode(["ごきげんよう。</s>"], add_special_tokens=False)
        found: list[int] = encoding.ids
        return found

    alone = load_tokenizer(str(tmp_path), loader="tokenizers")
    assert "LlamaTokenizer" in str(alone.unchecked)
    assert ids(alone)[-3:] == [829, 29879, 29958]
    auto = load_tokenizer(str(tmp_path))
    assert (auto.loader, auto.tokenizer_class) == ("transformers", "LlamaTokenizer")
    assert ids(auto)[-1] == 2
    check_equal(auto, loaded_by_transformers(tmp_path))


# Classes --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("tokenizer_class", GENERIC_CLASSES)
@pytest.mark.parametrize("model_type", [None, "llama", "gpt2", "bert", "t5", "qwen3", "phi3", "gemma3_text"])
def test_the_generic_class(tmp_path: Path, kind: str, tokenizer_class: str, model_type: str | None) -> None:
    save_model(tmp_path, KINDS[kind](), tokenizer_class=tokenizer_class)
    if model_type is not None:
        write_json(tmp_path / "config.json", {"model_type": model_type})
    check(tmp_path, exact=True)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_no_class_and_no_model_type(tmp_path: Path, kind: str) -> None:
    KINDS[kind]().save(str(tmp_path / "tokenizer.json"))
    check(tmp_path, exact=True)
    write_json(tmp_path / "tokenizer_config.json", {"eos_token": "</s>"})
    check(tmp_path, exact=True)
    write_json(tmp_path / "config.json", {"torch_dtype": "float32"})
    check(tmp_path, exact=True)


@pytest.mark.parametrize(
    ("backend", "tokenizer_class", "model_type"),
    [
        (llama_bpe, "LlamaTokenizer", "llama"),
        (llama_bpe, "LlamaTokenizerFast", None),
        (llama_bpe, None, "llama"),
        (byte_bpe, "LlamaTokenizer", "llama"),
        (byte_bpe, "LlamaTokenizerFast", None),
        (byte_bpe, "GPT2Tokenizer", "gpt2"),
        (byte_bpe, "GPT2TokenizerFast", None),
        (byte_bpe, None, "gpt2"),
        (byte_bpe, "Qwen2Tokenizer", "qwen2"),
        (byte_bpe, "Qwen2TokenizerFast", "qwen3"),
        (byte_bpe, "PreTrainedTokenizerFast", "qwen2"),
        (byte_bpe, "TokenizersBackend", "mistral"),
        (unigram, "T5Tokenizer", "t5"),
        (unigram, "T5TokenizerFast", None),
        (unigram, None, "t5"),
        (wordpiece, "BertTokenizer", "bert"),
        (wordpiece, None, "bert"),
        (llama_bpe, "NoSuchTokenizer", None),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_classes_that_may_rebuild_the_tokenizer(
    tmp_path: Path, backend: Callable[[], Backend], tokenizer_class: str | None, model_type: str | None
) -> None:
    save_model(tmp_path, backend(), tokenizer_class=tokenizer_class)
    if model_type is not None:
        write_json(tmp_path / "config.json", {"model_type": model_type})
    check(tmp_path, exact=False)


def test_the_replaced_model_types_are_those_of_transformers() -> None:
    from transformers.models.auto import tokenization_auto

    registered = tokenization_auto.TOKENIZER_MAPPING_NAMES
    replaced = {
        model_type
        for model_type in tokenization_auto.MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS
        if registered.get(model_type) not in (None, *GENERIC_CLASSES)
    }
    # Without mistral-common installed the mapping itself does not name its class.
    mistral = re.findall(r'"(\w+)",\s*"MistralCommonBackend"\s+if', inspect.getsource(tokenization_auto))
    assert replaced
    assert mistral
    assert replaced | set(mistral) == REPLACED_MODEL_TYPES


# What the files say ---------------------------------------------------------------------------------------------------

NEW = {"content": "<new>", "lstrip": True, "rstrip": True, "single_word": False, "normalized": False, "special": True}
MORE = NEW | {"content": "<more>", "lstrip": False, "normalized": True, "special": False}


def typed(token: dict[str, Any]) -> dict[str, Any]:
    return {"__type": "AddedToken", **token}


def decoder_of(backend: Backend, **changed: bool) -> dict[str, dict[str, Any]]:
    """Return the added tokens as `added_tokens_decoder` has them, the flags of `</s>` changed."""
    flags = ("lstrip", "rstrip", "single_word", "normalized", "special")
    decoder = {
        str(index): {"content": token.content, **{flag: getattr(token, flag) for flag in flags}}
        for index, token in backend.get_added_tokens_decoder().items()
    }
    decoder["2"] |= changed
    return decoder


def without_flag(name: str) -> dict[str, Any]:
    return {key: value for key, value in MORE.items() if key != name}


CASES: dict[str, dict[str, Any]] = {
    "pad that is not in the vocabulary": {"pad_token": "[PAD]"},
    "pad that is eos": {"pad_token": "</s>"},
    "no special tokens": dict.fromkeys(SPECIAL_TOKENS),
    "a piece of the vocabulary as eos": {"eos_token": "x"},
    "a token with flags as eos": {"eos_token": typed(NEW)},
    "a token of the model's own": {"image_token": "<new>", "audio_token": typed(MORE)},
    "additional tokens as strings": {"additional_special_tokens": ["<new>", "<more>", "</s>"]},
    "additional tokens with flags": {"additional_special_tokens": [typed(NEW), typed(MORE)]},
    "extra tokens as strings": {"extra_special_tokens": ["<new>", "<|im_end|>"]},
    "extra tokens with flags": {"extra_special_tokens": [typed(MORE), "<new>"]},
    "extra tokens by name": {"extra_special_tokens": {"image_token": "<new>", "boi": "<more>"}},
    "additional tokens by name": {"additional_special_tokens": {"image_token": typed(NEW)}},
    "both extra and additional": {"extra_special_tokens": ["<new>"], "additional_special_tokens": ["<more>"]},
    "an empty list of extra tokens": {"extra_special_tokens": [], "additional_special_tokens": ["<new>"]},
    "names under their own key": {"model_specific_special_tokens": {"image_token": "<new>"}},
    "bos not to be added": {"add_bos_token": False},
    "bos and eos to be added": {"add_bos_token": True, "add_eos_token": True},
    "special tokens split": {"split_special_tokens": True},
    "a maximum length": {"model_max_length": 3, "padding_side": "left"},
}


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("case", CASES)
def test_what_tokenizer_config_says(tmp_path: Path, kind: str, case: str) -> None:
    check(save_model(tmp_path, KINDS[kind](), **CASES[case]), exact=True)


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"normalized": True},
        {"lstrip": True, "rstrip": True},
        {"special": False},
        {"single_word": True, "normalized": True, "special": False},
    ],
    ids=str,
)
def test_added_tokens_decoder_overrules_tokenizer_json(tmp_path: Path, kind: str, changed: dict[str, bool]) -> None:
    decoder = decoder_of(KINDS[kind](), **changed)
    save_model(tmp_path, KINDS[kind](), added_tokens_decoder=decoder)
    check(tmp_path, exact=True)
    # A token that nothing names as special keeps the flag that it is given.
    save_model(tmp_path, KINDS[kind](), added_tokens_decoder=decoder, eos_token=None)
    check(tmp_path, exact=True)


@pytest.mark.parametrize("index", ["700", "9000"])
def test_added_tokens_decoder_adds_tokens(tmp_path: Path, index: str) -> None:
    decoder = {"2": decoder_of(byte_bpe())["2"], index: MORE, "699": NEW}
    check(save_model(tmp_path, byte_bpe(), added_tokens_decoder=decoder), exact=True)


LEGACY: dict[str, dict[str, Any]] = {
    "strings": {"eos_token": "<|im_end|>", "pad_token": "[PAD]"},
    "mappings": {"eos_token": NEW, "pad_token": without_flag("special"), "cls_token": typed(MORE)},
    "additional tokens": {"additional_special_tokens": ["<new>", "<more>"]},
    "extra tokens": {"extra_special_tokens": ["<new>", without_flag("special")]},
    "extra tokens by name": {"extra_special_tokens": {"image_token": "<new>"}},
    "names of the model's own": {"image_token": "<new>", "audio_token": MORE},
}


@pytest.mark.parametrize("kind", ["byte_bpe", "llama_bpe"])
@pytest.mark.parametrize("with_decoder", [False, True])
@pytest.mark.parametrize("case", LEGACY)
def test_special_tokens_map(tmp_path: Path, kind: str, with_decoder: bool, case: str) -> None:
    config = {"added_tokens_decoder": decoder_of(KINDS[kind]())} if with_decoder else {}
    save_model(tmp_path, KINDS[kind](), image_token="<more>", **config)
    write_json(tmp_path / "special_tokens_map.json", LEGACY[case])
    check(tmp_path, exact=True)


@pytest.mark.parametrize("kind", ["byte_bpe", "llama_bpe"])
@pytest.mark.parametrize("with_decoder", [False, True])
def test_added_tokens_json(tmp_path: Path, kind: str, with_decoder: bool) -> None:
    backend = KINDS[kind]()
    size = backend.get_vocab_size()
    config = {"added_tokens_decoder": decoder_of(backend)} if with_decoder else {}
    save_model(tmp_path, backend, extra_special_tokens=["<new>"], **config)
    write_json(tmp_path / "added_tokens.json", {"<new>": size, "<more>": size + 1, "</s>": size + 2})
    check(tmp_path, exact=True)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_truncation_and_padding_in_tokenizer_json(tmp_path: Path, kind: str) -> None:
    backend = copy_of(KINDS[kind]())
    backend.enable_truncation(4)
    backend.enable_padding(length=30, pad_id=3, pad_token="<pad>")
    configs: tuple[dict[str, Any], ...] = ({}, {"pad_token": None}, {"pad_token": "</s>"})
    for number, config in enumerate(configs):
        check(save_model(tmp_path / str(number), backend, **config), exact=True)


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("config", [{}, {"add_bos_token": True}, {"added_tokens_decoder": {}}], ids=str)
def test_no_post_processor(tmp_path: Path, kind: str, config: dict[str, Any]) -> None:
    check(save_model(tmp_path, copy_of(KINDS[kind](), post_processor=None), **config), exact=True)


# Chat templates -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "files"),
    [
        (None, {}),
        ("one", {}),
        ([{"name": "default", "template": "a"}, {"name": "tool_use", "template": "b"}], {}),
        ({"default": "a", "rag": "b"}, {}),
        ("old", {"chat_template.jinja": "new\r\nline\n"}),
        ("old", {"additional_chat_templates/rag.jinja": "rag"}),
        ("old", {"additional_chat_templates/rag.jinja": "rag", "chat_template.jinja": "new"}),
        (None, {"chat_template.jinja": ""}),
        (None, {"chat_template.jinja": "お嬢様\ufeff{{ eos_token }}"}),
        (None, {"additional_chat_templates/not-jinja.txt": "x"}),
    ],
    ids=str,
)
def test_chat_templates(tmp_path: Path, config: Any, files: dict[str, str]) -> None:
    save_model(tmp_path, byte_bpe(), chat_template=config)
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content, encoding="utf-8", newline="")
    check(tmp_path, exact=True)


# Any directory --------------------------------------------------------------------------------------------------------


def any_directory(directory: Path, seed: int) -> None:
    """Write a tokenizer, and up to three files that declare tokens, at random."""
    draw = random.Random(seed)
    # No two that differ by case alone: where the text is lowered, which of them matches is left to chance (a hash map).
    contents = (*SPECIAL_TOKENS.values(), "<new>", "<more>", "<last>", "様", "the", "cat")
    flags = ("lstrip", "rstrip", "single_word", "normalized", "special")

    def token() -> dict[str, Any]:
        return {"content": draw.choice(contents), **{flag: draw.random() < 0.5 for flag in flags}}

    def value() -> Any:
        return draw.choice(contents) if draw.random() < 0.6 else typed(token())

    def named() -> Iterator[tuple[str, Any]]:
        for name in (*SPECIAL_TOKENS, "cls_token", "mask_token", "image_token"):
            if draw.random() < 0.4:
                yield name, value()
        for name in ("extra_special_tokens", "additional_special_tokens"):
            if draw.random() < 0.25:
                yield name, [value() for _ in range(draw.randrange(4))]

    whole = json.loads(draw.choice(list(KINDS.values()))().to_str())
    for added in whole["added_tokens"]:
        if draw.random() < 0.3:
            added |= {flag: draw.random() < 0.5 for flag in flags}
    backend = Backend.from_str(json.dumps(whole))
    config = dict.fromkeys(SPECIAL_TOKENS) | dict(named())
    if draw.random() < 0.4:
        decoder = decoder_of(backend)
        for index in list(decoder):
            if draw.random() < 0.3:
                decoder[index] |= {flag: draw.random() < 0.5 for flag in flags}
        decoder[str(backend.get_vocab_size() + draw.randrange(3))] = token()
        config["added_tokens_decoder"] = decoder
    save_model(directory, backend, **config)
    if draw.random() < 0.4:
        special = {name: [t for t in v if isinstance(t, str)] if isinstance(v, list) else v for name, v in named()}
        write_json(directory / "special_tokens_map.json", special)
    if draw.random() < 0.3:
        size = backend.get_vocab_size()
        write_json(directory / "added_tokens.json", {draw.choice(contents): size + number for number in range(2)})


@pytest.mark.parametrize("first", range(0, 200, 50))
def test_any_declarations(tmp_path: Path, first: int) -> None:
    for seed in range(first, first + 50):
        any_directory(tmp_path / str(seed), seed)
        tokenizer = load_tokenizer(str(tmp_path / str(seed)))
        assert tokenizer.unchecked is None
        check_equal(tokenizer, loaded_by_transformers(tmp_path / str(seed)))
