"""Which loader reads a directory, and what is said where none can."""

from __future__ import annotations

import importlib.util
import io
import json
import re
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tokenizers

from finetooth.errors import FinetoothError, MissingExtraError, TokenizerError
from finetooth.messages import set_language
from finetooth.tokenizer import Tokenizer, from_transformers, load_tokenizer
from tests.small_tokenizers import (
    KINDS,
    SPECIAL_TOKENS,
    byte_bpe,
    copy_of,
    llama_bpe,
    save_model,
    sentences,
    unigram,
    write_json,
)

WITH_TRAIN = 'pip install "finetooth[train]"'


@pytest.fixture(name="hide")
def hide_packages(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return what makes packages look as if they were not installed."""
    find_spec = importlib.util.find_spec

    def hide(*packages: str) -> None:
        def find(name: str, package: str | None = None) -> ModuleSpec | None:
            return None if name in packages else find_spec(name, package)

        monkeypatch.setattr(importlib.util, "find_spec", find)

    return hide


def ids(tokenizer: Tokenizer, text: str, *, add_special_tokens: bool = True) -> list[int]:
    (encoding,) = tokenizer.encode([text], add_special_tokens=add_special_tokens)
    found: list[int] = encoding.ids
    return found


# Which loader ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["PreTrainedTokenizerFast", "TokenizersBackend"])
def test_the_generic_class_is_read_without_transformers(tmp_path: Path, name: str) -> None:
    save_model(tmp_path, llama_bpe(), tokenizer_class=name)
    tokenizer = load_tokenizer(str(tmp_path))
    assert (tokenizer.loader, tokenizer.unchecked, tokenizer.tokenizer_class) == ("tokenizers", None, name)
    assert tokenizer.name == str(tmp_path)
    assert tokenizer.special_tokens == SPECIAL_TOKENS


def test_a_bare_tokenizer_json_is_read_without_transformers(tmp_path: Path) -> None:
    llama_bpe().save(str(tmp_path / "tokenizer.json"))
    tokenizer = load_tokenizer(str(tmp_path / "tokenizer.json"))
    assert (tokenizer.loader, tokenizer.unchecked) == ("tokenizers", None)
    assert tokenizer.special_tokens == {}


def test_the_class_may_stand_in_the_model_s_configuration(tmp_path: Path) -> None:
    save_model(tmp_path, llama_bpe(), tokenizer_class=None)
    write_json(tmp_path / "config.json", {"model_type": "llama", "tokenizer_class": "TokenizersBackend"})
    tokenizer = load_tokenizer(str(tmp_path))
    assert (tokenizer.unchecked, tokenizer.tokenizer_class) == (None, "TokenizersBackend")


@pytest.mark.parametrize(
    ("tokenizer_config", "model_config", "reason"),
    [
        ({"tokenizer_class": "LlamaTokenizer"}, {}, "tokenizer_class is LlamaTokenizer"),
        ({"tokenizer_class": None}, {"model_type": "llama"}, "names no tokenizer_class"),
        ({"tokenizer_class": None}, {"tokenizer_class": "GPT2Tokenizer"}, "tokenizer_class is GPT2Tokenizer"),
        ({}, {"model_type": "qwen2"}, "replaces the tokenizer class of model type qwen2"),
        ({}, {"model_type": "x", "model_name": "y"}, "replaces the tokenizer class of model type y"),
        ({"auto_map": {"AutoTokenizer": [None, "own.Own"]}}, {}, "auto_map"),
        ({"fast_tokenizer_files": ["tokenizer.9.0.0.json"]}, {}, "fast_tokenizer_files"),
        ({"fix_mistral_regex": True}, {}, "fix_mistral_regex"),
    ],
    ids=str,
)
def test_what_the_files_leave_to_transformers_is_unchecked_without_it(
    tmp_path: Path,
    hide: Callable[..., None],
    tokenizer_config: dict[str, Any],
    model_config: dict[str, Any],
    reason: str,
) -> None:
    save_model(tmp_path, llama_bpe(), **tokenizer_config)
    write_json(tmp_path / "config.json", model_config)
    forced = load_tokenizer(str(tmp_path), loader="tokenizers")
    assert (forced.loader, reason in str(forced.unchecked)) == ("tokenizers", True)
    hide("transformers")
    fallen_back = load_tokenizer(str(tmp_path))
    assert (fallen_back.loader, fallen_back.unchecked) == ("tokenizers", forced.unchecked)


def test_a_model_type_that_is_no_string_is_no_error(tmp_path: Path) -> None:
    save_model(tmp_path, llama_bpe())
    write_json(tmp_path / "config.json", {"model_type": ["llama"]})
    assert load_tokenizer(str(tmp_path)).unchecked is None


def test_transformers_is_asked_for_and_absent(tmp_path: Path, hide: Callable[..., None]) -> None:
    save_model(tmp_path, llama_bpe())
    hide("transformers")
    with pytest.raises(MissingExtraError) as caught:
        load_tokenizer(str(tmp_path), loader="transformers")
    assert "transformers" in caught.value.what
    assert (caught.value.where, caught.value.help) == (str(tmp_path), WITH_TRAIN)


def test_truncation_and_padding_of_the_file_are_not_done(tmp_path: Path) -> None:
    backend = copy_of(llama_bpe())
    backend.enable_truncation(3)
    backend.enable_padding(length=50, pad_id=3, pad_token="<pad>")
    for loader in ("tokenizers", "transformers"):
        tokenizer = load_tokenizer(str(save_model(tmp_path / loader, backend)), loader=loader)
        assert ids(tokenizer, "the cat drinks tea") == llama_bpe().encode("the cat drinks tea").ids


# What is no tokenizer -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loader", ["auto", "tokenizers", "transformers"])
@pytest.mark.parametrize("tokenizer_class", [None, "PreTrainedTokenizerFast", "LlamaTokenizer"])
def test_a_directory_without_a_vocabulary(tmp_path: Path, loader: Any, tokenizer_class: str | None) -> None:
    # transformers 5.23 makes a LlamaTokenizer of nothing, which turns every text into the EOS.
    if tokenizer_class is not None:
        write_json(tmp_path / "tokenizer_config.json", {"tokenizer_class": tokenizer_class})
    with pytest.raises(TokenizerError, match="no tokenizer in this directory") as caught:
        load_tokenizer(str(tmp_path), loader=loader)
    assert caught.value.where == str(tmp_path)


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b"", ":1"),
        (b'{\n "version": "1.0",\n oops', ":3"),
        (b"[]", None),
        (b'{"version": "1.0"}', None),
        (
            b'{"version": "1.0", "added_tokens": [], "model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]}}',
            None,
        ),
        (b"\xff\xfe", None),
    ],
)
def test_a_damaged_tokenizer_json(tmp_path: Path, content: bytes, place: str | None) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(TokenizerError, match=r"^tokenizer\.json is damaged: ") as caught:
        load_tokenizer(str(tmp_path))
    assert str(caught.value.where).startswith(str(path))
    if place is not None:
        assert caught.value.where == f"{path}{place}"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tokenizer_config.json", {"added_tokens_decoder": {"2": "</s>"}}),
        ("tokenizer_config.json", {"added_tokens_decoder": ["</s>"]}),
        ("tokenizer_config.json", {"added_tokens_decoder": {"two": {"content": "</s>"}}}),
        ("tokenizer_config.json", {"eos_token": 2}),
        ("tokenizer_config.json", {"eos_token": {"text": "</s>"}}),
        ("tokenizer_config.json", {"additional_special_tokens": [7]}),
        ("tokenizer_config.json", {"extra_special_tokens": "</s>"}),
        ("special_tokens_map.json", {"eos_token": {"text": "</s>"}}),
        ("added_tokens.json", {"<new>": "700"}),
    ],
    ids=str,
)
def test_a_declaration_that_is_no_token(tmp_path: Path, name: str, content: dict[str, Any]) -> None:
    save_model(tmp_path, byte_bpe())
    write_json(tmp_path / name, {"tokenizer_class": "TokenizersBackend", **content} if "config" in name else content)
    with pytest.raises(TokenizerError, match="declares no token: ") as caught:
        load_tokenizer(str(tmp_path))
    assert caught.value.where == str(tmp_path / name)


def test_flags_are_read_without_a_word_on_stdout(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    token = {"__type": "AddedToken", "content": "<new>", "lstrip": True, "rstrip": False, "id": 9}
    save_model(tmp_path, byte_bpe(), eos_token=token, additional_special_tokens=[token | {"content": "<more>"}])
    tokenizer = load_tokenizer(str(tmp_path))
    assert tokenizer.eos_token == "<new>"
    assert tokenizer.added_tokens[700].lstrip
    assert tokenizer.token_id("eos_token") == 700
    assert capfd.readouterr().out == ""


def test_a_character_that_no_piece_stands_for(tmp_path: Path) -> None:
    whole = json.loads(unigram().to_str())
    backend = copy_of(unigram(), model=whole["model"] | {"unk_id": None})
    tokenizer = load_tokenizer(str(save_model(tmp_path, backend)))
    for way in (tokenizer.encode, tokenizer.encode_ids):
        with pytest.raises(TokenizerError, match=r"cannot encode this text: .*unk_id"):
            way(["🍵"], add_special_tokens=False)


# Vocabularies that have to be converted -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sentencepiece_model() -> bytes:
    sentencepiece = pytest.importorskip("sentencepiece")
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences()),
        model_writer=written,
        vocab_size=600,
        model_type="bpe",
        byte_fallback=True,
        character_coverage=0.99,
        hard_vocab_limit=False,
        num_threads=1,
        minloglevel=2,
    )
    return written.getvalue()


@pytest.fixture
def sentencepiece_directory(tmp_path: Path, sentencepiece_model: bytes) -> Path:
    (tmp_path / "tokenizer.model").write_bytes(sentencepiece_model)
    write_json(tmp_path / "tokenizer_config.json", {"tokenizer_class": "LlamaTokenizer", "eos_token": "</s>"})
    return tmp_path


def test_a_sentencepiece_model_is_converted_by_transformers(sentencepiece_directory: Path) -> None:
    pytest.importorskip("google.protobuf")
    tokenizer = load_tokenizer(str(sentencepiece_directory))
    assert (tokenizer.loader, tokenizer.tokenizer_class, tokenizer.unchecked) == (
        "transformers",
        "LlamaTokenizer",
        None,
    )
    found = ids(tokenizer, "the cat 🍵。</s>", add_special_tokens=False)
    assert found[-1] == tokenizer.eos_id
    assert b"".join(tokenizer.piece_bytes(token_id) or b"" for token_id in found) == " the cat 🍵。</s>".encode()


@pytest.mark.parametrize("absent", ["sentencepiece", "google.protobuf"])
def test_what_transformers_converts_with_is_named(
    sentencepiece_directory: Path, hide: Callable[..., None], monkeypatch: pytest.MonkeyPatch, absent: str
) -> None:
    from transformers import AutoTokenizer

    def refuse(*_: object, **__: object) -> None:
        raise ValueError("`tiktoken` is required to read a `tiktoken` file.")

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", refuse)
    hide(absent)
    with pytest.raises(MissingExtraError, match=r"tokenizer\.model with sentencepiece and protobuf") as caught:
        load_tokenizer(str(sentencepiece_directory))
    assert caught.value.help == "pip install sentencepiece protobuf"


@pytest.mark.parametrize("loader", ["auto", "tokenizers"])
@pytest.mark.parametrize("name", ["tokenizer.model", "vocab.json"])
def test_a_vocabulary_to_convert_needs_transformers(
    tmp_path: Path, hide: Callable[..., None], loader: Any, name: str
) -> None:
    (tmp_path / name).touch()
    hide("transformers")
    with pytest.raises(MissingExtraError, match=rf"make the tokenizer from {re.escape(name)}\n") as caught:
        load_tokenizer(str(tmp_path), loader=loader)
    assert (caught.value.where, caught.value.help) == (str(tmp_path), WITH_TRAIN)


def test_a_vocabulary_to_convert_is_not_for_the_loader_tokenizers(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").touch()
    with pytest.raises(TokenizerError, match=r"no tokenizer\.json") as caught:
        load_tokenizer(str(tmp_path), loader="tokenizers")
    assert caught.value.help == "add `--loader transformers`"


def test_what_transformers_refuses(tmp_path: Path) -> None:
    save_model(tmp_path, byte_bpe(), tokenizer_class="T5Tokenizer")
    with pytest.raises(TokenizerError, match=r"transformers cannot load this tokenizer: .") as caught:
        load_tokenizer(str(tmp_path))
    assert "\n" not in caught.value.what
    assert caught.value.help == "add `--loader tokenizers` to read tokenizer.json alone"


def test_code_of_its_own_is_neither_run_nor_asked_about(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(*_: object) -> str:
        raise AssertionError("asked on the terminal")

    monkeypatch.setattr("builtins.input", ask)
    config = {"tokenizer_class": "OwnTokenizer", "auto_map": {"AutoTokenizer": [None, "own.OwnTokenizer"]}}
    save_model(tmp_path, byte_bpe(), **config)
    (tmp_path / "own.py").write_text("raise AssertionError('this was run')\n", encoding="utf-8")
    with pytest.raises(TokenizerError, match="custom code"):
        load_tokenizer(str(tmp_path))
    assert ids(load_tokenizer(str(tmp_path), loader="tokenizers"), "a</s>")[-1] == 2


# From transformers ----------------------------------------------------------------------------------------------------


def loaded_by_transformers(tmp_path: Path, backend: tokenizers.Tokenizer, **config: Any) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(save_model(tmp_path, backend, **config)))


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_loaded_tokenizer_is_taken_as_it_is(tmp_path: Path, kind: str) -> None:
    loaded = loaded_by_transformers(tmp_path, KINDS[kind](), chat_template="hi {{ eos_token }}")
    tokenizer = from_transformers(loaded)
    assert (tokenizer.name, tokenizer.loader, tokenizer.unchecked) == (str(tmp_path), "transformers", None)
    assert tokenizer.tokenizer_class == "TokenizersBackend"
    assert tokenizer.special_tokens == SPECIAL_TOKENS
    assert tokenizer.chat_templates == {"default": "hi {{ eos_token }}"}
    text = "the cat\n お嬢様 🍵</s>"
    assert ids(tokenizer, text) == loaded(text)["input_ids"]
    assert from_transformers(loaded, name="mine").name == "mine"


def test_named_chat_templates_are_taken(tmp_path: Path) -> None:
    named = [{"name": "default", "template": "a"}, {"name": "rag", "template": "b"}]
    assert from_transformers(loaded_by_transformers(tmp_path, byte_bpe(), chat_template=named)).chat_templates == {
        "default": "a",
        "rag": "b",
    }


def test_calls_of_a_live_tokenizer_change_nothing_here(tmp_path: Path) -> None:
    loaded = loaded_by_transformers(tmp_path, byte_bpe())
    tokenizer = from_transformers(loaded)
    text = "the cat drinks a cup of tea"
    whole = loaded(text)["input_ids"]
    cut = loaded(text, truncation=True, max_length=2, padding="max_length")["input_ids"]
    assert len(cut) == 2 < len(whole)
    assert ids(tokenizer, text) == ids(from_transformers(loaded), text) == whole
    # Nor does finetooth change the tokenizer of a Trainer.
    assert loaded.backend_tokenizer.truncation is not None


def test_splitting_special_tokens_is_taken_over(tmp_path: Path) -> None:
    loaded = loaded_by_transformers(tmp_path, byte_bpe(), split_special_tokens=True)
    assert ids(from_transformers(loaded), "a</s>") == loaded("a</s>")["input_ids"]
    assert 2 not in ids(from_transformers(loaded), "a</s>")


def test_a_processor_gives_its_tokenizer_and_its_own_template(tmp_path: Path) -> None:
    loaded = loaded_by_transformers(tmp_path, byte_bpe(), chat_template="text")
    tokenizer = from_transformers(SimpleNamespace(tokenizer=loaded, chat_template="vision"))
    assert tokenizer.chat_templates == {"default": "vision"}
    assert ids(tokenizer, "a</s>") == loaded("a</s>")["input_ids"]


def test_a_processor_s_template_is_found_beside_a_tokenizer_that_transformers_loads(tmp_path: Path) -> None:
    save_model(tmp_path, byte_bpe())
    write_json(tmp_path / "chat_template.json", {"chat_template": "vision"})
    for loader in ("tokenizers", "transformers"):
        assert load_tokenizer(str(tmp_path), loader=loader).chat_templates == {"default": "vision"}


@pytest.mark.filterwarnings("ignore:This sequence already has")
def test_a_tokenizer_in_python_is_refused() -> None:
    from transformers import ByT5Tokenizer

    with pytest.raises(TokenizerError, match="ByT5Tokenizer does not run on the tokenizers library") as caught:
        from_transformers(ByT5Tokenizer())
    assert caught.value.help is not None


def test_what_is_no_tokenizer_is_refused() -> None:
    with pytest.raises(TokenizerError, match="str does not run"):
        from_transformers("a name")


# Words ----------------------------------------------------------------------------------------------------------------


def test_errors_are_said_in_japanese_too(tmp_path: Path) -> None:
    set_language("ja")
    with pytest.raises(FinetoothError, match="トークナイザがありません"):
        load_tokenizer(str(tmp_path))
