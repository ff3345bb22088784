"""What is masked is what inference supplies, id by id; what is supervised is what the model must generate."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, pre_tokenizers

from finetooth.config import Config, TokenizerConfig
from finetooth.labels import Setup, encode_records, make_setup
from finetooth.records import records_of
from finetooth.template import prompt_text
from finetooth.templates import BUILTIN, TEMPLATES
from finetooth.types import IGNORE_INDEX, Message
from tests.shared_data import SHARED, needs_shared
from tests.small_tokenizers import byte_bpe, copy_of, save_model

_PLACES = ("Paris", "Kyoto", "Oslo", "Lima", "Cairo")
_FORMS = (
    ("What is the capital of country {n}?", "{place}."),
    ("Name one city, and say why.", "{place} is city {n}, since it has a harbour."),
    ("Write two lines about {place}.", "{place} is old.\n\nIt has {n} bridges."),
    ("首都はどこですか（{n}）", "{place} です。お会いできて嬉しいですわ。"),
    ("Print the number {n} in Python", "```python\nprint({n})\n```"),
)


def conversations() -> list[list[Message]]:
    """Return 50 conversations, English and Japanese, half of them with a system message and a turn before."""
    made = []
    for number in range(50):
        question, answer = _FORMS[number % len(_FORMS)]
        place = _PLACES[number // len(_FORMS) % len(_PLACES)]
        turns = [("user", question.format(n=number, place=place)), ("assistant", answer.format(n=number, place=place))]
        if number % 2:
            turns = [("system", "Be brief. 短く。"), ("user", "Hello"), ("assistant", "Hello to you."), *turns]
        made.append([{"role": role, "content": content} for role, content in turns])
    return made


def with_control_tokens(tokenizer: Tokenizer, name: str) -> Tokenizer:
    made = copy_of(tokenizer)
    texts = [text for text in TEMPLATES[name].needs_tokens if made.token_to_id(text) is None]
    made.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in texts])
    return made


def assert_masked_is_the_prompt(setup: Setup) -> None:
    assert setup.template is not None
    for record, encoded in zip(
        records_of([{"messages": turns} for turns in conversations()]),
        encode_records(setup, records_of([{"messages": turns} for turns in conversations()])),
        strict=True,
    ):
        assert record.messages is not None
        supervised = [i for i, label in enumerate(encoded.labels) if label != IGNORE_INDEX]
        expected: list[int] = []
        for index, message in enumerate(record.messages):
            if message["role"] != "assistant":
                continue
            prompt = prompt_text(setup.template, record, index)
            assert prompt is not None
            prompt_ids = setup.tokenizer.encode([prompt], add_special_tokens=False)[0].ids
            assert encoded.input_ids[: len(prompt_ids)] == prompt_ids, "the prompt is no prefix"
            # The model generates from the end of the prompt on, until the first id that stops it.
            end = len(prompt_ids)
            while encoded.input_ids[end] not in stop_ids(setup):
                end += 1
            expected += range(len(prompt_ids), end + 1)
        assert supervised == expected


def stop_ids(setup: Setup) -> set[int]:
    terminators = {"<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>"}
    own = {index for index, token in setup.tokenizer.added_tokens.items() if token.content in terminators}
    return own if setup.template is not None and uses_own_terminator(setup) else set(setup.tokenizer.stop_ids)


def uses_own_terminator(setup: Setup) -> bool:
    assert setup.template is not None
    return TEMPLATES[setup.template.name].terminator is not None


LINE_BREAKS_STAY_TOGETHER = Regex(r"[^\s\w]?\w+| ?[^\s\w]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
"""How Llama 3 and Qwen cut text before BPE, in short: a run of line breaks is one word, whatever comes after it. GPT-2
gives the last one to the next word, so that a prompt which ends on two is no prefix of anything."""


@pytest.mark.parametrize("name", BUILTIN)
def test_byte_level_tokenizer(name: str, tmp_path: Path) -> None:
    words = pre_tokenizers.Split(LINE_BREAKS_STAY_TOGETHER, behavior="isolated")
    as_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer = copy_of(byte_bpe())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, as_bytes])
    save_model(tmp_path, with_control_tokens(tokenizer, name))
    assert_masked_is_the_prompt(make_setup(str(tmp_path), Config(tokenizer=TokenizerConfig(template=name))))


@needs_shared
@pytest.mark.parametrize("name", BUILTIN)
def test_llama_2s_tokenizer(name: str, tmp_path: Path) -> None:
    path = SHARED / "data/tokenizers/llama2-pad-is-unk/tokenizer.json"
    save_model(tmp_path, with_control_tokens(Tokenizer.from_file(str(path)), name))
    assert_masked_is_the_prompt(make_setup(str(tmp_path), Config(tokenizer=TokenizerConfig(template=name))))


@needs_shared
@pytest.mark.parametrize("name", ["vicuna", "llama2"])
def test_the_first_supervised_token_of_a_healthy_row_is_whole(name: str) -> None:
    model = str(SHARED / "data/tokenizers/llama2-pad-is-unk")
    setup = make_setup(model, Config(tokenizer=TokenizerConfig(template=name)))
    turns = [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "Paris"}]
    (encoded,) = encode_records(setup, records_of([{"messages": turns}]))
    supervised = [setup.tokenizer.piece(label) for label in encoded.labels if label != IGNORE_INDEX]
    # Llama 2 writes a space before its terminator, Vicuna none; the model has to generate what there is.
    assert supervised == (["▁Paris", "</s>"] if name == "vicuna" else ["▁Paris", "▁", "</s>"])
