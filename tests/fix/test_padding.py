from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer

from finetooth.fix.edits import Edit, Left
from finetooth.fix.padding import free_token, repair_padding
from tests.fix.stages import DIALOGUE, bench_of, demo, merge
from tests.small_tokenizers import byte_bpe, copy_of, save_model

TEXT = {"text": "hello</s>"}


def with_tokens(folder: Path, *tokens: str, **config: Any) -> Path:
    """Save a tokenizer whose padding is its EOS, with further special tokens."""
    tokenizer = copy_of(byte_bpe())
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in tokens])
    return save_model(folder, tokenizer, **{"pad_token": "</s>", "unk_token": None, **config})


def test_every_file_that_names_padding_is_written(tmp_path: Path) -> None:
    model = demo("masked", tmp_path / "m", special_tokens_map={"pad_token": "</s>", "eos_token": "</s>"})
    bench = bench_of(model, [DIALOGUE], tmp_path)
    (edit,) = repair_padding(bench)
    assert isinstance(edit, Edit)
    files = bench.copy.files
    assert files.tokenizer_config["pad_token"] == files.json("special_tokens_map.json")["pad_token"] == "<unk>"
    assert files.model_config["pad_token_id"] == files.generation_config["pad_token_id"] == 0
    assert list(repair_padding(bench)) == []


def test_a_file_that_is_absent_stays_absent(tmp_path: Path) -> None:
    bench = bench_of(with_tokens(tmp_path / "m"), [TEXT], tmp_path)
    assert [type(outcome) for outcome in repair_padding(bench)] == [Edit]
    assert sorted(path.name for path in bench.copy.directory.iterdir()) == ["tokenizer.json", "tokenizer_config.json"]


@pytest.mark.parametrize(
    ("tokens", "chosen"),
    [
        (("<|endoftext|>", "<|reserved_special_token_7|>", "<|pad|>"), "<pad>"),  # byte_bpe has it already
        (("[PAD]", "<|reserved_special_token_7|>"), "<pad>"),
    ],
)
def test_a_token_named_padding_comes_first(tokens: tuple[str, ...], chosen: str, tmp_path: Path) -> None:
    assert free_token(bench_of(with_tokens(tmp_path / "m", *tokens), [TEXT], tmp_path)) == chosen


@pytest.mark.parametrize(
    ("tokens", "chosen"),
    [
        (("<|endoftext|>", "<|reserved_special_token_7|>"), "<|reserved_special_token_7|>"),
        (("<|endoftext|>", "<|finetune_right_pad_id|>"), "<|finetune_right_pad_id|>"),
        (("<|endoftext|>", "<|extra_12|>"), "<|extra_12|>"),
        (("<unused3>", "<unused12>"), "<unused3>"),
        (("<|endoftext|>",), "<|endoftext|>"),
        (("<|custom|>",), None),
    ],
)
def test_then_reserved_ones(tokens: tuple[str, ...], chosen: str | None, tmp_path: Path) -> None:
    # The row holds <pad>, which is then no longer free.
    bench = bench_of(with_tokens(tmp_path / "m", *tokens), [{"text": "a<pad>b</s>"}], tmp_path)
    assert free_token(bench) == chosen


def test_the_unknown_token_comes_last_and_only_where_no_row_holds_it(tmp_path: Path) -> None:
    free = bench_of(with_tokens(tmp_path / "a", unk_token="<unk>"), [{"text": "a<pad>b</s>"}], tmp_path / "1")
    assert free_token(free) == "<unk>"
    used = bench_of(with_tokens(tmp_path / "b", unk_token="<unk>"), [{"text": "<pad><unk></s>"}], tmp_path / "2")
    assert free_token(used) is None


def test_no_token_at_which_inference_stops(tmp_path: Path) -> None:
    model = with_tokens(tmp_path / "m", "<|endoftext|>", "<|extra_0|>")
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    stops = [2, tokenizer.token_to_id("<pad>"), tokenizer.token_to_id("<|extra_0|>")]
    merge(model / "generation_config.json", {"eos_token_id": stops})
    assert free_token(bench_of(model, [TEXT], tmp_path)) == "<|endoftext|>"


def test_no_token_beyond_the_rows_of_embeddings(tmp_path: Path) -> None:
    model = with_tokens(tmp_path / "m", "<|endoftext|>", "<|extra_0|>")
    size = Tokenizer.from_file(str(model / "tokenizer.json")).get_vocab_size()
    merge(model / "config.json", {"vocab_size": size - 1})
    bench = bench_of(model, [{"text": "a<pad>b</s>"}], tmp_path)
    assert free_token(bench) == "<|endoftext|>"


def test_no_token_that_the_template_prints(tmp_path: Path) -> None:
    model = with_tokens(tmp_path / "m", "<|extra_0|>", "<|extra_1|>")
    (model / "chat_template.jinja").write_text("{% for m in messages %}<pad><|extra_0|>{{ m.content }}</s>{% endfor %}")
    assert free_token(bench_of(model, [TEXT], tmp_path)) == "<|extra_1|>"


def test_where_none_is_free_it_is_said(tmp_path: Path) -> None:
    bench = bench_of(with_tokens(tmp_path / "m"), [{"text": "a<pad>b</s>"}], tmp_path)
    (left,) = repair_padding(bench)
    assert isinstance(left, Left)
    assert "no token of the vocabulary is free" in left.text
    assert bench.copy.changes() == []


def test_padding_that_is_a_stop_token_but_ends_no_answer_is_left(tmp_path: Path) -> None:
    # As in Qwen's instruct models.
    model = with_tokens(tmp_path / "m", "<|endoftext|>", pad_token="<|endoftext|>", eos_token="<|im_end|>")
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    ids = [tokenizer.token_to_id(token) for token in ("<|im_end|>", "<|endoftext|>")]
    merge(model / "generation_config.json", {"eos_token_id": ids})
    bench = bench_of(model, [{"prompt": "a", "completion": "b<|im_end|>"}], tmp_path)
    assert list(repair_padding(bench)) == []


def test_ids_that_disagree_are_written_alike(tmp_path: Path) -> None:
    model = demo("supervised", tmp_path / "m", generation_config={"pad_token_id": 2}, config={"pad_token_id": -1})
    bench = bench_of(model, [DIALOGUE], tmp_path)
    (edit,) = repair_padding(bench)
    assert isinstance(edit, Edit)
    assert edit.name == "padding-id"
    assert bench.copy.files.generation_config["pad_token_id"] == 0
    assert bench.copy.files.model_config["pad_token_id"] == -1


def test_transformers_takes_it(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    bench = bench_of(demo("masked", tmp_path / "m"), [DIALOGUE], tmp_path)
    list(repair_padding(bench))
    loaded = AutoTokenizer.from_pretrained(str(bench.copy.directory))
    assert (loaded.pad_token_id, loaded.eos_token_id) == (0, 2)
    assert len(loaded) == 2000
