"""Whatever records, names, answers and own prose hold: it stays text in every format."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from finetooth.documents import Document, html, markdown, slides, text
from finetooth.view.visible import harmless
from tests.documents.samples import HOSTILE, Page, complaints, every_block, hostile

# What our own Markdown may hold of HTML, and nothing else.
OWN_ELEMENTS = {
    "a", "b", "blockquote", "br", "code", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre", "s",
    "table", "tbody", "td", "th", "thead", "tr", "ul",
}  # fmt: skip


def read_as_a_site_would(written: str) -> str:
    """Return Markdown as HTML, with HTML in it passed through: the least careful of readers."""
    reader = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    reader.validateLink = lambda url: True  # type: ignore[method-assign]
    return str(reader.render(written))


def test_html() -> None:
    page = "".join(html.render(hostile()))
    page.encode("utf-8")
    assert list(complaints(page)) == []
    assert "<script>document.title='ran'</script>\"><img src=x" in Page(page).text()
    assert list(complaints(html.fragment(hostile()))) == []


def test_slides() -> None:
    page = "".join(slides.render(hostile()))
    page.encode("utf-8")
    assert list(complaints(page, num_scripts=1)) == []
    assert "<script>document.title='ran'</script>\"><img src=x" in Page(page).text()


def test_markdown() -> None:
    written = "".join(markdown.render(hostile()))
    shown = read_as_a_site_would(written)
    assert list(complaints(shown)) == []
    assert {tag for tag, _ in Page(shown).elements} <= OWN_ELEMENTS
    # The alt text of a picture is not shown; all else is, sign for sign.
    assert Page(shown).text().count(re.sub(r"\s+", " ", harmless(HOSTILE))) >= 12
    links = [one.get("href", "") for one in Page(shown).named("a")]
    assert {link for link in links if link and not link.startswith("#")} == {"https://e.example/%22%3E%3Cscript%3E"}


def test_markdown_tables_keep_their_cells() -> None:
    shown = read_as_a_site_would("".join(markdown.render(hostile())))
    rows = re.findall(r"<tr>(.*?)</tr>", shown, flags=re.DOTALL)
    assert {len(re.findall("<t[dh]", row)) for row in rows} == {3, 4, 2}


def test_the_terminal() -> None:
    for color in (False, True):
        shown = "".join(text.render(hostile(), width=70, color=color))
        plain = re.sub(r"\x1b\[[0-9;]*m", "", shown) if color else shown
        assert re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", plain) is None


@settings(deadline=None)
@given(st.text(st.sampled_from("<>&\"'`|[]()!#*_~-+=.:/\\$\n\r\t {}aあ0\u202e\x1b@"), max_size=40))
def test_any_text_stays_text(data: str) -> None:
    document = every_block(data, prose=data, url=f"https://{data}")
    assert list(complaints("".join(html.render(document)))) == []
    shown = read_as_a_site_would("".join(markdown.render(document)))
    assert list(complaints(shown)) == []
    assert {tag for tag, _ in Page(shown).elements} <= OWN_ELEMENTS


@pytest.mark.parametrize("writer", [html, slides])
def test_the_policy_lets_its_own_script_through_and_nothing_else(writer: object) -> None:
    page = "".join(writer.render(every_block()))  # type: ignore[attr-defined]
    policy = next(meta["content"] for meta in Page(page).named("meta") if "http-equiv" in meta)
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert policy.count("script-src") == (writer is slides)
    # The namespace of SVG and MathML is no request; only the references' addresses are followed, by a reader's click.
    own = re.sub(r'<a href="[^"]*"[^>]*>[^<]*</a>', "", page)
    assert re.search(r"url\(|@import|\bsrc=", own) is None


def test_a_document_without_blocks() -> None:
    empty = Document(title="", tool="", blocks=())
    assert Page("".join(html.render(empty))).named("h1") == [{}]
    assert "".join(slides.render(empty)).count("<section") == 1
    assert "".join(text.render(empty, width=80, color=False)) == ""
