from __future__ import annotations

import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetooth.checking import Report
from finetooth.formats.markdown import escape, render
from finetooth.messages import set_language
from tests.formats.samples import HOSTILE, broken, check_golden, healthy, hostile, make_finding, make_part, make_report

markdown_it = pytest.importorskip("markdown_it")
COMMONMARK = markdown_it.MarkdownIt("commonmark").enable("table")


def text_of(report: Report) -> str:
    return "".join(render(report))


@pytest.mark.parametrize("language", ["en", "ja"])
def test_golden(language: str) -> None:
    set_language(language)
    check_golden(f"broken_{language}.md", text_of(broken()))


def test_golden_hostile() -> None:
    check_golden("hostile.md", text_of(hostile()))


def test_nothing_found() -> None:
    assert text_of(healthy()).endswith("**no fault found in 200 records**; every answer teaches the model to stop\n")


def test_details_are_closed() -> None:
    for report in (broken(), hostile()):
        text = text_of(report)
        for tag in ("details", "summary", "pre", "code", "b"):
            assert text.count(f"<{tag}>") == text.count(f"</{tag}>")


def test_a_table_keeps_its_cells() -> None:
    for line in text_of(hostile()).splitlines():
        if line.startswith("|"):
            assert line.count("|") in (5, 6)


def test_hostile_data_becomes_no_markup() -> None:
    page = COMMONMARK.render(text_of(hostile()))
    tags = set(re.findall(r"<([a-z0-9]+)", page))
    assert tags <= {
        "h3", "code", "blockquote", "p", "table", "thead", "tbody", "tr", "th", "td", "details", "summary", "b", "ul",
        "li", "strong", "pre",
    }  # fmt: skip
    assert "<!--" not in page
    outside = html.unescape(re.sub(r"<pre>.*?</pre>", "", page, flags=re.DOTALL))  # GitHub looks for none in code
    assert "team" in outside and "@team" not in outside and "#1" not in outside
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", text_of(hostile()))


@given(st.text())
def test_what_is_escaped_is_one_run_of_text(text: str) -> None:
    """Markdown makes of it a paragraph of text, and of a row that holds it a row of as many cells."""
    escaped = escape(f"a{text}")
    assert "\n" not in escaped and "|" not in escaped
    tokens = COMMONMARK.parse(escaped)
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    assert {child.type for child in tokens[1].children or []} <= {"text", "text_special"}


def test_sentences_keep_their_code() -> None:
    text = text_of(make_report(make_part([make_finding(message="the `</s>` is | gone")])))
    assert "the <code>&#60;/s&#62;</code> is &#124; gone" in text


def test_data_in_a_block_cannot_end_it() -> None:
    finding = make_finding(reproduction=f"print(1)\n\n</pre><script>{HOSTILE}")
    text = text_of(make_report(make_part([finding])))
    assert "<script>" not in text
    assert text.count("</pre>") == 1
