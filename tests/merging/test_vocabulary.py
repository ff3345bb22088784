"""Models with different vocabularies: whose embedding a token gets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from torch import Tensor

import finetooth
from finetooth.errors import FinetoothError
from finetooth.merging.working import Pace
from tests.merging.toys import read_weights, weights, write_model

LETTERS = list("abcdefghij")
EMBEDDINGS, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def tokenizer(letters: list[str], special: list[str], merges: list[tuple[str, str]] | None = None) -> Tokenizer:
    merges = merges or []
    pieces = letters + ["".join(pair) for pair in merges]
    made = Tokenizer(BPE(vocab={piece: index for index, piece in enumerate(pieces)}, merges=merges))
    made.pre_tokenizer = ByteLevel(add_prefix_space=False)
    made.add_special_tokens([AddedToken(token) for token in special])
    return made


TOKENIZERS = {
    "base": tokenizer(LETTERS, ["<s>", "</s>"]),
    "a": tokenizer(LETTERS[::-1], ["</s>", "<s>", "<a>", "<both>"]),
    "b": tokenizer(LETTERS, ["<both>", "<s>", "</s>"], [("a", "b")]),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("vocabularies")
    for number, (name, made) in enumerate(TOKENIZERS.items()):
        size = made.get_vocab_size()
        write_model(root / name, weights(number, vocab=size), vocab=size)
        made.save(str(root / name / "tokenizer.json"))
        (root / name / "tokenizer_config.json").write_text(f'{{"chat_template": "{name}"}}')
    return root


def merge(root: Path, output: Path, names: str = "ab", **more: Any) -> tuple[Path, dict[str, int], dict[str, Tensor]]:
    config: dict[str, Any] = {
        "merge_method": "linear",
        "models": [{"model": str(root / name)} for name in (["base", *names])],
        "base_model": str(root / "base"),
        "parameters": {"weight": 1.0},
        **more,
    }
    directory = finetooth.merge(config, output, pace=Pace(threads=1, chunk=4096))
    vocabulary = Tokenizer.from_file(str(directory / "tokenizer.json")).get_vocab()
    return directory, vocabulary, read_weights(directory)


def rows(root: Path, name: str, tensor: str = EMBEDDINGS) -> dict[str, Tensor]:
    values = read_weights(root / name)[tensor]
    return {token: values[index] for token, index in TOKENIZERS[name].get_vocab().items()}


def test_the_base_tokenizer(root: Path, tmp_path: Path) -> None:
    directory, vocabulary, merged = merge(root, tmp_path / "merged", tokenizer_source="base")
    assert (directory / "tokenizer.json").read_bytes() == (root / "base" / "tokenizer.json").read_bytes()
    assert json.loads((directory / "config.json").read_text())["vocab_size"] == len(vocabulary) == 12
    for tensor in (EMBEDDINGS, HEAD):
        base, a, b = (rows(root, name, tensor) for name in ("base", "a", "b"))
        for token, index in vocabulary.items():
            torch.testing.assert_close(merged[tensor][index], (base[token] + a[token] + b[token]) / 3)


def test_the_union(root: Path, tmp_path: Path) -> None:
    directory, vocabulary, merged = merge(root, tmp_path / "merged", tokenizer_source="union")
    assert set(vocabulary) == {token for made in TOKENIZERS.values() for token in made.get_vocab()}
    assert {token: vocabulary[token] for token in TOKENIZERS["base"].get_vocab()} == TOKENIZERS["base"].get_vocab()
    base, a, b = (rows(root, name) for name in ("base", "a", "b"))
    embeddings = merged[EMBEDDINGS]
    torch.testing.assert_close(embeddings[vocabulary["<a>"]], a["<a>"])  # one model alone has it
    both = (a["<both>"] + b["<both>"]) / 2
    torch.testing.assert_close(embeddings[vocabulary["<both>"]], both)
    torch.testing.assert_close(embeddings[vocabulary["ab"]], b["ab"])
    torch.testing.assert_close(embeddings[vocabulary["c"]], (base["c"] + a["c"] + b["c"]) / 3)
    united = Tokenizer.from_file(str(directory / "tokenizer.json"))
    assert united.encode("<a>abc<both>").tokens == ["<a>", "ab", "c", "<both>"]
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

    model = AutoModelForCausalLM.from_pretrained(directory)
    opened = PreTrainedTokenizerFast.from_pretrained(directory)
    assert model.get_input_embeddings().weight.shape[0] == len(opened) == len(vocabulary)


def test_a_model_s_tokenizer(root: Path, tmp_path: Path) -> None:
    directory, vocabulary, _ = merge(root, tmp_path / "merged", tokenizer_source=str(root / "a"))
    assert vocabulary == TOKENIZERS["a"].get_vocab()
    assert (directory / "tokenizer_config.json").read_bytes() == (root / "a" / "tokenizer_config.json").read_bytes()


def test_sources_of_single_tokens(root: Path, tmp_path: Path) -> None:
    tokens = {
        "<a>": {"source": {"kind": "model_token", "model": str(root / "b"), "token": "c"}},
        "<both>": {"source": str(root / "b")},
        "<s>": {"source": str(root / "a"), "force": True},
    }
    _, vocabulary, merged = merge(root, tmp_path / "merged", tokenizer={"source": "union", "tokens": tokens})
    base, a, b = (rows(root, name) for name in ("base", "a", "b"))
    embeddings = merged[EMBEDDINGS]
    del base
    torch.testing.assert_close(embeddings[vocabulary["<s>"]], a["<s>"])
    torch.testing.assert_close(embeddings[vocabulary["<a>"]], (a["<a>"] + 2 * b["c"]) / 3)
    torch.testing.assert_close(embeddings[vocabulary["<both>"]], (a["<both>"] + 2 * b["<both>"]) / 3)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ({"<nowhere>": {"source": "base"}}, "no token of the merged model"),
        ({"<a>": {"source": {"kind": "model_token", "model": "base", "token": "<a>"}}}, "has no token `<a>`"),
        ({"<a>": {"source": {"kind": "model_token", "model": "base", "token_id": 999}}}, "has no token `999`"),
    ],
)
def test_tokens_that_are_not_there(
    tokens: Any, message: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    with pytest.raises(FinetoothError, match=message):
        merge(Path(), tmp_path / "merged", tokenizer={"source": "union", "tokens": tokens})


def test_tokenizers_that_cannot_be_united(root: Path, tmp_path: Path) -> None:
    other = Tokenizer(BPE(vocab={"z": 0}, merges=[]))
    write_model(tmp_path / "other", weights(9, vocab=1), vocab=1)
    other.save(str(tmp_path / "other" / "tokenizer.json"))
    models = [{"model": str(root / "base")}, {"model": str(tmp_path / "other")}]
    with pytest.raises(FinetoothError, match="differ in more than their tokens"):
        merge(root, tmp_path / "merged", models=models, tokenizer_source="union")
    (tmp_path / "other" / "tokenizer.json").unlink()
    with pytest.raises(FinetoothError, match=r"no tokenizer\.json"):
        merge(root, tmp_path / "again", models=models, tokenizer_source="union")


@pytest.mark.parametrize(
    ("wanted", "expected"), [("auto", "a"), ("{{ messages }}", "{{ messages }}"), ("chatml", None)]
)
def test_the_chat_template(wanted: str, expected: str | None, root: Path, tmp_path: Path) -> None:
    models = [{"model": str(root / name)} for name in ("base", "a")]
    (tmp_path / "a2").mkdir()
    for path in (root / "a").iterdir():
        (tmp_path / "a2" / path.name).write_bytes(path.read_bytes())
    models.append({"model": str(tmp_path / "a2")})
    directory, _, _ = merge(root, tmp_path / "merged", models=models, tokenizer_source="base", chat_template=wanted)
    text = (directory / "chat_template.jinja").read_text()
    assert text == expected if expected else "<|im_start|>" in text


def test_a_template_that_does_not_exist(root: Path, tmp_path: Path) -> None:
    with pytest.raises(FinetoothError, match=r"chatmk(.|\n)*chatml"):
        merge(root, tmp_path / "merged", tokenizer_source="base", chat_template="chatmk")
