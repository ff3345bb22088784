from __future__ import annotations

from dataclasses import replace

import pytest

from finetooth.formats.report import count_severities, fails, is_of_setup, standing
from finetooth.types import Cause, Finding, Place
from tests.formats.samples import broken, healthy, make_finding, make_part, make_report, pad_is_eos, split_eos


def codes(*findings: Finding) -> list[tuple[str, list[str]]]:
    return [(one.finding.code, [f.code for f in one.following]) for one in standing(make_part(findings))]


def folded(code: str, under: str | None) -> Finding:
    return make_finding(code, folded_under=under, severity="warning")


def test_a_folded_finding_stands_with_the_one_it_follows_from() -> None:
    assert codes(make_finding("A"), make_finding("B"), folded("C", "A")) == [("A", ["C"]), ("B", [])]


def test_what_follows_from_something_that_follows_is_told_with_the_first() -> None:
    assert codes(make_finding("A"), folded("B", "A"), folded("C", "B"), folded("D", "C")) == [("A", ["B", "C", "D"])]


def test_what_follows_from_nothing_that_was_found_stands_by_itself() -> None:
    assert codes(folded("C", "A")) == [("C", [])]


def test_findings_folded_in_a_ring_are_all_told() -> None:
    told = codes(folded("A", "B"), folded("B", "A"), folded("C", "C"))
    assert sorted(code for head, rest in told for code in [head, *rest]) == ["A", "B", "C"]


def test_of_several_findings_of_a_code_the_one_whose_cause_it_is() -> None:
    one = make_finding("LAB001", cause=Cause(code="TOK009", text=""))
    other = make_finding("LAB001", cause=Cause(code="TOK003", text=""))
    found = standing(make_part([one, other, folded("TOK003", "LAB001"), folded("TOK010", "LAB001")]))
    assert [[f.code for f in each.following] for each in found] == [["TOK010"], ["TOK003"]]


def test_no_finding_is_lost_or_told_twice() -> None:
    for part in broken().parts:
        told = [finding for one in standing(part) for finding in (one.finding, *one.following)]
        assert sorted(map(id, told)) == sorted(map(id, part.findings))


def test_the_worst_comes_first() -> None:
    assert codes(folded("A", None), make_finding("B")) == [("B", []), ("A", [])]


def test_folded_findings_are_not_counted() -> None:
    assert count_severities(broken()) == {"error": 1, "warning": 1, "info": 1}
    assert count_severities(healthy()) == {}


@pytest.mark.parametrize(
    ("severity", "fail_on", "expected"),
    [
        ("error", "error", True),
        ("warning", "error", False),
        ("warning", "warning", True),
        ("info", "warning", False),
        ("info", "info", False),
        ("warning", "info", True),
        ("error", "never", False),
    ],
)
def test_notes_never_fail(severity: str, fail_on: str, expected: bool) -> None:
    assert fails(make_report(make_part([make_finding(severity=severity)])), fail_on) is expected


def test_a_finding_of_one_record_is_not_the_setups() -> None:
    assert is_of_setup(pad_is_eos())
    assert not is_of_setup(split_eos())
    assert not is_of_setup(replace(pad_is_eos(), places=(Place(record=0, where="one.jsonl:1"),)))
