from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from finetooth.demo import data_path
from finetooth.errors import DataError
from finetooth.personas.checking import (
    MAX_KEPT,
    AnswerMeasure,
    Spoken,
    answers_of_probe,
    asked_characters,
    check_answers,
    check_persona,
    num_sentences,
)
from finetooth.personas.reading import load_persona
from finetooth.personas.sheet import Length, Persona
from finetooth.probing.report import wilson
from tests.personas.personas import demo_persona, demo_records, sheet


def rows(*answers: str) -> list[dict[str, Any]]:
    return [
        {"messages": [{"role": "user", "content": "Well?"}, {"role": "assistant", "content": one}]} for one in answers
    ]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("…", 0),
        ("はい", 1),
        ("ええ、元気ですわ。", 1),
        ("まあ！ 素敵ですわ。", 2),
        ("「はい。」と申しました。", 2),
        ("本当ですの？！", 1),
        ("It costs 3.50 today.", 1),
        ("Yes. No", 2),
        ("St Brannow's is near. Really?", 2),
        ("Mr. Hill waits.", 1),
        ("Hello... there!", 2),
        ("What?! No.", 2),
    ],
)
def test_sentences(text: str, count: int) -> None:
    assert num_sentences(text) == count


@pytest.mark.parametrize(
    ("length", "span"),
    [
        (Length(), None),
        (Length(sentences=1), None),
        (Length(characters=30), (15, 45)),
        (Length(characters=30, max_characters=40), (1, 40)),
        (Length(min_characters=9), (9, None)),
        (Length(min_characters=9, max_characters=12), (9, 12)),
    ],
)
def test_asked_characters(length: Length, span: tuple[int, int | None] | None) -> None:
    assert asked_characters(length) == span


@pytest.mark.parametrize("language", ["ja", "en"])
def test_the_demo_s_answers_keep_to_their_sheet(language: str) -> None:
    report = check_persona([record.row for record in demo_records(language)], demo_persona(language))
    assert report.num_answers > 60
    assert all(report.share(name) == 1 for name in report.counts)
    assert set(report.counts) == {"sentences", "characters", "style", "unleaked"}
    assert report.worst == []


def test_what_is_measured(tmp_path: Path) -> None:
    persona = load_persona(sheet(tmp_path))
    report = check_persona(
        rows("I do indeed.", "She loves spiders, indeed.", "Yes.", "I do indeed. And so do you.</s>"), persona
    )
    assert report.counts == {"sentences": 3, "characters": 3, "style": 3, "consistent": 3, "unleaked": 3}
    assert report.interval("style") == wilson(3, 4)
    (contradiction,) = report.contradictions
    assert (contradiction.fact, contradiction.group) == ("She is afraid of spiders.", "pets")
    assert (contradiction.stretch, contradiction.where) == ("loves spiders", "<memory>[1]")
    assert [answer.spoken.where for answer in report.worst] == ["<memory>[3]", "<memory>[1]", "<memory>[2]"]
    assert report.worst[0].leaked == "</s>"
    assert report.worst[2].right == {
        "sentences": True, "characters": False, "style": False, "consistent": True, "unleaked": True
    }  # fmt: skip
    values = json.loads(json.dumps(report.to_json()))
    assert values["measures"]["style"] == {"count": 3, "share": 0.75, "interval": list(wilson(3, 4))}
    assert values["style"][0]["share"] == 0.75
    assert values["worst"][0]["wrong"] == ["sentences", "unleaked"]


def test_what_a_sheet_does_not_ask_for_is_not_measured() -> None:
    report = check_persona(rows("Yes."), Persona(name="A", system_prompt="B"))
    assert report.counts == {"unleaked": 1}
    assert (report.share("style"), report.share("characters")) == (1.0, 1.0)


def test_no_more_than_a_few_answers_are_kept(tmp_path: Path) -> None:
    persona = load_persona(sheet(tmp_path))
    report = check_persona(rows(*["He loves spiders."] * 100), persona)
    assert (report.num_answers, report.num_contradictions) == (100, 100)
    assert len(report.worst) == len(report.contradictions) == MAX_KEPT
    assert [one.spoken.where for one in report.worst[:2]] == ["<memory>[0]", "<memory>[1]"]


def test_every_answer_of_a_conversation_has_its_place() -> None:
    measure = AnswerMeasure(Persona(name="A", system_prompt="B", length=Length(max_characters=1)))
    assert measure(Spoken(where="x", question="", text="ab")).num_faults == 1
    turns = [{"role": ("user", "assistant")[i % 2], "content": "ab"} for i in range(4)]
    report = check_persona([{"messages": turns}], Persona(name="A", system_prompt="B", length=Length(max_characters=1)))
    assert [one.spoken.where for one in report.worst] == ["<memory>[0]", "<memory>[0] #2"]


def test_samples_of_a_probe(tmp_path: Path) -> None:
    path = tmp_path / "probe.json"
    path.write_text(json.dumps({"samples": [{"where": "x:1", "question": "q", "text": "a"}]}))
    assert list(answers_of_probe(path)) == [Spoken(where=f"{path}: x:1", question="q", text="a")]
    for text in ("{}", "[]", "{", '{"samples": [{}]}', '{"samples": 1}'):
        path.write_text(text)
        with pytest.raises(DataError, match="not what"):
            list(answers_of_probe(path))
    with pytest.raises(DataError, match="no such file"):
        list(answers_of_probe(tmp_path / "none.json"))


def test_nothing_to_check() -> None:
    with pytest.raises(DataError, match="no answer"):
        check_answers([], Persona(name="A", system_prompt="B"))
    with pytest.raises(DataError, match="have no turns"):
        check_persona([{"text": "x"}], Persona(name="A", system_prompt="B"))


def test_dialogues_may_be_a_file() -> None:
    path = data_path("dialogues.en.jsonl")
    whole = check_persona([record.row for record in demo_records("en")], demo_persona("en"))
    assert check_persona(path, demo_persona("en")).to_json() == whole.to_json()
