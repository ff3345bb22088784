from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer

from finetooth.fix.added_tokens import repair_added_tokens
from finetooth.fix.edits import Edit, Left
from finetooth.rules.facts import CONTEXTS
from tests.fix.stages import DIALOGUE, bench_of, demo
from tests.small_tokenizers import copy_of, llama_bpe, save_model


def normalized_flags(path: Path) -> dict[str, bool]:
    return {token["content"]: token["normalized"] for token in json.loads(path.read_text("utf-8"))["added_tokens"]}


def test_every_special_token_is_whole_after_every_character(tmp_path: Path) -> None:
    bench = bench_of(demo("split", tmp_path / "m"), [DIALOGUE], tmp_path)
    (edit,) = repair_added_tokens(bench)
    assert isinstance(edit, Edit)
    tokenizer = Tokenizer.from_file(str(bench.copy.directory / "tokenizer.json"))
    for literal, token_id in (("<s>", 1), ("</s>", 2)):
        for before in CONTEXTS:
            assert tokenizer.encode(before + literal, add_special_tokens=False).ids[-1] == token_id
    assert normalized_flags(bench.copy.directory / "tokenizer.json") == {"<unk>": False, "<s>": False, "</s>": False}


def test_nothing_else_of_the_file_changes(tmp_path: Path) -> None:
    bench = bench_of(demo("split", tmp_path / "m"), [DIALOGUE], tmp_path)
    list(repair_added_tokens(bench))
    (change,) = bench.copy.changes()
    assert change.name == "tokenizer.json"
    assert change.after == change.before.replace('"normalized":true', '"normalized":false')


def test_a_healthy_tokenizer_is_left_alone(tmp_path: Path) -> None:
    bench = bench_of(demo("supervised", tmp_path / "m"), [DIALOGUE], tmp_path)
    assert list(repair_added_tokens(bench)) == []
    assert bench.copy.changes() == []


def test_every_file_that_declares_the_token_is_changed(tmp_path: Path) -> None:
    flags = {"lstrip": False, "rstrip": False, "single_word": False, "normalized": True, "special": True}
    model = demo(
        "split",
        tmp_path / "m",
        tokenizer_config={
            "eos_token": {"__type": "AddedToken", "content": "</s>", **flags},
            "added_tokens_decoder": {
                "0": {"content": "<unk>", **flags},
                "1": {"content": "<s>", **flags},
                "2": {"content": "</s>", **flags},
            },
        },
        special_tokens_map={"eos_token": {"content": "</s>", **flags}},
    )
    bench = bench_of(model, [DIALOGUE], tmp_path)
    (edit,) = repair_added_tokens(bench)
    assert isinstance(edit, Edit)
    config = bench.copy.files.tokenizer_config
    assert not config["eos_token"]["normalized"]
    assert not any(token["normalized"] for token in config["added_tokens_decoder"].values())
    assert not bench.copy.files.json("special_tokens_map.json")["eos_token"]["normalized"]
    assert bench.facts().normalized == {}


def test_words_of_a_user_follow_the_normalizer(tmp_path: Path) -> None:
    tokenizer = copy_of(llama_bpe())
    tokenizer.add_tokens([AddedToken("お嬢様", normalized=True), AddedToken("</s>", normalized=True, special=True)])
    bench = bench_of(save_model(tmp_path / "m", tokenizer), [{"text": "お嬢様。</s>"}], tmp_path)
    (edit,) = repair_added_tokens(bench)
    assert isinstance(edit, Edit)
    flags = normalized_flags(bench.copy.directory / "tokenizer.json")
    assert flags["お嬢様"]
    assert not flags["</s>"]


def test_a_token_that_matches_whole_words_alone(tmp_path: Path) -> None:
    tokenizer = copy_of(llama_bpe())
    tokenizer.add_tokens([AddedToken("</s>", normalized=False, special=True, single_word=True)])
    bench = bench_of(save_model(tmp_path / "m", tokenizer), [{"text": "a</s>"}], tmp_path)
    assert not bench.facts().is_whole_in_context("a", "</s>")
    outcomes = list(repair_added_tokens(bench))
    after = bench.facts()
    assert all(after.is_whole_in_context(before, "</s>") for before in CONTEXTS)
    assert all(isinstance(outcome, Edit) for outcome in outcomes)


def test_what_else_splits_it_is_said(tmp_path: Path) -> None:
    model = demo("split", tmp_path / "m", tokenizer_config={"split_special_tokens": True})
    bench = bench_of(model, [DIALOGUE], tmp_path)
    outcomes = list(repair_added_tokens(bench))
    reasons = [outcome.text for outcome in outcomes if isinstance(outcome, Left)]
    assert any("</s> stays in pieces" in reason and "split_special_tokens" in reason for reason in reasons)


@pytest.mark.parametrize("loader_class", ["PreTrainedTokenizerFast", "TokenizersBackend"])
def test_it_reloads_in_transformers(loader_class: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    model = demo("split", tmp_path / "m", tokenizer_config={"tokenizer_class": loader_class})
    bench = bench_of(model, [DIALOGUE], tmp_path)
    list(repair_added_tokens(bench))
    loaded = AutoTokenizer.from_pretrained(str(bench.copy.directory))
    assert loaded("です。</s>", add_special_tokens=False)["input_ids"][-1] == 2
    loaded.save_pretrained(str(tmp_path / "saved"))
    again = AutoTokenizer.from_pretrained(str(tmp_path / "saved"))
    assert again("です。</s>", add_special_tokens=False)["input_ids"][-1] == 2
