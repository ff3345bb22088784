"""One function makes every prompt: what is trained is what is asked, id by id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetooth.checking import check_records
from finetooth.errors import DataError
from finetooth.labels import Setup
from finetooth.personas.building import BuildReport, build_rows, turns_of
from finetooth.personas.prompt import PersonaPrompt
from finetooth.personas.sheet import Lookup, PromptTemplates
from finetooth.probing.prompts import prompts_of_records
from finetooth.records import read_records, records_of
from finetooth.rules import select_rules
from finetooth.types import Record
from tests.personas.personas import SETUPS, demo_persona, demo_records, llama2
from tests.shared_data import SHARED, needs_shared


def turns(*contents: str) -> list[dict[str, Any]]:
    return [{"role": ("user", "assistant")[index % 2], "content": one} for index, one in enumerate(contents)]


def assert_trained_is_asked(records: Sequence[Record], language: str, setup: Setup) -> list[dict[str, Any]]:
    """Hold every row's masked prefix against the inference prompt, which is made of the turns before the answer."""
    prompt = PersonaPrompt(demo_persona(language), setup.tokenizer)
    report = BuildReport()
    rows = list(build_rows(records, prompt, report))
    assert (report.num_rows, report.num_refused) == (len(records), 0)
    trained = list(prompts_of_records(records_of(rows), setup))
    assert len(trained) == len(rows)
    assert setup.template is not None
    for record, learned in zip(records, trained, strict=True):
        asked = prompt.messages(turns_of(record)[:-1])
        text = setup.template.render(asked.messages, add_generation_prompt=True)
        assert list(setup.tokenizer.encode([text], add_special_tokens=False)[0].ids) == learned.input_ids, record.where
    return rows


def assert_no_finding(rows: Sequence[dict[str, Any]], setup: Setup) -> None:
    """Let the rules look for prompts that are no prefix, and for blank slots."""
    rules = select_rules(("LAB008", "DAT005"), ())
    assert {rule.code for rule in rules} == {"LAB008", "DAT005"}
    assert check_records(records_of(rows), [setup], rules).findings == ()


@pytest.mark.parametrize("form", list(SETUPS))
@pytest.mark.parametrize("language", ["ja", "en"])
def test_demo_rows_are_trained_as_they_are_asked(language: str, form: str) -> None:
    setup = SETUPS[form]()
    rows = assert_trained_is_asked(demo_records(language), language, setup)
    assert_no_finding(rows, setup)


@needs_shared
@pytest.mark.parametrize("form", list(SETUPS))
@pytest.mark.parametrize("name", ["ojousamatalkscript200", "ojousamatalkscript200_gpt-3.5-1106ver"])
def test_real_rows_are_trained_as_they_are_asked(name: str, form: str) -> None:
    setup = SETUPS[form]()
    records = list(read_records(SHARED / "data" / "ojousama" / f"{name}.jsonl"))
    rows = assert_trained_is_asked(records, "ja", setup)
    assert_no_finding(rows, setup)


def test_a_blank_slot_would_be_found() -> None:
    """The assertion above can fail: the same rows with a heading over nothing do not pass it."""
    rows = [{"messages": turns("【参考情報】\n\n質問: お元気ですか。", "ええ、元気ですわ。")}]
    with pytest.raises(AssertionError):
        assert_no_finding(rows, llama2())


_LETTERS = st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"])
WORDS = st.text(_LETTERS | st.sampled_from("犬猫の「」{}%\n 趣味Otaru"), max_size=30)


@settings(max_examples=60, deadline=None)
@given(contents=st.lists(WORDS, min_size=1, max_size=7))
def test_a_conversation_s_prompt_is_a_prefix_of_the_next(contents: list[str]) -> None:
    prompt = PERSONA_PROMPT
    whole = prompt.messages(turns(*contents))
    for length in range(1, len(contents) + 1):
        part = prompt.messages(turns(*contents[:length]))
        assert whole.messages[: len(part.messages)] == part.messages
        assert whole.facts[: len(part.facts)] == part.facts


@settings(max_examples=60, deadline=None)
@given(words=WORDS)
def test_a_user_s_words_stand_in_the_message_as_they_are(words: str) -> None:
    content = PERSONA_PROMPT.messages(turns(words)).messages[-1]["content"]
    assert content == words or content.endswith(f"\n\n{words}")


PERSONA_PROMPT = PersonaPrompt(demo_persona("ja"), llama2().tokenizer)


def test_facts_stand_in_the_turn_that_asks_for_them() -> None:
    prompted = PERSONA_PROMPT.messages(turns("チェロは弾ける？", "ええ。", "こんにちは。"))
    assert [[fact.group for fact in facts] for facts in prompted.facts] == [["趣味"], []]
    assert [message["role"] for message in prompted.messages] == ["system", "user", "assistant", "user"]
    assert prompted.messages[1]["content"] == (
        "【参考情報】\n・チェロを弾くと、犬のおはぎが眠ります。\n\nチェロは弾ける？"
    )
    assert prompted.messages[3]["content"] == "こんにちは。"


def test_a_system_message_of_the_turns_gives_way() -> None:
    given = [{"role": "system", "content": "Other."}, *turns("Hello", "Hi"), {"role": "developer", "content": "More."}]
    prompted = PERSONA_PROMPT.messages(given)
    assert prompted.num_replaced == 2
    assert prompted.messages[0] == PERSONA_PROMPT.system_message
    assert [message["role"] for message in prompted.messages] == ["system", "user", "assistant"]


def test_content_in_parts_and_further_keys() -> None:
    given: list[dict[str, Any]] = [
        {"role": "user", "content": [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]},
        {"role": "assistant", "content": "Hi", "weight": 0},
    ]
    prompted = PERSONA_PROMPT.messages(given)
    assert prompted.messages[1] == {"role": "user", "content": "Hello"}
    assert prompted.messages[2] == {"role": "assistant", "content": "Hi", "weight": 0}


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ([], "no turn of a user"),
        ([{"role": "system", "content": "x"}], "no turn of a user"),
        ([{"role": "assistant", "content": "x"}], "turn 0 is of `assistant`, out of turn"),
        (turns("a", "b") + turns("c") + turns("d"), "turn 3 is of `user`, out of turn"),
        ([*turns("a"), {"role": "tool", "content": "x"}], "turn 1 is of `tool`"),
        ([*turns("a"), {"role": "assistant", "content": None, "tool_calls": [{}]}], "turn 1 is of `assistant`"),
    ],
)
def test_turns_that_no_persona_has(given: list[dict[str, Any]], what: str) -> None:
    with pytest.raises(DataError, match=what):
        PERSONA_PROMPT.messages(given)


def test_no_facts_are_sought_where_none_are_shown() -> None:
    persona = demo_persona("ja")
    for quiet in (
        replace(persona, lookup=Lookup(top_k=0)),
        replace(persona, prompt=PromptTemplates(user="{{ user }}")),
        replace(persona, facts={}),
    ):
        prompted = PersonaPrompt(quiet, llama2().tokenizer).messages(turns("チェロは弾ける？"))
        assert prompted.facts == ((),)
        assert prompted.messages[1]["content"] == "チェロは弾ける？"
