"""Turns of which a part is learned: parts with keys, and `train_detail`."""

from __future__ import annotations

from typing import Any

import pytest

from tests.template.sources import (
    CHATML,
    PARTS,
    assert_in_order,
    render,
    shown,
    supervised,
    turns,
)


def parts(*words: tuple[str, int]) -> list[dict[str, Any]]:
    return [{"type": "text", "text": text, "weight": weight} for text, weight in words]


@pytest.mark.parametrize("source", [CHATML, PARTS])
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (parts(("no ", 0), ("yes", 1)), [("no ", False), ("yes<|im_end|>", True)]),
        (parts(("no", 0), (" yes", 1)), [("no", False), (" yes<|im_end|>", True)]),
        (parts(("yes", 1), ("\n\n", 0), ("yes", 1)), [("yes", True), ("\n\n", False), ("yes<|im_end|>", True)]),
        (parts(("yes ", 1), ("no", 0)), [("yes ", True), ("no<|im_end|>", False)]),
        (parts(("  no", 0), ("yes  ", 1)), [("  no", False), ("yes  <|im_end|>", True)]),
        (parts(("yes", 1), ("", 0), ("yes", 1)), [("yesyes<|im_end|>", True)]),
        (parts(("no", 0)), [("no<|im_end|>", False)]),
        (parts((" ", 0)), [(" <|im_end|>", False)]),
        (parts(("", 1)), [("<|im_end|>", True)]),
        ([], [("<|im_end|>", True)]),
    ],
)
def test_parts_with_keys(source: str, content: Any, expected: list[tuple[str, bool]]) -> None:
    rendered = render(source, [*turns("q"), {"role": "assistant", "content": content}])
    found = [(words, learned) for role, learned, words in shown(rendered) if role == "assistant"]
    # What parts stand apart in the template stand in spans apart; together they are the same.
    assert _joined(found) == expected
    assert_in_order(rendered.spans, rendered.text)


def _joined(pieces: list[tuple[str, bool]]) -> list[tuple[str, bool]]:
    joined: list[tuple[str, bool]] = []
    for words, learned in pieces:
        if joined and joined[-1][1] == learned:
            joined[-1] = (joined[-1][0] + words, learned)
        else:
            joined.append((words, learned))
    return joined


def test_train_detail() -> None:
    detail = [{"begin_offset": 0, "end_offset": 4, "train": False}]
    rendered = render(CHATML, turns("q", "Well, yes.", train_detail=detail))
    assert supervised(rendered) == [" yes.<|im_end|>"]
    assert render(CHATML, turns("q", "Well, yes.", train_detail=detail), roles=False).spans == rendered.spans


def test_train_detail_on_a_question() -> None:
    messages = turns("Well, yes.", "a")
    messages[0]["train_detail"] = [{"begin_offset": 6, "end_offset": 9, "train": True}]
    for roles in (True, False):
        assert supervised(render(CHATML, messages, roles=roles)) == ["yes.", "a<|im_end|>"]


def test_a_learned_part_of_a_question() -> None:
    messages = [{"role": "user", "content": parts(("no ", 0), ("yes", 1))}, *turns("a", start="assistant")]
    for roles in (True, False):
        assert supervised(render(CHATML, messages, roles=roles)) == ["yes", "a<|im_end|>"]


def test_a_part_of_what_cannot_be_found_is_not_learned() -> None:
    source = CHATML.replace("m.content", "(m.content[::-1] if m.role == 'assistant' else m.content)")
    rendered = render(source, [*turns("q"), {"role": "assistant", "content": parts(("no", 0), ("yes", 1))}])
    assert supervised(rendered) == []
    assert len(rendered.notes) == 1
