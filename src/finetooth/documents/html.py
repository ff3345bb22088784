"""A document as one page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from itertools import groupby

from finetooth.charts.chart import COLORS
from finetooth.charts.svg import legend_mark, render_svg
from finetooth.documents.blocks import Block, Code, Document, Figure, Heading, Line, Paragraph, Table, Tokens
from finetooth.messages import say
from finetooth.view.markup import escape, record_markup
from finetooth.view.shell import page


def render(document: Document) -> Iterator[str]:
    """Yield a document as a page, piece by piece; it runs no script."""
    title = f"{document.title} · {document.tool}"
    yield from page(_body(document), title=title, style=_style(), attributes='class="finetooth page"')


def fragment(document: Document) -> str:
    """Return a document as HTML to stand in another page, such as a notebook's cell; its styles touch nothing else."""
    blocks = "".join(_blocks(document))
    return f'<div class="finetooth"><style>{_style()}</style><div class="doc">\n{blocks}</div></div>\n'


def _style() -> str:
    colors = "".join(f" --c{number}: {color};" for number, color in enumerate(COLORS))
    classes = "".join(
        f".c{number} {{ stroke: var(--c{number}); fill: var(--c{number}); }}" for number in range(len(COLORS))
    )
    style = _resource("finetooth.view", "view.css") + _resource("finetooth.documents", "document.css")
    return f"{style}\n.finetooth {{{colors} }}\n{classes}\n"


def _body(document: Document) -> Iterator[str]:
    yield f'<header><p class="tool">{escape(document.tool)}</p><h1>{escape(document.title)}</h1></header>\n'
    yield '<main class="doc">\n'
    yield from _blocks(document)
    yield "</main>\n"


def _blocks(document: Document) -> Iterator[str]:
    """Yield the blocks, figures that follow each other beside each other where there is room."""
    for is_figure, group in groupby(document.blocks, key=lambda block: isinstance(block, Figure)):
        parts = ["".join(_block(block)) for block in group]
        yield f'<div class="figures">\n{"".join(parts)}</div>\n' if is_figure and any(parts) else "".join(parts)


def _block(block: Block) -> Iterator[str]:
    if isinstance(block, Heading):
        yield f"<h{block.level}>{escape(block.text)}</h{block.level}>\n"
    elif isinstance(block, Paragraph):
        yield f'<p class="{block.tone}">{_line(block.line)}</p>\n'
    elif isinstance(block, Table):
        yield from _table(block)
    elif isinstance(block, Figure):
        yield from _figure(block)
    elif isinstance(block, Code):
        lines = "\n".join(map(escape, block.lines))
        yield f'<pre class="code" tabindex="0"><code>{lines}</code></pre>\n'
    elif isinstance(block, Tokens):
        markup = "".join(record_markup(block.inspected, titles=True))
        yield f'<details class="tokens-of"><summary>{escape(block.summary)}</summary>\n{markup}</details>\n'


def _line(line: Line) -> str:
    return "".join(_stretch(text, style) for text, style in line)


def _stretch(text: str, style: str) -> str:
    shown = "<br>".join(map(escape, text.split("\n")))
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
def _resource(package: str, name: str) -> str:
    return files(package).joinpath(name).read_text(encoding="utf-8")
