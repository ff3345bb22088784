"""The short way to columns gives what the long way gives."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend

from finetooth.config import Config, LabelsConfig
from finetooth.demo import DIALOGUES, data_path
from finetooth.labels import Setup, encode_records, make_setup
from finetooth.labels.columns import encode_columns
from finetooth.records import records_of
from finetooth.tokenizer import Tokenizer
from tests.shared_data import SHARED, needs_shared
from tests.small_tokenizers import byte_bpe, llama_bpe, unigram, wordpiece

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def by_columns(setup: Setup, rows: Iterable[dict[str, Any]]) -> list[tuple[list[int], list[int]]]:
    made = []
    for columns in encode_columns(setup, records_of(rows)):
        start = 0
        for end in columns.ends:
            made.append((columns.input_ids[start:end].tolist(), columns.labels[start:end].tolist()))
            start = end
    return made


def by_records(setup: Setup, rows: Iterable[dict[str, Any]]) -> list[tuple[list[int], list[int]]]:
    encoded = encode_records(setup, records_of(rows))
    return [(one.input_ids, one.labels) for one in encoded if one.dropped is None]


def dialogues() -> list[dict[str, Any]]:
    lines = [line for name in DIALOGUES.values() for line in data_path(name).read_text(encoding="utf-8").splitlines()]
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("way", ["finetooth", "causal-lm", "trl"])
def test_the_demos_dialogues(way: Any, demo_model: str) -> None:
    setup = make_setup(demo_model, Config(labels=LabelsConfig(way=way)))
    rows = dialogues()
    assert by_columns(setup, rows) == by_records(setup, rows)


@needs_shared
@pytest.mark.parametrize("name", ["llama2-eos-normalized", "llama2-pad-is-unk"])
def test_real_dialogues_and_pairs(name: str) -> None:
    setup = make_setup(str(SHARED / "data/tokenizers" / name))
    for stem in ("ojousamatalkscript200", "ojousamatalkscript200_gpt-3.5-1106ver"):
        path: Path = SHARED / "data/ojousama" / f"{stem}.jsonl"
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        assert by_columns(setup, rows) == by_records(setup, rows)


contents = st.text(st.sampled_from("ab. \n。です鷗🦜é\u0301ﬁ　<>|/s"), max_size=25)


@pytest.mark.parametrize("kind", [byte_bpe, llama_bpe, unigram, wordpiece])
@settings(max_examples=60, deadline=None)
@given(turns=st.lists(contents, min_size=2, max_size=5))
def test_any_conversation(kind: Callable[[], Backend], turns: list[str]) -> None:
    roles = ["user", "assistant"] * 3
    messages = [{"role": role, "content": turn} for role, turn in zip(roles, turns, strict=False)]
    tokenizer = Tokenizer(
        name="small", backend=kind(), special_tokens={"eos_token": "</s>"}, chat_templates={"default": CHATML}
    )
    setup = make_setup(tokenizer)
    rows = [{"messages": messages}, {"prompt": messages[:-1], "completion": messages[-1:]}]
    assert by_columns(setup, rows) == by_records(setup, rows)


@given(st.lists(st.booleans(), min_size=1, max_size=8))
def test_rows_of_every_kind_keep_their_order(kinds: list[bool]) -> None:
    pair = {"prompt": "はい、", "completion": "ええ。"}
    turns = {"messages": [{"role": "user", "content": "はい"}, {"role": "assistant", "content": "ええ"}]}
    tokenizer = Tokenizer(
        name="small", backend=llama_bpe(), special_tokens={"eos_token": "</s>"}, chat_templates={"default": CHATML}
    )
    rows = [pair if kind else turns for kind in kinds]
    assert by_columns(make_setup(tokenizer), rows) == by_records(make_setup(tokenizer), rows)
