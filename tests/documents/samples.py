"""Documents for the tests of their writers: one with every block, and one of which every text is hostile."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser

from finetooth.charts import Chart, Series
from finetooth.documents import (
    Block,
    Code,
    Contents,
    Document,
    Figure,
    Formula,
    Heading,
    List,
    Paragraph,
    Reference,
    References,
    Row,
    Table,
    Tokens,
    parse_prose,
)
from finetooth.documents import formula as f
from tests.view.samples import one_side

HOSTILE = (
    "<script>document.title='ran'</script>\"><img src=x onerror=document.title='ran'> [x](javascript:alert(1)) "
    "![p](https://evil.example/p.png) <javascript:alert(1)> `tick` ``` | pipe \n# heading\n\n- item\n<!-- --> $$x$$ "
    "\x1b[31mred\x1b]0;t\x07 \u202eabc\u2066 \ud800 \x00 \x9b &lt;b&gt; **bold** "
    "</style></title></math> www.evil.example"
)
"""What records, names and answers may hold."""

PROSE = f"""# Mine

{HOSTILE}

<img src=x onerror=document.title='ran'>

[a](javascript:alert(1)) [b](data:text/html,x) [c](https://e.example/"><script>) <vbscript:x> [d](//e.example)

| a | b |
|---|---|
| <script>1</script> | [x](javascript:1) `|` |

```"><script>
</code></pre><script>document.title='ran'</script>
```
"""


def loss() -> f.Term:
    """Return the mean loss of the supervised tokens."""
    t = f.name("t")
    p = f.row(f.sub(f.name("p"), f.name("θ")), f.bracketed(f.sub(f.name("x"), t), f.sign("|"), f.name("c")))
    total = f.total(f.log(p), over=f.row(t, f.sign("∈"), f.name("S")))
    return f.row(f.name("L"), f.sign("="), f.negative(f.fraction(f.number(1), f.name("N"))), total)


def figure(number: int = 1, text: str = "loss") -> Figure:
    """Return a figure of two curves, of which every name is the text."""
    series = [Series(name=text, points=[(0, 2.0), (1, 1.0)]), Series(name=text, points=[(0, 3.0)], dashed=True)]
    chart = Chart(title=text, x_label=text, series=series)
    return Figure(number=number, chart=chart, caption=text, dashes=text, name=text)


def table(num_rows: int = 2, text: str = "2", *, is_prose: bool = False) -> Table:
    """Return a table of three columns, with an id in bold."""
    rows = [Row(label=[(f"{text}", "")], cells=[[(text, "strong")], [(text, "differs")], []]) for _ in range(num_rows)]
    return Table(corner="setting", head=["a", "b", text], rows=rows, is_prose=is_prose)


def every_block(
    text: str = "text", *, prose: str = "**own**", url: str = "https://arxiv.org/abs/1512.00567"
) -> Document:
    """Return a document that holds every block, made of a text."""
    blocks: tuple[Block, ...] = (
        Paragraph(line=[(text, "heading")], tone="warning"),
        Contents(),
        Heading(text=text),
        Paragraph(line=[(text, ""), (text, "strong"), (text, "bad")]),
        List(items=[[(text, "")], [(text, "strong")]]),
        Heading(text=text, level=3),
        Formula(term=loss(), number=1),
        Formula(term=f.row(f.words(text), f.sign("="), f.name(text))),
        figure(1, text),
        figure(2, text),
        table(2, text),
        table(1, text, is_prose=True),
        Tokens(inspected=one_side(), summary=text),
        Code(lines=[text, "second"]),
        parse_prose(prose),
        Heading(text="参考文献"),
        References(items=[Reference(text=text, url=url), Reference(text=text)]),
    )
    return Document(title=text, tool=text, blocks=blocks)


def hostile() -> Document:
    """Return a document of which every text is hostile, addresses among them."""
    return every_block(HOSTILE, prose=PROSE, url="javascript:document.title='ran'")


VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """HTML taken apart: elements with their attributes, and text by the element that it stands in."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[str, str]] = []
        self.comments: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open and self._open.pop() == tag, f"</{tag}> ends no element"

    def handle_data(self, data: str) -> None:
        self.texts.append((self._open[-1] if self._open else "", data))

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)

    def named(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def text(self) -> str:
        return "".join(data for tag, data in self.texts if tag not in ("style", "script"))


def complaints(page: str, *, num_scripts: int = 0) -> Iterator[str]:
    """Yield what is not safe in HTML: what could act, and characters that could mislead."""
    parsed = Page(page)
    if len(parsed.named("script")) != num_scripts:
        yield "a script"
    yield from (f"<{tag}>" for tag, _ in parsed.elements if tag in {"img", "iframe", "object", "embed", "form", "link"})
    yield from (f"comment {comment!r}" for comment in parsed.comments)
    for tag, attributes in parsed.elements:
        for name, value in attributes.items():
            if (name, value) == ("style", "text-align:right"):
                continue  # how readers of Markdown write the alignment of a column
            if name.startswith("on") or name in {"style", "src", "srcset", "action", "formaction", "xlink:href"}:
                yield f"<{tag} {name}={value!r}>"
            if name == "href" and not value.startswith(("#", "https://", "http://")):
                yield f"<{tag} {name}={value!r}>"
    yield from map(repr, re.findall(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", page))
