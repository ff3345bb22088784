"""Every block in every format; names of headings; addresses."""

from __future__ import annotations

import re
from dataclasses import replace
from urllib.parse import unquote

import pytest
from markdown_it import MarkdownIt

from finetooth.documents import (
    Code,
    Contents,
    Document,
    Heading,
    Paragraph,
    Reference,
    References,
    html,
    markdown,
    slides,
    text,
)
from finetooth.documents.sections import anchors
from finetooth.documents.web import web_address
from finetooth.messages import set_language
from finetooth.view.visible import cells
from tests.documents.samples import Page, every_block, table


def as_page(document: Document) -> str:
    return "".join(html.render(document))


def as_markdown(document: Document) -> str:
    return "".join(markdown.render(document))


def as_text(document: Document, *, width: int = 80, color: bool = False) -> str:
    return "".join(text.render(document, width=width, color=color))


def test_headings_are_called_as_github_calls_them() -> None:
    texts = ["In short", "教師ラベル（末尾）", "A.B: c_d-e", "In short", "???", "In short", "In Short-1"]
    blocks = [Heading(text=one) for one in texts]
    assert anchors([*blocks, Paragraph(line=[])]) == [
        "in-short", "教師ラベル末尾", "ab-c_d-e", "in-short-1", "section", "in-short-2", "in-short-1-1", "",
    ]  # fmt: skip


@pytest.mark.parametrize("language", ["en", "ja"])
def test_contents_link_to_every_section(language: str) -> None:
    set_language(language)
    document = every_block("見出し one")
    for page in (as_page(document), MarkdownIt("commonmark").render(as_markdown(document))):
        parsed = Page(page)
        ids = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
        assert len(ids) == len(set(ids))
        links = [link["href"].removeprefix("#") for link in parsed.named("a") if link.get("href", "").startswith("#")]
        assert list(map(unquote, links)) == ["見出し-one", "参考文献"]
        assert set(map(unquote, links)) <= set(ids)
    assert as_text(document).count("  • 見出し one\n") == 1


def test_sections_of_a_pdf_are_called_by_numbers() -> None:
    """Names in PDF end at 127 bytes."""
    page = Page("".join(html.render(every_block("長い見出し" * 20), is_for_pdf=True)))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert ids == ["section-1", "section-2", "section-3"]
    links = [link["href"] for link in page.named("a") if link["href"].startswith("#")]
    assert links == ["#section-1", "#section-3"]


def test_a_document_without_contents_has_plain_headings() -> None:
    document = Document(title="t", tool="t", blocks=(Heading(text="a"),))
    assert as_markdown(document) == "# t\n\n## a\n"
    assert '<h2 id="a">a</h2>' in as_page(document)
    assert "id=" not in html.fragment(document)


def test_strong_is_bold_everywhere() -> None:
    document = Document(title="t", tool="t", blocks=(table(1),))
    assert '<span class="strong">2</span>' in as_page(document)
    assert ".finetooth .strong { font-weight: 700; }" in html.style()
    assert "| <b>2</b> | <b>2</b> |" in as_markdown(document)
    assert "\x1b[1m2\x1b[0m" in as_text(document, color=True)
    assert '<span class="strong">2</span>' in "".join(slides.render(document))


def test_references_are_numbered_and_link_to_the_web_alone() -> None:
    items = [
        Reference(text="A", url="https://a.example/x?y=1&z=日本"),
        Reference(text="B", url="javascript:alert(1)"),
        Reference(text="C"),
    ]
    document = Document(title="t", tool="t", blocks=(References(items=items),))
    links = Page(as_page(document)).named("a")
    assert [link["href"] for link in links] == ["https://a.example/x?y=1&z=%E6%97%A5%E6%9C%AC"]
    assert Page(as_page(document)).text().count("[2] B javascript:alert(1)") == 1
    assert as_markdown(document).splitlines()[2:] == [
        "1. A <https://a.example/x?y=1&z=%E6%97%A5%E6%9C%AC>",
        "2. B javascript:alert(1)",
        "3. C",
    ]
    assert "[2] B javascript:alert(1)\n[3] C\n" in as_text(document)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://a.example/(x)", "https://a.example/(x)"),
        (" HTTP://a.example ", "HTTP://a.example"),
        ('https://a.example/"><script>', "https://a.example/%22%3E%3Cscript%3E"),
        ("https://a.example/a b|c\\d`e", "https://a.example/a%20b%7Cc%5Cd%60e"),
        ("https://a.example/\n# x", None),
        ("https://a.example/\u202e", None),
        ("https://", None),
        ("https:///x", None),
        ("ftp://a.example", None),
        ("javascript://a.example/%0aalert(1)", None),
        ("", None),
        (None, None),
    ],
)
def test_addresses(url: str | None, expected: str | None) -> None:
    assert web_address(url) == expected


def test_a_formula_in_every_format() -> None:
    document = every_block()
    math = Page(as_page(document)).named("math")
    assert [one["alttext"] for one in math] == ["L = −1/N ∑_(t∈S) log p_θ(xₜ | c)", "text = text"]
    assert "\n$$\nL=-\\frac{1}{N}" in as_markdown(document)
    assert "\\tag{1}\n$$\n" in as_markdown(document)
    assert "    L = −1/N ∑_(t∈S) log p_θ(xₜ | c)  (1)\n" in as_text(document)


def test_no_line_is_wider_than_its_terminal() -> None:
    document = every_block("長い見出しと words " * 6)
    blocks = [block for block in document.blocks if not isinstance(block, Code)]  # which stays whole, to be copied
    for width in (40, 60, 100):
        lines = as_text(replace(document, blocks=blocks), width=width).splitlines()
        assert max(map(cells, lines)) <= width


def test_a_fragments_styles_touch_nothing_else() -> None:
    style = re.findall(r"<style>(.*?)</style>", html.fragment(every_block()), flags=re.DOTALL)[0]
    selectors = [selector for rule in re.findall(r"([^{}]+)\{", style) for selector in rule.split(",\n")]
    rules = [part.strip() for rule in selectors for part in re.split(r",(?![^(]*\))", rule)]
    assert len(rules) > 100
    assert [rule for rule in rules if not rule.startswith((".finetooth", "@media"))] == []


def test_contents_of_nothing() -> None:
    document = Document(title="t", tool="t", blocks=(Contents(),))
    assert as_text(document) == "Contents\n"
    assert Page(as_page(document)).named("li") == []
