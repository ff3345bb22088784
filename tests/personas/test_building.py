from __future__ import annotations

from typing import Any

from finetooth.personas.building import MAX_REASONS, BuildReport, build_rows
from finetooth.personas.prompt import PersonaPrompt
from finetooth.records import records_of
from tests.personas.personas import demo_persona, llama2


def built(*rows: dict[str, Any]) -> tuple[list[dict[str, Any]], BuildReport]:
    report = BuildReport()
    prompt = PersonaPrompt(demo_persona("en"), llama2().tokenizer)
    return list(build_rows(records_of(rows), prompt, report)), report


def conversation(*contents: str) -> dict[str, Any]:
    return {"messages": [{"role": ("user", "assistant")[i % 2], "content": one} for i, one in enumerate(contents)]}


def test_every_shape_with_turns() -> None:
    rows, report = built(
        conversation("Can you whistle?", "No."),
        {"prompt": " Can you whistle? ", "completion": " No.\n"},
        {"conversations": [{"from": "human", "value": "Can you whistle?"}, {"from": "gpt", "value": "No."}]},
        {"instruction": "Can you whistle?", "input": "", "output": "No."},
    )
    assert all(row == rows[0] for row in rows)
    assert rows[0]["messages"][1]["content"] == "[Background]\n- She cannot whistle.\n\nCan you whistle?"
    assert rows[0]["messages"][2] == {"role": "assistant", "content": "No."}
    assert rows[0]["facts"] == [["She cannot whistle."]]
    assert (report.num_rows, report.num_turns, report.num_turns_with_facts, report.mean_facts) == (4, 4, 4, 1.0)


def test_what_is_counted() -> None:
    row = conversation("Can you whistle?", "No.", "Hello!", "Hello.")
    row["messages"].insert(0, {"role": "system", "content": "Other."})
    rows, report = built(row)
    assert rows[0]["facts"] == [["She cannot whistle."], []]
    assert (report.num_turns, report.num_turns_with_facts, report.mean_facts, report.num_replaced) == (2, 1, 0.5, 1)


def test_rows_that_cannot_be_are_counted_by_reason() -> None:
    rows, report = built(
        conversation("Hello", "Hi"),
        conversation("Hello"),
        {"text": "Hello"},
        {"input_ids": [1, 2], "labels": [1, 2]},
        conversation("Hello", "Hi", "There"),
        {**conversation("Hello", "Hi"), "tools": [{"name": "x"}]},
    )
    assert len(rows) == 1
    assert dict(report.refusals) == {
        "the last turn is the user's, so there is nothing to learn": 2,
        "rows of the shape `text` have no turns": 1,
        "rows of the shape `encoded` have no turns": 1,
        "the dialogue has tools, which a persona does not call": 1,
    }
    assert report.first_places["the last turn is the user's, so there is nothing to learn"] == "<memory>[1]"
    assert report.num_refused == 5


def test_reasons_do_not_grow_without_end() -> None:
    rows = []
    for number in range(40):
        row = conversation(*["x"] * (number + 1))
        row["messages"].append({"role": "tool", "content": "x"})
        rows.append(row)
    _, report = built(*rows)
    assert report.num_refused == 40
    assert len(report.refusals) == len(report.first_places) == MAX_REASONS + 1
    assert report.refusals["other reasons"] == 40 - MAX_REASONS


def test_rows_are_made_as_they_are_asked_for() -> None:
    def endless() -> Any:
        while True:
            yield conversation("Hello", "Hi")

    stream = build_rows(records_of(endless()), PersonaPrompt(demo_persona("en"), llama2().tokenizer))
    assert [len(next(stream)["messages"]) for _ in range(3)] == [3, 3, 3]
