from __future__ import annotations

import re
import unicodedata
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetooth.checking import Report
from finetooth.formats.text import render
from finetooth.messages import set_language
from finetooth.types import Cause, Finding, Place
from finetooth.view.visible import cells
from tests.formats.samples import (
    HOSTILE,
    broken,
    check_golden,
    healthy,
    hostile,
    make_finding,
    make_part,
    make_report,
    split_eos,
)

SGR = re.compile(r"\x1b\[[0-9;]+m")
REPORTS = {"broken": broken, "healthy": healthy, "hostile": hostile}


def draw(report: Report, *, width: int = 100, color: bool = False, **options: object) -> str:
    return "".join(render(report, width=width, color=color, **options))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", sorted(REPORTS))
@pytest.mark.parametrize("language", ["en", "ja"])
@pytest.mark.parametrize("width", [40, 100])
def test_golden(name: str, language: str, width: int) -> None:
    set_language(language)
    check_golden(f"{name}_{language}_{width}.txt", draw(REPORTS[name](), width=width))


def test_golden_verbose() -> None:
    check_golden("broken_verbose.txt", draw(broken(), verbose=True))


def test_golden_color() -> None:
    check_golden("broken_color.ansi", draw(broken(), color=True))


@pytest.mark.parametrize("name", sorted(REPORTS))
@pytest.mark.parametrize("width", [20, 40, 80, 133])
def test_colour_adds_nothing_but_colour(name: str, width: int) -> None:
    painted = draw(REPORTS[name](), width=width, color=True)
    assert SGR.sub("", painted) == draw(REPORTS[name](), width=width)
    assert all(line.count("\x1b") % 2 == 0 for line in painted.splitlines()), "a style runs over the end of a line"


def folded_lines(text: str) -> list[str]:
    """Return the lines that have to fit: all but code to paste, which stands between `reproduce:` and the help."""
    lines, code = [], False
    for line in text.splitlines():
        if code and not line.startswith("    "):
            code = False
        if not code:
            lines.append(line)
        code = code or line.strip() in ("reproduce:", "再現手順:")
    return lines


@pytest.mark.parametrize("name", sorted(REPORTS))
@pytest.mark.parametrize("language", ["en", "ja"])
@given(width=st.integers(20, 160), verbose=st.booleans())
def test_no_line_is_too_long(name: str, language: str, width: int, verbose: bool) -> None:
    set_language(language)
    report = REPORTS[name]()
    if name == "hostile":  # code of several lines, whose indent nothing tells from the text's
        report = make_report(*(replace(part, findings=_without_code(part.findings)) for part in report.parts))
    for line in folded_lines(draw(report, width=width, verbose=verbose)):
        assert cells(line) <= width, line


def _without_code(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    return tuple(replace(finding, reproduction=None) for finding in findings)


def test_code_to_paste_is_never_folded() -> None:
    assert f"    {split_eos().reproduction.splitlines()[0]}\n" in draw(broken(), width=40)  # type: ignore[union-attr]


@given(text=st.text(), width=st.integers(20, 120))
def test_any_text_stays_harmless(text: str, width: int) -> None:
    finding = make_finding(
        message=text,
        help=text,
        model=text,
        cause=Cause(code=text, text=text, evidence={text: text, "list": [text]}),
        places=(Place(record=0, where=text),),
        views=(text,),
    )
    for line in draw(make_report(make_part([finding], model=text)), width=width).split("\n"):
        assert not any(unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") for char in line)
        assert cells(line) <= width


def test_everything_is_said() -> None:
    drawn = draw(broken())
    for said in (
        "LAB001 split-eos · 200 of 200 records (100%)",
        "because TOK003: the added token `</s>` is normalized",
        "ids 829 29879 29958",
        "train.jsonl:1  … ▁で* | す* | わ* | 。* | [</* 829 | s* 29879 | >* 29958]",
        "reproduce:\n",
        "help: set `normalized`",
        "`finetooth fix` can mend this",
        "→ TOK003 normalized-special: the pattern",
        "TOK004 it needs transformers",
        "transformers may load it otherwise",
        "evaluation data",
    ):
        assert said in drawn
    assert drawn.endswith("1 error, 1 warning, 1 note in 200 records, 2 set-ups · exit code 1 (--fail-on warning)\n")


def test_bars_grow_with_shares() -> None:
    def bars(*counts: int) -> list[int]:
        stops, cut = counts
        drawn = draw(make_report(make_part(endings={"stops": stops, "cut": cut}, num_records=stops + cut)))
        return [len(re.findall("[▏▎▍▌▋▊▉█]", line)) for line in drawn.splitlines() if "%" in line and "→" not in line]

    assert bars(1, 1) == [12, 12]
    assert bars(999_999, 1) == [24, 1], "a sliver is drawn for what is not nothing"
    assert bars(0, 7) == [0, 24]


def test_findings_beyond_the_limit_get_a_line() -> None:
    findings = [make_finding(message=f"message {number}", help="remedy") for number in range(3)]
    drawn = draw(make_report(make_part(findings)), max_per_rule=1)
    assert drawn.count("help: remedy") == 1
    assert "+ LAB001 split-eos: message 1\n+ LAB001 split-eos: message 2\n" in drawn
    assert "3 errors in 200 records" in drawn


def test_a_finding_without_places_is_told() -> None:
    finding = replace(split_eos(), places=(), views=(), count=3, share=0.015)
    assert "3 of 200 records (1.5%)" in draw(make_report(make_part([finding])))


def test_no_records() -> None:
    drawn = draw(make_report(make_part(endings={}, num_records=0)))
    assert "how answers end" not in drawn
    assert "no findings in 0 records · exit code 0" in drawn


def test_hostile_data_is_shown_and_does_nothing() -> None:
    drawn = draw(hostile())
    drawn.encode("utf-8")
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", drawn)
    assert HOSTILE not in drawn
    assert "<script>alert(1)</script>␛[31m␀" in drawn
