"""Records as a web page that needs nothing but itself, and as a fragment for notebooks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from importlib.resources import files

from finetooth.messages import say
from finetooth.types import InspectedRecord
from finetooth.view.columns import KINDS
from finetooth.view.markup import as_script, escape, record_markup
from finetooth.view.shell import page
from finetooth.view.visible import NEWLINE, SPACE, TAB, WIDE_SPACE


def render_html(inspected: Iterable[InspectedRecord], *, title: str) -> Iterator[str]:
    """Yield a page of records, piece by piece, so that a page of any length needs the memory of one record.

    Args:
        inspected: The records and their sides.
        title: What the page is called.
    """
    style = _resource("view.css") + _resource("page.css")
    yield from page(_body(inspected, title), title=title, style=style, script=_resource("page.js"))


def _body(inspected: Iterable[InspectedRecord], title: str) -> Iterator[str]:
    yield f"<header><h1>{escape(title)}</h1></header>\n{_bar()}<main>\n"
    for each in inspected:
        yield "".join(record_markup(each))
    words = {word: say(f"view.card_{word}") for word in ("token", "id", "piece", "bytes", "label", "side", "range")}
    words |= {"supervised": say("view.supervised"), "masked": say("view.masked"), "gap": say("view.sign_gap")}
    yield '</main>\n<aside id="card" role="status" hidden></aside>\n'
    yield f'<script type="application/json" id="words">{as_script(words)}</script>\n'


def html_fragment(inspected: InspectedRecord, *, show_ids: bool = False) -> str:
    """Return one record as HTML to stand in another page, such as a notebook's cell.

    It brings its styles, which touch nothing outside it, and no script: what a token is stands in its title.

    Args:
        inspected: The record and its sides.
        show_ids: Whether every token's id stands under it.
    """
    classes = "finetooth ids" if show_ids else "finetooth"
    markup = "".join(record_markup(inspected, titles=True))
    legend = _legend(several=len(inspected.sides) > 1)
    return f'<div class="{classes}"><style>{_resource("view.css")}</style>{markup}{legend}</div>\n'


def _bar() -> str:
    """Return the switches and the signs. The switches are checkboxes that the styles read: they need no script."""
    switches = "".join(
        f'<label><input type="checkbox" id="{name}"> {escape(say(f"view.switch_{name}"))}</label>'
        for name in ("ids", "only")
    )
    return f'<div class="bar">{switches}{_legend(several=True)}</div>\n'


def _legend(*, several: bool) -> str:
    marks = (
        ('class="s"', "a", "view.sign_supervised"),
        ("", "a", "view.sign_masked"),
        ('class="k"', "&lt;s&gt;", "view.sign_special"),
        ('class="e"', "&lt;s&gt;", "view.sign_added"),
        ('class="s" m="3"', "字", "view.sign_several"),
        ('class="p" m="3"', "字", "view.sign_some"),
        ('class="o"', "a", "view.sign_gap"),
    )
    spaces = (
        (SPACE, "view.sign_space"),
        (NEWLINE, "view.sign_newline"),
        (TAB, "view.sign_tab"),
        (WIDE_SPACE, "view.sign_wide_space"),
    )
    parts = [f"<span><t-k {attributes}>{shown}</t-k> {escape(say(key))}</span>" for attributes, shown, key in marks]
    parts += [f"<span>{glyph} {escape(say(key))}</span>" for glyph, key in spaces]
    if several:
        parts.append(f'<span><t-c class="d"><t-k>a</t-k></t-c> {escape(say("view.sign_differs"))}</span>')
        parts += [f"<span>{escape(say(f'view.kind_{kind}'))}</span>" for kind in KINDS]
    return f'<div class="legend">{" ".join(parts)}</div>\n'


@cache
def _resource(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
