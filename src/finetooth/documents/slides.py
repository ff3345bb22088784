"""A document as a deck of slides: one page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Iterator

from finetooth.documents.blocks import Document
from finetooth.documents.html import blocks_markup, resource, style
from finetooth.documents.paging import Slide, fits_below_title, slides_of
from finetooth.documents.sections import has_contents
from finetooth.messages import say
from finetooth.view.markup import escape
from finetooth.view.shell import page

_PACKAGE = "finetooth.documents"


def render(document: Document) -> Iterator[str]:
    """Yield a document as slides, piece by piece: a title, its contents where it has any, and each section.

    Keys turn the slides by a script of the page's own. Without it they are scrolled, and each snaps into its place.
    """
    yield from page(
        _deck(document),
        title=f"{document.title} · {document.tool}",
        style=style() + resource(_PACKAGE, "slides.css"),
        script=resource(_PACKAGE, "slides.js"),
        attributes='class="finetooth deck"',
    )


def _deck(document: Document) -> Iterator[str]:
    slides = slides_of(document)
    lead = slides.pop(0) if slides and fits_below_title(slides[0]) else None
    front = 2 if has_contents(document) else 1
    total = front + len(slides)
    yield f'<main>\n<section class="slide title" id="slide-1">\n<h1>{escape(document.title)}</h1>\n'
    yield f'<p class="tool">{escape(document.tool)}</p>\n'
    if lead is not None:
        yield f'<div class="doc">\n{"".join(blocks_markup(lead.blocks))}</div>\n'
    yield f"{_number(1, total)}</section>\n"
    if front == 2:
        yield from _contents(slides, total)
    for number, slide in enumerate(slides, front + 1):
        yield f'<section class="slide" id="slide-{number}">\n'
        yield _heading(slide, document)
        yield f'<div class="doc">\n{"".join(blocks_markup(slide.blocks))}</div>\n{_number(number, total)}</section>\n'
    yield "</main>\n"


def _contents(slides: list[Slide], total: int) -> Iterator[str]:
    begun = [(number, slide.title) for number, slide in enumerate(slides, 3) if slide.title and slide.number == 1]
    kind = ' class="long"' if len(begun) > 9 else ""
    yield f'<section class="slide" id="slide-2">\n<h2>{escape(say("documents.contents"))}</h2>\n<nav><ol{kind}>\n'
    yield "".join(f'<li><a href="#slide-{number}">{escape(title)}</a></li>\n' for number, title in begun)
    yield f"</ol></nav>\n{_number(2, total)}</section>\n"


def _heading(slide: Slide, document: Document) -> str:
    part = f" <small>{slide.number} / {slide.of}</small>" if slide.of > 1 else ""
    return f"<h2>{escape(slide.title or document.title)}{part}</h2>\n"


def _number(number: int, total: int) -> str:
    label = escape(say("documents.slide_number", number=number, total=total))
    return f'<p class="slide-number" aria-label="{label}">{number} / {total}</p>\n'
