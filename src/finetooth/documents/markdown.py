"""A document as Markdown of GitHub's flavour."""

from __future__ import annotations

from collections.abc import Callable, Iterator

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
from finetooth.documents.prose import markdown as prose
from finetooth.documents.sections import anchors, has_contents, sections
from finetooth.formats.markdown import block as code_block
from finetooth.formats.markdown import escape
from finetooth.messages import say
from finetooth.view.visible import visible

Picture = Callable[[Figure], str | None]
"""Gives the address of a figure's picture, relative to the file; `None` where there is none."""


def render(document: Document, *, picture: Picture | None = None) -> Iterator[str]:
    """Yield a document as Markdown, piece by piece.

    Args:
        document: The document.
        picture: Where the pictures of its figures lie; without them each curve is told by its first and last values.
    """
    yield f"# {escape(document.title)}\n"
    if document.is_signed:
        yield f"\n{escape(document.tool)}\n"
    is_linked = has_contents(document)
    for one, name in zip(document.blocks, anchors(document.blocks), strict=True):
        yield from (f"\n{piece}" for piece in _block(one, document, name if is_linked else "", picture))


def _block(block: Block, document: Document, name: str, picture: Picture | None) -> Iterator[str]:
    if isinstance(block, Heading):
        # GitHub gives the heading the same name; others give it another, or none.
        named = f'<a id="{name}"></a>' if name else ""
        yield f"{'#' * block.level} {named}{_within(block.text)}\n"
    elif isinstance(block, Paragraph):
        mark = "> " if block.tone == "warning" else ""
        yield f"{mark}{_line(block.line)}\n"
    elif isinstance(block, Table):
        yield _table(block)
    elif isinstance(block, Figure):
        yield from _figure(block, picture)
    elif isinstance(block, Code):
        yield code_block(block.lines)
    elif isinstance(block, List):
        yield "".join(f"- {_line(item)}\n" for item in block.items)
    elif isinstance(block, Contents):
        yield f"<b>{escape(say('documents.contents'))}</b>\n"
        yield "".join(f"- [{_within(title)}](#{name})\n" for name, title in sections(document))
    elif isinstance(block, Formula):
        tag = "" if block.number is None else rf" \tag{{{block.number}}}"
        yield f"$$\n{block.term.latex}{tag}\n$$\n"
    elif isinstance(block, References):
        yield "".join(
            f"{number}. {_reference(one.text, one.url)}\n" for number, one in enumerate(block.items, block.first)
        )
    elif isinstance(block, Prose):
        yield from prose.render(block.pieces)
    else:
        assert isinstance(block, Tokens), "a block that Markdown does not show"


def _within(text: str) -> str:
    """Return text that does not begin its line: a number and a dot there begin no list."""
    return escape(text).replace("&#46;", ".")


def _reference(text: str, url: str | None) -> str:
    link = prose.bare_link(url)
    return escape(f"{text} {url or ''}".strip()) if link is None else f"{escape(text)} {link}"


def _line(line: Line) -> str:
    return "".join(_stretch(text, style) for text, style in line)


def _stretch(text: str, style: str) -> str:
    shown = "<br>".join(escape(part) for part in text.split("\n"))
    if style in ("heading", "strong", "differs", "meant", "bad") and shown.strip():
        # Bold as HTML: asterisks beside Japanese punctuation are no emphasis to CommonMark.
        return f"<b>{shown}</b>"
    # As HTML: what is escaped within backticks would be shown with its escapes.
    return f"<code>{shown}</code>" if style == "code" else shown


def _table(table: Table) -> str:
    head = "".join(f" {escape(name)} |" for name in table.head)
    lines = [f"| {escape(table.corner)} |{head}", "|---|" + "---|" * len(table.head)]
    for row in table.rows:
        lines.append(f"| {_line(row.label)} |" + "".join(f" {_line(cell)} |" for cell in row.cells))
    return "\n".join(lines) + "\n"


def _figure(figure: Figure, picture: Picture | None) -> Iterator[str]:
    if not figure.chart.drawn:
        return
    address = picture(figure) if picture is not None else None
    if address is not None:
        yield f"![{escape(figure.chart.title)}](<{visible(address).replace('>', '%3E')}>)\n"
    told = figure.caption
    if address is not None and figure.dashes:
        told = say("documents.semicolon").join((figure.caption, figure.dashes))
    told = escape(told)
    title, stop = escape(figure.chart.title), escape(say("documents.stop"))
    yield f"<b>{escape(figure.name)}</b> {title}{stop}{told}\n"
    if address is None:
        lines = [f"| | {escape(say('documents.first'))} | {escape(say('documents.last'))} |", "|---|--:|--:|"]
        lines += [
            f"| {escape(one.name)} | {one.points[0][1]:.4g} | {one.points[-1][1]:.4g} |" for one in figure.chart.drawn
        ]
        yield "\n".join(lines) + "\n"
