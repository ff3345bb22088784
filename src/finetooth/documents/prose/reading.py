"""Markdown taken apart by markdown-it-py, which the extra `report` brings."""

from __future__ import annotations

import shlex
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from finetooth.documents.prose.tree import (
    Inline,
    Mark,
    Piece,
    Prose,
    ProseCode,
    ProseHeading,
    ProseList,
    ProseQuote,
    ProseRule,
    ProseTable,
    ProseText,
    Stretch,
)
from finetooth.documents.web import is_web_address
from finetooth.errors import DataError, MissingExtraError
from finetooth.messages import say

if TYPE_CHECKING:
    from markdown_it.rules_inline import StateInline
    from markdown_it.token import Token
    from markdown_it.tree import SyntaxTreeNode

LOWEST = 6
"""The level below which HTML and Markdown have no headings."""

MAX_BYTES = 1_000_000
"""How long a text for a report may be: a thousand pages. More was named by mistake."""

_MARKS: dict[str, Mark] = {"strong": "strong", "em": "emphasis", "s": "struck"}
# Blanks of other widths, which prose may hold for its looks, and what has no looks of its own: elsewhere these are made
# visible, since in data they are faults.
_BLANKS = dict.fromkeys(map(ord, "\t\u3000\u00a0\u2002\u2003\u2009\u202f"), " ")
_DROPPED = dict.fromkeys([0xFEFF, 0x00AD, 0x200B, 0x200D, *range(0xFE00, 0xFE10)])
_PLAIN = _BLANKS | _DROPPED


