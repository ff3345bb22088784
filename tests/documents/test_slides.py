"""Slides: a section each, what is too long for one shared out, and nothing lost."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import pytest

from finetooth.documents import (
    Block,
    Code,
    Contents,
    Document,
    Figure,
    Heading,
    List,
    Paragraph,
    Reference,
    References,
    Row,
    Table,
    parse_prose,
    slides,
)
from finetooth.documents.paging import LINES, Slide, height, slides_of
from finetooth.messages import set_language
from tests.documents.samples import Page, every_block, figure, table


def pages(*blocks: Block) -> list[Slide]:
    return slides_of(Document(title="t", tool="t", blocks=blocks))


def deck(*blocks: Block) -> Page:
    return Page("".join(slides.render(Document(title="t", tool="t", blocks=blocks))))


def rows_of(slides: Sequence[Slide]) -> list[str]:
    return [row.label[0][0] for one in slides for block in one.blocks if isinstance(block, Table) for row in block.rows]


def test_a_section_is_a_slide() -> None:
    made = pages(Paragraph(line=[("lead", "")]), Heading(text="A"), Code(lines=["x"]), Heading(text="B"))
    assert [(one.title, len(one.blocks)) for one in made] == [("", 1), ("A", 1), ("B", 0)]
    assert {(one.number, one.of) for one in made} == {(1, 1)}


def test_a_long_table_is_cut_between_rows_and_keeps_its_head() -> None:
    rows = [Row(label=[(str(number), "")], cells=[[("x", "")]]) for number in range(40)]
    made = pages(Heading(text="A"), Table(corner="c", head=["h"], rows=rows))
    assert len(made) > 2
    assert rows_of(made) == [str(number) for number in range(40)]
    assert {one.of for one in made} == {len(made)}
    for one in made:
        (block,) = one.blocks
        assert isinstance(block, Table)
        assert (block.corner, list(block.head)) == ("c", ["h"])
        assert height(block) <= LINES


@pytest.mark.parametrize("text", ["word ", "日本語の文。"])
def test_no_slide_holds_more_than_fits(text: str) -> None:
    prose = parse_prose("\n\n".join([text * 30, f"- {text}\n" * 20, "## h", text * 9, "```\n" + "x\n" * 40 + "```"]))
    blocks: list[Block] = [
        Heading(text="A"),
        prose,
        table(9, text * 6, is_prose=True),
        List(items=[[(text * 20, "")]] * 9),
    ]
    made = pages(*blocks, References(items=[Reference(text=text * 30)] * 12), Code(lines=[text] * 50))
    for one in made:
        assert sum(map(height, one.blocks)) <= LINES


@pytest.mark.parametrize("text", ["長い文です。" * 500, "A long sentence. " * 300, "x" * 5000])
def test_a_paragraph_longer_than_a_slide_goes_on_on_the_next(text: str) -> None:
    for block in (Paragraph(line=[(text, "")]), parse_prose(text)):
        made = pages(Heading(text="A"), block)
        assert len(made) > 2
        assert all(sum(map(height, one.blocks)) <= LINES for one in made)
        shown = deck(Heading(text="A"), block)
        paragraphs = "".join(data for tag, data in shown.texts if tag == "p" and "/" not in data)
        assert paragraphs.removeprefix("t").strip() == text.strip()  # the first is the tool's name


def test_what_was_cut_is_whole_over_all_slides() -> None:
    lines = [str(number) for number in range(60)]
    prose = parse_prose("\n".join(f"{number}. i{number}" for number in range(1, 61)))
    references = References(items=[Reference(text=f"r{number}") for number in range(1, 41)])
    page = deck(Heading(text="A"), Code(lines=lines), prose, references)
    text = page.text()
    code = "\n".join(data for tag, data in page.texts if tag == "code")
    assert [line for line in code.split("\n") if line] == lines
    assert re.findall(r"\bi(\d+)", text) == [str(number) for number in range(1, 61)]
    assert re.findall(r"\[(\d+)\] r\d+", text) == [str(number) for number in range(1, 41)]
    # An ordered list goes on counting where its slide ended.
    assert len([one for one in page.named("ol") if int(one.get("start", "1")) > 1]) >= 2


def test_figures_stand_two_beside_each_other() -> None:
    empty = figure(9)
    made = pages(Heading(text="A"), *(figure(number) for number in (1, 2, 3)), Paragraph(line=[("after", "")]))
    counts = [sum(isinstance(block, Figure) for block in one.blocks) for one in made]
    assert counts[:2] == [2, 1]
    assert "after" in str(made[-1].blocks)
    undrawn = replace(empty, chart=replace(empty.chart, series=[]))
    assert [one.blocks for one in pages(Heading(text="A"), undrawn)] == [[]]


def test_a_heading_goes_with_what_follows_it() -> None:
    filler = List(items=[[("x", "")]] * 11)
    made = pages(Heading(text="A"), filler, Heading(text="below", level=3), table(3))
    assert len(made) == 2
    assert isinstance(made[1].blocks[0], Heading)


@pytest.mark.parametrize("language", ["en", "ja"])
def test_the_deck(language: str) -> None:
    set_language(language)
    page = Page("".join(slides.render(every_block("見出し"))))
    sections = page.named("section")
    slides_only = [one for one in sections if one["class"].startswith("slide")]
    assert [one["id"] for one in slides_only] == [f"slide-{number}" for number in range(1, len(slides_only) + 1)]
    links = [one["href"] for one in page.named("a") if one["href"].startswith("#")]
    assert len(links) == 2
    assert set(links) <= {f"#{one['id']}" for one in slides_only}
    total = len(slides_only)
    assert f"{total} / {total}" in page.text()
    # A token view is not for slides: it is pointed to.
    assert page.named("t-k") == []
    assert {"en": "in the page, not on slides", "ja": "スライドでは省略"}[language] in page.text()


def test_what_stands_before_the_sections_stands_below_the_title() -> None:
    short = deck(Paragraph(line=[("lead", "")]), Contents(), Heading(text="A"))
    assert [one["id"] for one in short.named("section")] == ["slide-1", "slide-2", "slide-3"]
    long = deck(List(items=[[("lead", "")]] * 12), Heading(text="A"))
    assert len(long.named("section")) == 3
