from __future__ import annotations

from typing import get_args

import pytest

from finetooth.formats.wording import (
    LISTED,
    all_stop,
    code_spans,
    conclusion,
    ending_rows,
    evidence_of,
    exit_meaning,
    extent,
    share_of,
)
from finetooth.messages import say, sentences, set_language
from finetooth.rules.endings import BRANCHES, Branch
from finetooth.types import Cause
from tests.formats.samples import broken, healthy, make_finding, make_part, make_report, split_eos


@pytest.mark.parametrize(
    ("share", "shown"),
    [
        (0.0, "0%"),
        (1.0, "100%"),
        (0.00001, "<0.1%"),
        (0.99999, ">99.9%"),
        (0.5, "50.0%"),
        (0.001, "0.1%"),
        (0.999, "99.9%"),
    ],
)
def test_a_share_is_all_or_nothing_only_where_it_is(share: float, shown: str) -> None:
    assert share_of(share) == shown


@pytest.mark.parametrize("language", ["en", "ja"])
def test_every_ending_has_words(language: str) -> None:
    assert set(BRANCHES) == set(get_args(Branch))
    for branch in BRANCHES:
        assert f"ending_{branch.replace('-', '_')}" in sentences(language, "formats")


def test_stops_comes_first_even_where_nothing_does() -> None:
    rows = ending_rows(make_part(endings={"cut": 1, "masked-by-pad": 3}))
    assert [(branch, count, share) for branch, _, count, share in rows] == [
        ("stops", 0, 0.0),
        ("masked-by-pad", 3, 0.75),
        ("cut", 1, 0.25),
    ]
    assert ending_rows(make_part(endings={})) == []


def test_extent() -> None:
    assert extent(split_eos(), make_part()) == "200 of 200 records (100%)"
    assert extent(make_finding(count=1, share=1.0), make_part()) == "set-up"
    assert (
        extent(make_finding(count=1500, share=0.1), make_part(num_records=15000)) == "1,500 of 15,000 records (10.0%)"
    )


def test_conclusion() -> None:
    assert conclusion(broken()) == "1 error, 1 warning, 1 note in 200 records, 2 set-ups"
    assert conclusion(healthy()) == "no fault found in 200 records"
    assert conclusion(make_report(make_part(endings={"absent": 200}))) == "no findings in 200 records"
    assert conclusion(make_report(make_part([split_eos(), split_eos()], num_records=1))) == "2 errors in 1 record"
    set_language("ja")
    assert conclusion(broken()) == "エラー 1 件、警告 1 件、情報 1 件（200 レコード、2 構成）"


def test_all_stop_is_said_only_where_it_is_so() -> None:
    assert all_stop(healthy())
    assert not all_stop(broken())
    assert not all_stop(make_report())
    assert not all_stop(make_report(make_part(endings={}, num_records=0)))
    assert not all_stop(make_report(make_part(endings={"stops": 199, "unsupervised": 1})))


def test_exit_meaning() -> None:
    assert exit_meaning(broken(), "warning") == "exit code 1 (--fail-on warning)"
    assert exit_meaning(broken(), "never") == "exit code 0 (--fail-on never)"
    assert exit_meaning(healthy(), "warning") == "exit code 0 (--fail-on warning)"


def test_evidence() -> None:
    cause = Cause(
        code="x",
        text="",
        evidence={
            "ids": list(range(99)),
            "flag": False,
            "none": None,
            "empty": [],
            "text": "a b",
            "map": {"a": [1]},
            "ranges": [(0, 3)],
        },
    )
    shown = dict(evidence_of(cause))
    assert shown["ids"] == f"{' '.join(map(str, range(LISTED)))} …"
    assert dict(evidence_of(cause, whole=True))["ids"] == " ".join(map(str, range(99)))
    assert [shown[name] for name in ("flag", "none", "empty", "text", "map", "ranges")] == [
        "false",
        "null",
        "–",
        "'a b'",
        '{"a": [1]}',
        "[0, 3]",
    ]


def test_code_spans() -> None:
    assert list(code_spans("the `</s>` is")) == [("the ", False), ("</s>", True), (" is", False)]
    assert "".join(text for text, _ in code_spans("a ` b")) == "a ` b"


def test_the_words_for_severities_differ() -> None:
    words = {say(f"formats.severity_{severity}") for severity in ("error", "warning", "info")}
    assert words == {"error", "warning", "note"}
