"""What a check found, in a notebook's cell."""

from __future__ import annotations

import re

import pytest

from finetooth.formats.html import fragment
from finetooth.messages import set_language
from tests.formats.samples import broken, check_golden, healthy, hostile
from tests.formats.test_html import Page


def body_of(shown: str) -> str:
    return re.sub(r"<style>.*?</style>", "<style></style>", shown, flags=re.DOTALL)


@pytest.mark.parametrize("language", ["en", "ja"])
def test_golden(language: str) -> None:
    set_language(language)
    check_golden(f"notebook_{language}.html", body_of(fragment(broken())))


def test_a_report_shows_itself() -> None:
    assert broken()._repr_html_() == fragment(broken())
    assert "verdict good" in healthy()._repr_html_()


def test_hostile_data_stays_text() -> None:
    shown = fragment(hostile())
    parsed = Page(shown)
    assert parsed.named("script") == []
    assert "<script>alert(1)</script>" in parsed.text()
    names = {name for _, attributes in parsed.elements for name in attributes}
    assert not any(name.startswith("on") or name in {"style", "href", "src", "id"} for name in names)
    assert re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", shown) is None


def test_every_finding_can_be_opened() -> None:
    report = broken()
    cards = [one for one in Page(fragment(report)).named("details") if one.get("class", "").startswith("card")]
    standing = [finding for part in report.parts for finding in part.findings if finding.folded_under is None]
    assert len(cards) == len(standing) > 1
    assert not any("open" in one for one in cards)


def test_its_styles_touch_nothing_else() -> None:
    style = re.findall(r"<style>(.*?)</style>", fragment(broken()), flags=re.DOTALL)[0]
    selectors = [selector for rule in re.findall(r"([^{}]+)\{", style) for selector in rule.split(",\n")]
    rules = [part.strip() for rule in selectors for part in re.split(r",(?![^(]*\))", rule)]
    assert [rule for rule in rules if not rule.startswith((".finetooth", "@media"))] == []
