"""The ids of an inference prompt begin the ids of the training text, for every answer, on usual tokenizers."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer

from finetooth.templates import BUILTIN
from tests.shared_data import SHARED, needs_shared
from tests.templates.conversations import (
    LLAMA3_PATTERN,
    ROWS,
    answer_indices,
    assistant,
    byte_level,
    render,
    user,
    with_control_tokens,
)

LLAMA2_TOKENIZERS = ["llama2-eos-normalized", "llama2-pad-is-eos", "llama2-pad-is-unk"]


def rows_whose_prompt_is_no_prefix(tokenizer: Tokenizer, name: str) -> list[int]:
    broken = []
    for index, row in enumerate(ROWS):
        ids = tokenizer.encode(render(name, row), add_special_tokens=False).ids
        for answer in answer_indices(row):
            prompt_ids = tokenizer.encode(render(name, row[:answer], prompt=True), add_special_tokens=False).ids
            if ids[: len(prompt_ids)] != prompt_ids:
                broken.append(index)
    return broken


@pytest.mark.parametrize("pattern", [None, LLAMA3_PATTERN], ids=["gpt2", "llama3"])
@pytest.mark.parametrize("name", BUILTIN)
def test_on_byte_level_tokenizers(name: str, pattern: str | None) -> None:
    assert rows_whose_prompt_is_no_prefix(with_control_tokens(byte_level(pattern), name), name) == []


@pytest.mark.parametrize("name", BUILTIN)
def test_on_byte_level_tokenizers_without_the_control_tokens(name: str) -> None:
    # A mark that is cut into pieces must not swallow the first character of what follows either.
    assert rows_whose_prompt_is_no_prefix(byte_level(LLAMA3_PATTERN), name) == []


@needs_shared
@pytest.mark.parametrize("folder", LLAMA2_TOKENIZERS)
@pytest.mark.parametrize("name", BUILTIN)
def test_on_llama2_tokenizers(name: str, folder: str) -> None:
    tokenizer = Tokenizer.from_file(str(SHARED / "data/tokenizers" / folder / "tokenizer.json"))
    assert rows_whose_prompt_is_no_prefix(with_control_tokens(tokenizer, name), name) == []


@pytest.mark.parametrize("name", ["alpaca", "chatml", "ja-instruct", "phi", "qwen"])
def test_an_answer_that_begins_with_a_newline_breaks_a_prompt_that_ends_on_one(name: str) -> None:
    # The documented forms end on a newline; what docs/templates.md warns of is so.
    tokenizer = with_control_tokens(byte_level(LLAMA3_PATTERN), name)
    prompt = tokenizer.encode(render(name, [user("q")], prompt=True), add_special_tokens=False).ids
    ids = tokenizer.encode(render(name, [user("q"), assistant("\nanswer")]), add_special_tokens=False).ids
    assert ids[: len(prompt)] != prompt


@pytest.mark.parametrize("name", ["gemma", "llama2", "llama3", "phi4", "mistral", "vicuna"])
def test_an_answer_that_begins_with_a_newline_breaks_no_other_prompt(name: str) -> None:
    tokenizer = with_control_tokens(byte_level(LLAMA3_PATTERN), name)
    prompt = tokenizer.encode(render(name, [user("q")], prompt=True), add_special_tokens=False).ids
    ids = tokenizer.encode(render(name, [user("q"), assistant("\nanswer")]), add_special_tokens=False).ids
    assert ids[: len(prompt)] == prompt
