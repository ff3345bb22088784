from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from finetooth.formats.jsonlines import dumps, render
from tests.formats.samples import HOSTILE, broken, check_golden, healthy, hostile, normalized_special

KEYS = [
    "code", "name", "severity", "model", "labels_way", "count", "share", "cause", "places", "message", "fixable",
    "folded_under",
]  # fmt: skip
"""The contract of `check --format json`."""

PLACE = ["record", "where", "start", "end", "first_token", "end_token"]


def test_golden() -> None:
    check_golden("broken.jsonl", "".join(render(broken())))


def test_the_contract() -> None:
    objects = [json.loads(line) for line in render(broken())]
    assert [finding["code"] for finding in objects] == ["LAB001", "TOK003", "RUN002", "TOK008"]
    for finding in objects:
        assert list(finding) == KEYS
        assert all(list(place) == PLACE for place in finding["places"])
        assert finding["cause"] is None or list(finding["cause"]) == ["code", "text", "evidence"]
    assert objects[0]["cause"]["evidence"]["ids"] == [829, 29879, 29958]
    assert objects[1]["folded_under"] == "LAB001"


def test_nothing_found_is_no_line() -> None:
    assert list(render(healthy())) == []


def test_a_line_is_a_line() -> None:
    for line in render(hostile()):
        line.encode("utf-8")
        assert line[:-1].isprintable()
        assert json.loads(line)["message"] == HOSTILE


def test_kanji_stay_kanji() -> None:
    assert dumps({"piece": "▁お嬢様"}) == '{"piece": "▁お嬢様"}'


def test_what_json_has_no_word_for_is_written_as_text() -> None:
    assert json.loads(dumps({"a": frozenset({1})})) == {"a": "frozenset({1})"}


PLAIN = st.text() | st.integers() | st.booleans() | st.none()


@given(st.recursive(PLAIN, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_any_value_comes_back(value: object) -> None:
    written = dumps(value)
    assert written.isprintable()
    written.encode("utf-8")
    assert json.loads(written) == value


def test_hashes_are_in_no_output() -> None:
    assert normalized_special().hashes == ()
    assert "0000000000000005" not in "".join(render(broken()))
