from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetooth.checking import Report
from finetooth.formats.html import render
from finetooth.messages import set_language
from finetooth.types import Cause, Place
from tests.formats.samples import HOSTILE, broken, check_golden, healthy, hostile, make_finding, make_part, make_report

VOID = {"meta"}


class Page(HTMLParser):
    """A page taken apart: its elements and their attributes, and its text by element."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == [], "elements are left open"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self._open[-1] if self._open else "", data))

    def named(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def text(self) -> str:
        return "".join(data for tag, data in self.texts if tag not in ("style", "script"))


def page_of(report: Report, title: str = "train.jsonl") -> str:
    return "".join(render(report, title=title))


def body_of(page: str) -> str:
    """Return a page without its styles and its script, which no golden file should repeat."""
    page = re.sub(r"<style>.*?</style>", "<style></style>", page, flags=re.DOTALL)
    page = re.sub(r"sha256-[^']+", "sha256-", page)
    return re.sub(r"<script>.*?</script>", "<script></script>", page, flags=re.DOTALL)


@pytest.mark.parametrize("language", ["en", "ja"])
def test_golden(language: str) -> None:
    set_language(language)
    check_golden(f"broken_{language}.html", body_of(page_of(broken())))


def test_golden_hostile() -> None:
    check_golden("hostile.html", body_of(page_of(hostile(), HOSTILE)))


def test_hostile_data_stays_text() -> None:
    page = page_of(hostile(), HOSTILE)
    page.encode("utf-8")
    assert re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", page) is None
    parsed = Page(page)
    assert len(parsed.named("script")) == 1
    assert "<script>alert(1)</script>" in parsed.text()
    names = {name for _, attributes in parsed.elements for name in attributes}
    assert not any(name.startswith("on") or name in {"style", "href", "src"} for name in names)


@given(st.text())
def test_any_text_stays_text(text: str) -> None:
    plain = [tag for tag, _ in Page(page_of(_with("x"), "x")).elements]
    shaped = [tag for tag, _ in Page(page_of(_with(text), text)).elements]
    # Backticks make code, and the tokens of a view are as many as it holds: nothing else may come of data.
    assert [tag for tag in shaped if tag not in ("code", "t-p", "i")] == [
        tag for tag in plain if tag not in ("code", "t-p", "i")
    ]


def _with(text: str) -> Report:
    finding = make_finding(
        name=text,
        message=text,
        help=text or None,
        cause=Cause(code=text, text=text, evidence={"a": text}),
        places=(Place(record=0, where=text),),
        views=(f"[{text} 5]",),
        reproduction=f"a{text}",
    )
    finding = make_finding(**{**{name: getattr(finding, name) for name in finding.__slots__}, "help": f"a{text}"})
    return make_report(make_part([finding], model=text, not_run=[(text, text)]))


def test_the_policy_lets_the_pages_own_script_through_and_nothing_else() -> None:
    page = page_of(broken())
    policy = next(meta["content"] for meta in Page(page).named("meta") if "http-equiv" in meta)
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for tag, directive in (("style", "style-src"), ("script", "script-src")):
        content = re.findall(rf"<{tag}>(.*?)</{tag}>", page, flags=re.DOTALL)
        assert len(content) == 1
        digest = base64.b64encode(hashlib.sha256(content[0].encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy


def test_the_page_asks_for_nothing() -> None:
    assert re.search(r"https?:|url\(|@import|\b(?:src|href)=", page_of(broken())) is None


def test_bars_are_as_wide_as_shares() -> None:
    widths = [rect["width"] for rect in Page(page_of(broken())).named("rect") if rect["class"] == "part"]
    assert widths == ["0", "100.00", "70.50", "28.50", "1.00"]


def test_tokens_are_shown_with_their_ids() -> None:
    page = page_of(broken())
    assert '<t-p class="meant">&lt;/*<i>829</i></t-p>' in page
    assert "<t-p>▁で*</t-p>" in page


def test_everything_is_said() -> None:
    said = Page(page_of(broken())).text()
    for part in ("LAB001", "previous_character", "print(t.encode", "normalized-special", "it needs transformers"):
        assert part in said


def test_nothing_found() -> None:
    page = page_of(healthy())
    assert '<p class="verdict good">no fault found in 200 records' in page
    assert "every answer teaches the model to stop" in page


def test_the_page_speaks_the_language_in_force() -> None:
    set_language("ja")
    page = page_of(broken())
    assert '<html lang="ja">' in page
    assert "応答の終わり方" in page


def test_a_page_opens_at_once() -> None:
    """120 KB is the size up to which a page opens at once and can be mailed."""
    assert len(page_of(broken()).encode()) < 40_000
