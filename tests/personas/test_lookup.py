from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest

from finetooth.errors import MissingExtraError
from finetooth.personas.lookup import FactIndex, FoundFact
from finetooth.personas.sheet import FLOOR, Fact, Lookup, Persona
from finetooth.personas.terms import GRAMMAR, Terms, folded_text
from finetooth.tokenizer import Tokenizer, load_tokenizer
from tests.personas.personas import chatml, demo_persona, llama2
from tests.personas.questions import ENGLISH, JAPANESE
from tests.shared_data import SHARED, needs_shared
from tests.small_tokenizers import byte_bpe, llama_bpe, unigram, wordpiece


@cache
def real_llama2() -> Tokenizer:
    return load_tokenizer(str(SHARED / "data" / "tokenizers" / "llama2-pad-is-unk"))


def is_right(fact: str | None, found: tuple[FoundFact, ...]) -> bool:
    if fact is None:
        return not found
    if fact.endswith(":"):
        return any(one.group == fact[:-1] for one in found)
    return any(fact in one.text for one in found)


def num_right(tokenizer: Tokenizer, floor: float) -> int:
    right = 0
    for language, questions in (("ja", JAPANESE), ("en", ENGLISH)):
        index = FactIndex(replace(demo_persona(language), lookup=Lookup(floor=floor)), tokenizer)
        right += sum(is_right(fact, index.find(words)) for words, fact in questions)
    return right


TOKENIZERS: list[object] = [
    pytest.param(lambda: llama2().tokenizer, id="demo"),
    pytest.param(lambda: chatml().tokenizer, id="byte-level"),
    pytest.param(real_llama2, id="llama2", marks=needs_shared),
]


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_hits_and_misses_of_the_demo_s_sheets(tokenizer: Callable[[], Tokenizer]) -> None:
    """The floor stands on a plateau: from 0.1 to 0.3 no more than two questions in a hundred change sides."""
    total = len(JAPANESE) + len(ENGLISH)
    at = {floor: num_right(tokenizer(), floor) for floor in (0.1, 0.2, FLOOR, 0.3)}
    assert total == 84
    assert at[FLOOR] >= 79
    assert max(at.values()) - min(at.values()) <= 2
    # The floor does something: without it, and far above it, more is wrong.
    assert num_right(tokenizer(), 1.5) < at[FLOOR] - 20


def test_no_question_is_asked_twice() -> None:
    assert len({words for words, _ in (*JAPANESE, *ENGLISH)}) == 84


def persona(*facts: str, top_k: int = 3, floor: float = FLOOR, group: str = "g") -> Persona:
    texts = tuple(Fact(text=text) for text in facts)
    return Persona(name="A", system_prompt="B", facts={group: texts}, lookup=Lookup(top_k=top_k, floor=floor))


def test_the_best_come_first_and_ties_stand_in_the_sheet_s_order() -> None:
    boats = ("She has a red boat.", "She has a blue boat.", "A boat is moored here, far from the sea.")
    sheet = persona(*boats, "She bakes.", top_k=4, floor=0.1)
    index = FactIndex(sheet, llama2().tokenizer)
    assert [one.text for one in index.find("boat")] == list(boats)
    assert index.find("blue boat")[0].text == boats[1]
    assert index.find("boat") == index.find("boat") == FactIndex(sheet, llama2().tokenizer).find("Boats, boat; boat!")
    alone = FactIndex(replace(sheet, lookup=Lookup(top_k=1, floor=0.1)), llama2().tokenizer)
    assert [one.text for one in alone.find("boat")] == [boats[0]]


def test_the_group_is_part_of_the_fact() -> None:
    sheet = Persona(
        name="A", system_prompt="B", facts={"hobbies": (Fact(text="She rows."),), "home": (Fact(text="x"),)}
    )
    assert [one.text for one in FactIndex(sheet, llama2().tokenizer).find("Any hobby, any hobbies?")] == ["She rows."]


def test_a_sheet_of_one_fact_and_words_of_nothing() -> None:
    index = FactIndex(persona("She can whistle."), llama2().tokenizer)
    assert [one.text for one in index.find("Can you whistle?")] == ["She can whistle."]
    for words in ("", " \n", "!?", "🙂", "What is it?", "</s>"):
        assert index.find(words) == ()
    assert FactIndex(persona("…", group="!"), llama2().tokenizer).find("Whistle?") == ()


@pytest.mark.parametrize("backend", [byte_bpe, llama_bpe, unigram, wordpiece])
def test_every_kind_of_tokenizer(backend: Callable[[], object]) -> None:
    tokenizer = Tokenizer(name="t", backend=backend())  # type: ignore[arg-type]
    index = FactIndex(persona("She drinks tea.", "A cat sleeps here.", "She has a garden."), tokenizer)
    assert [one.text for one in index.find("Is there a cat?")] == ["A cat sleeps here."]


@pytest.mark.parametrize("backend", [byte_bpe, llama_bpe])
def test_a_kanji_that_the_vocabulary_lacks_is_one_term(backend: Callable[[], object]) -> None:
    tokenizer = Tokenizer(name="t", backend=backend())  # type: ignore[arg-type]
    assert len(tokenizer.encode(["鯖"], add_special_tokens=False)[0].ids) > 2
    terms = Terms(tokenizer)
    (found,) = terms.of(["鯖だ"])
    assert len(found) == 1
    assert terms.of(["これは鯖だ"])[0].count(found[0]) == 1
    # Beside another kanji it is part of a word, and that word is the term.
    assert found[0] not in terms.of(["鯖缶だ"])[0]
    assert len(terms.of(["鯖缶だ"])[0]) == 1


def test_a_term_is_the_same_wherever_it_stands() -> None:
    terms = Terms(llama2().tokenizer)
    for first, second in (("Clocks tick", "Two clocks"), ("雷です", "夏の雷"), ("(Cat)", "a cat's"), ("ＣＡＴ", "cat")):
        assert set(terms.of([first])[0]) & set(terms.of([second])[0]), (first, second)


def test_idle_talk_is_no_term() -> None:
    terms = Terms(llama2().tokenizer)
    assert terms.of(["What do you like?", "教えてください。", "何ですか", "こんにちは！"]) == [[], [], [], []]
    assert all(term.startswith(GRAMMAR) for term in terms.of(["おはぎ"])[0])


def test_folding() -> None:
    assert folded_text("Cats’ CLASS don't") == "\ncat'\nclass\ndon\n"
    assert folded_text("家は青い") == "\n家\nは\n青\nい"


def test_bm25s_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bm25s", None)
    with pytest.raises(MissingExtraError) as caught:
        FactIndex(persona("x"), llama2().tokenizer)
    assert caught.value.help == 'pip install "finetooth[persona]"'


def test_nothing_is_logged_or_shown(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    with caplog.at_level(logging.DEBUG):
        FactIndex(demo_persona("ja"), llama2().tokenizer).find("趣味は？")
    assert [record for record in caplog.records if record.name.startswith("bm25s")] == []
    assert capfd.readouterr() == ("", "")