def read_prose(path: Path, *, level: int = 2) -> Prose:
    """Read a file of Markdown.

    Args:
        path: The file, in UTF-8.
        level: The level of the section that it stands in; its own headings go below that.

    Raises:
        DataError: The file cannot be read, or is no text.
        MissingExtraError: markdown-it-py is not installed.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise DataError(
            say("documents.prose_unreadable", reason=error.strerror or str(error)),
            where=str(path),
            help=say("documents.prose_unreadable_help"),
        ) from error
    if len(content) > MAX_BYTES:
        raise DataError(
            say("documents.prose_too_long", limit=f"{MAX_BYTES:,}"),
            where=str(path),
            help=say("documents.prose_unreadable_help"),
        )
    try:
        source = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(
            say("documents.prose_no_utf8"),
            where=f"{path}:{line}",
            help=say("documents.prose_no_utf8_help", path=shlex.quote(str(path))),
        ) from error
    return parse_prose(source, level=level)


def parse_prose(source: str, *, level: int = 2) -> Prose:
    """Take a text of Markdown (CommonMark, tables and strikethrough) apart.

    Raw HTML in it stays text. So does a link to anything but http and https. A picture is told by its alt text.

    Args:
        source: The text.
        level: The level of the section that it stands in; its own headings go below that.

    Raises:
        MissingExtraError: markdown-it-py is not installed.
    """
    try:
        from markdown_it import MarkdownIt
        from markdown_it.rules_inline import emphasis, strikethrough
        from markdown_it.tree import SyntaxTreeNode
    except ImportError as error:
        raise MissingExtraError(say("documents.no_markdown_it"), help="pip install 'finetooth[report]'") from error

    class Reader(MarkdownIt):
        """Markdown in which no address but one of the web is an address."""

        def validateLink(self, url: str) -> bool:
            return is_web_address(url)

    reader = Reader("commonmark", {"html": False}).enable(["table", "strikethrough"])
    reader.inline.ruler.at("emphasis", _beside_japanese(emphasis.tokenize))
    reader.inline.ruler.at("strikethrough", _beside_japanese(strikethrough.tokenize))
    root = SyntaxTreeNode(reader.parse(source))
    highest = min((int(node.tag[1]) for node in root.walk() if node.type == "heading"), default=1)
    return Prose(pieces=tuple(_pieces(root.children, level + 1 - highest)))


def _beside_japanese(rule: Callable[[StateInline, bool], bool]) -> Callable[[StateInline, bool], bool]:
    """Return a rule of emphasis that holds beside Japanese too.

    To CommonMark, asterisks between a letter and a bracket neither open nor close anything, for words have blanks
    between them: `これは**「太字」**です` would keep its asterisks. Here a Japanese neighbour counts as a blank.
    """

    def tokenize(state: StateInline, silent: bool) -> bool:
        start, count = state.pos, len(state.delimiters)
        if not rule(state, silent):
            return False
        before, after = state.src[start - 1 : start], state.src[state.pos : state.pos + 1]
        if state.src[start] != "_":
            for delimiter in state.delimiters[count:]:
                delimiter.open |= _is_wide(before) and bool(after.strip())
                delimiter.close |= _is_wide(after) and bool(before.strip())
        return True

    return tokenize


def _pieces(nodes: Sequence[SyntaxTreeNode], demotion: int) -> Iterator[Piece]:
    for node in nodes:
        match node.type:
            case "heading":
                yield ProseHeading(level=min(int(node.tag[1]) + demotion, LOWEST), inline=_inline_of(node))
            case "paragraph":
                yield ProseText(inline=_inline_of(node))
            case "bullet_list" | "ordered_list":
                items = tuple(tuple(_pieces(item.children, demotion)) for item in node.children)
                start = int(node.attrs.get("start", 1)) if node.type == "ordered_list" else None
                yield ProseList(items=items, start=start)
            case "table":
                lines = [row.children for part in node.children for row in part.children]
                head, *rows = [tuple(map(_inline_of, line)) for line in lines]
                to_right = tuple(cell.attrs.get("style") == "text-align:right" for cell in lines[0])
                yield ProseTable(head=head, rows=tuple(rows), to_right=to_right)
            case "fence" | "code_block":
                yield ProseCode(lines=tuple(node.content.removesuffix("\n").split("\n")))
            case "blockquote":
                yield ProseQuote(pieces=tuple(_pieces(node.children, demotion)))
            case "hr":
                yield ProseRule()
            case _:
                raise AssertionError(f"a piece of Markdown that nobody enabled: {node.type}")


def _inline_of(node: SyntaxTreeNode) -> Inline:
    tokens = [token for child in node.children for token in (child.token.children or [] if child.token else [])]
    return tuple(_joined(list(_stretches(tokens))))


def _stretches(tokens: Sequence[Token]) -> Iterator[Stretch]:
    """Yield the stretches of a paragraph; marks are counted, for `**a *b* c**` nests them."""
    open_marks: list[Mark] = []
    urls: list[str] = []
    for token in tokens:
        url = urls[-1] if urls else None
        kind, _, end = token.type.rpartition("_")
        if token.type == "softbreak":
            yield Stretch(text="\r", marks=frozenset(open_marks), url=url)
        elif token.type == "hardbreak":
            yield Stretch(text="\n", marks=frozenset(open_marks), url=url)
        elif token.type == "code_inline":
            yield Stretch(text=token.content.translate(_DROPPED), marks=frozenset([*open_marks, "code"]), url=url)
        elif token.type == "image":
            alt = "".join(child.content for child in token.children or []).translate(_PLAIN)
            yield Stretch(text=say("documents.picture", alt=alt or "–"), marks=frozenset(open_marks), url=url)
        elif kind == "link":
            if end == "open":
                urls.append(str(token.attrs["href"]))
            else:
                urls.pop()
        elif kind in _MARKS:
            if end == "open":
                open_marks.append(_MARKS[kind])
            else:
                open_marks.remove(_MARKS[kind])
        else:
            yield Stretch(text=token.content.translate(_PLAIN), marks=frozenset(open_marks), url=url)


def _joined(stretches: list[Stretch]) -> Iterator[Stretch]:
    """Yield stretches, those marked alike as one; a line's end is a blank, or nothing between Japanese characters."""
    last: Stretch | None = None
    for index, one in enumerate(stretches):
        if one.text == "\r":
            before = last.text[-1:] if last is not None else ""
            after = stretches[index + 1].text[:1] if index + 1 < len(stretches) else ""
            one = replace(one, text="" if _is_wide(before) and _is_wide(after) else " ")
        if not one.text:
            continue
        if last is not None and (last.marks, last.url) == (one.marks, one.url):
            last = replace(last, text=last.text + one.text)
            continue
        if last is not None:
            yield last
        last = one
    if last is not None:
        yield last


def _is_wide(char: str) -> bool:
    # Korean is written with blanks between its words.
    return bool(char) and unicodedata.east_asian_width(char) in "WF" and not "\uac00" <= char <= "\ud7a3"
