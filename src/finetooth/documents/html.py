"""A document as one page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from itertools import groupby

from finetooth.charts.chart import COLORS
from finetooth.charts.svg import legend_mark, render_svg
from finetooth.documents.blocks import (
    Block,
    Code,
    Contents,
    Document,
    Figure,
    Formula,
    Heading,
    Line,
    List,
    Paragraph,
    References,
    Table,
    Tokens,
)
from finetooth.documents.prose import Prose
from finetooth.documents.prose import html as prose
from finetooth.documents.sections import anchors, sections
from finetooth.documents.web import web_address
from finetooth.messages import say
from finetooth.view.markup import escape, record_markup
from finetooth.view.shell import page


def render(document: Document, *, is_for_pdf: bool = False) -> Iterator[str]:
    """Yield a document as a page, piece by piece; it runs no script.

    Args:
        document: The document.
        is_for_pdf: Whether sections are called by numbers: names in PDF end at 127 bytes (ISO 32000-1, Annex C), which
            are fourteen kanji.
    """
    title = f"{document.title} · {document.tool}"
    yield from page(
        _body(document, is_for_pdf),
        title=title,
        style=style() + resource("finetooth.documents", "print.css"),
        attributes='class="finetooth page"',
    )


def fragment(document: Document) -> str:
    """Return a document as HTML to stand in another page, such as a notebook's cell; its styles touch nothing else.

    Its headings have no names there, which could be those of the other page's.
    """
    blocks = "".join(blocks_markup(document.blocks, contents=[("", text) for _, text in sections(document)]))
    return f'<div class="finetooth"><style>{style()}</style><div class="doc">\n{blocks}</div></div>\n'


def style() -> str:
    """Return the styles of documents; each touches only what is in an element of the class `finetooth`."""
    colors = "".join(f" --c{number}: {color};" for number, color in enumerate(COLORS))
    classes = "".join(
        f".finetooth .c{number} {{ stroke: var(--c{number}); fill: var(--c{number}); }}"
        for number in range(len(COLORS))
    )
    sheets = resource("finetooth.view", "view.css") + resource("finetooth.documents", "document.css")
    return f".finetooth {{{colors} }}\n{sheets}\n{classes}\n"


def blocks_markup(
    blocks: Sequence[Block], *, contents: Sequence[tuple[str, str]] = (), names: Sequence[str] | None = None
) -> Iterator[str]:
    """Yield blocks, figures that follow each other beside each other where there is room.

    Args:
        blocks: The blocks.
        contents: What a table of contents holds: the name that each section is linked by, and its heading.
        names: For each block the name that it is linked by; without them none has any.
    """
    named = zip(blocks, names or [""] * len(blocks), strict=True)
    for is_figure, group in groupby(named, key=lambda one: isinstance(one[0], Figure)):
        parts = ["".join(_block(block, name, contents)) for block, name in group]
        yield f'<div class="figures">\n{"".join(parts)}</div>\n' if is_figure and any(parts) else "".join(parts)


def _body(document: Document, is_for_pdf: bool) -> Iterator[str]:
    names, contents = anchors(document.blocks), sections(document)
    if is_for_pdf:
        numbered = {name: f"section-{number}" for number, name in enumerate(filter(None, names), 1)}
        names = [numbered.get(name, "") for name in names]
        contents = [(numbered[name], text) for name, text in contents]
    yield f'<header><p class="tool">{escape(document.tool)}</p><h1>{escape(document.title)}</h1></header>\n'
    yield '<main class="doc">\n'
    yield from blocks_markup(document.blocks, contents=contents, names=names)
    yield "</main>\n"


def _block(block: Block, name: str, contents: Sequence[tuple[str, str]]) -> Iterator[str]:
    match block:
        case Heading():
            named = f' id="{name}"' if name else ""
            yield f"<h{block.level}{named}>{escape(block.text)}</h{block.level}>\n"
        case Paragraph():
            yield f'<p class="{block.tone}">{_line(block.line)}</p>\n'
        case Table():
            yield from _table(block)
        case Figure():
            yield from _figure(block)
        case Code():
            lines = "\n".join(map(escape, block.lines))
            yield f'<pre class="code" tabindex="0"><code>{lines}</code></pre>\n'
        case List():
            yield "<ul>\n" + "".join(f"<li>{_line(item)}</li>\n" for item in block.items) + "</ul>\n"
        case Contents():
            yield from _contents(contents)
        case Formula():
            number = "" if block.number is None else f'<span class="number">({block.number})</span>'
            math = f'<math display="block" alttext="{escape(block.term.plain)}">{block.term.mathml}</math>'
            yield f'<div class="formula">{math}{number}</div>\n'
        case References():
            yield '<ol class="references">\n'
            for at, one in enumerate(block.items, block.first):
                # The list's own numbers are not drawn: this one can be copied with its text.
                yield f'<li value="{at}"><span class="mark-of">[{at}]</span> {_reference(one.text, one.url)}</li>\n'
            yield "</ol>\n"
        case Prose():
            yield f'<div class="own">\n{"".join(prose.render(block.pieces))}</div>\n'
        case Tokens():
            markup = "".join(record_markup(block.inspected, titles=True))
            yield f'<details class="tokens-of"><summary>{escape(block.summary)}</summary>\n{markup}</details>\n'


def _contents(contents: Sequence[tuple[str, str]]) -> Iterator[str]:
    title = escape(say("documents.contents"))
    yield f'<nav class="contents" aria-label="{title}"><p>{title}</p>\n<ol>\n'
    for name, text in contents:
        # `escape` is not for the name: it is made of letters and digits alone.
        yield f'<li><a href="#{name}">{escape(text)}</a></li>\n' if name else f"<li>{escape(text)}</li>\n"
    yield "</ol></nav>\n"


def _reference(text: str, url: str | None) -> str:
    address = web_address(url)
    if url is None or address is None:
        return escape(f"{text} {url or ''}".strip())
    return f"{escape(text)} {prose.link(escape(address), address)}"


def _line(line: Line) -> str:
    return "".join(_stretch(text, style) for text, style in line)


def _stretch(text: str, style: str) -> str:
    shown = "<br>".join(map(escape, text.split("\n")))
    if style == "code":
        return f"<code>{shown}</code>"
    return f'<span class="{style}">{shown}</span>' if style else shown


def _table(table: Table) -> Iterator[str]:
    kind = "prose" if table.is_prose else "facts"
    yield f'<div class="wide"><table class="{kind}"><thead><tr><th>{escape(table.corner)}</th>'
    yield "".join(f'<th scope="col">{escape(name)}</th>' for name in table.head) + "</tr></thead><tbody>\n"
    for row in table.rows:
        cells = "".join(f"<td>{_line(cell)}</td>" for cell in row.cells)
        yield f'<tr><th scope="row">{_line(row.label)}</th>{cells}</tr>\n'
    yield "</tbody></table></div>\n"


def _figure(figure: Figure) -> Iterator[str]:
    chart = figure.chart
    if not chart.drawn:
        return
    legend = "".join(f"<span>{legend_mark(one)} {escape(one.name)}</span>" for one in chart.drawn)
    yield f'<figure>{render_svg(chart)}\n<div class="legend-of">{legend}</div>\n'
    yield f"<figcaption><b>{escape(figure.name)}</b> {escape(chart.title)} "
    told = escape(say("documents.semicolon").join(part for part in (figure.caption, figure.dashes) if part))
    yield f'<span class="quiet">{told}</span></figcaption></figure>\n'


@cache
def resource(package: str, name: str) -> str:
    """Return a file of a package, such as a style sheet."""
    return files(package).joinpath(name).read_text(encoding="utf-8")
