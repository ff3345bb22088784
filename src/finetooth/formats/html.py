"""A report as a page that needs nothing but itself, and as a fragment for notebooks."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.resources import files

from finetooth.formats.report import Report, SetupReport, Standing, count_severities, standing
from finetooth.formats.view import tokens_of
from finetooth.formats.wording import (
    all_stop,
    code_spans,
    conclusion,
    ending_rows,
    evidence_of,
    extent,
    heading_details,
    prediction_of,
    severity_word,
    share_of,
)
from finetooth.messages import say
from finetooth.types import Cause, Finding
from finetooth.view.markup import escape
from finetooth.view.shell import page

_NAME = "finetooth check"


def render(report: Report, *, title: str) -> Iterator[str]:
    """Yield a page, piece by piece.

    It reads without its script, which adds nothing but buttons that copy code.

    Args:
        report: What was found.
        title: What was checked, such as the name of a file.
    """
    words = f'data-copy="{escape(say("formats.copy"))}" data-copied="{escape(say("formats.copied"))}"'
    yield from page(
        _whole(report, title),
        title=f"{title} · {_NAME}",
        style=_style(),
        script=_resource("finetooth.formats", "report.js"),
        attributes=f'class="finetooth" {words}',
    )


def fragment(report: Report) -> str:
    """Return a report as HTML to stand in another page, such as a notebook's cell.

    It brings its styles, which touch nothing outside it, and no script. A finding is a line that opens: its message is
    seen, its cause, places and reproduction are folded below.
    """
    parts = "".join(piece for part in report.parts for piece in _part(part, are_folded=True))
    return f'<div class="finetooth"><style>{_style()}</style>\n{_verdict(report)}{parts}</div>\n'


def _style() -> str:
    return _resource("finetooth.view", "view.css") + _resource("finetooth.formats", "report.css")


def _whole(report: Report, title: str) -> Iterator[str]:
    yield f'<header><p class="tool">{_NAME}</p><h1>{escape(title)}</h1>\n{_verdict(report)}</header>\n<main>\n'
    for part in report.parts:
        yield "".join(_part(part))
    yield "</main>\n"


def sentence(text: str) -> str:
    """Return a sentence escaped, what stands in backticks as code."""
    return "".join(f"<code>{escape(part)}</code>" if is_code else escape(part) for part, is_code in code_spans(text))


def _verdict(report: Report) -> str:
    worst = next(iter(count_severities(report)), "good" if all_stop(report) else "info")
    said = escape(conclusion(report))
    if all_stop(report):
        said += f' <span class="stops">{escape(say("formats.all_stop"))}</span>'
    return f'<p class="verdict {worst}">{said}</p>\n'


def _part(part: SetupReport, *, are_folded: bool = False) -> Iterator[str]:
    details = " · ".join(map(escape, heading_details(part)))
    yield f'<section class="setup">\n<h2>{escape(part.model)} <small>{details}</small></h2>\n'
    if part.unchecked:
        yield f'<p class="warn">{escape(say("tokenizer.unchecked", reason=part.unchecked))}</p>\n'
    yield from _endings(part)
    found = standing(part)
    for one in found:
        yield from _folded_card(one, part) if are_folded else _card(one, part)
    if any(one.finding.views for one in found):
        yield f'<p class="quiet note">{sentence(say("formats.supervised_mark"))}</p>\n'
    if part.not_run:
        said = f"{escape(say('formats.not_run'))} ({len(part.not_run)})"
        yield f'<details class="not-run"><summary>{said}</summary>\n<ul>'
        yield "".join(f"<li><b>{escape(code)}</b> {sentence(reason)}</li>" for code, reason in part.not_run)
        yield "</ul></details>\n"
    yield "</section>\n"


def _endings(part: SetupReport) -> Iterator[str]:
    """Yield the table of endings. A bar is drawn as SVG: the page's policy forbids style attributes."""
    rows = ending_rows(part)
    if not rows:
        return
    heads = (say(f"formats.head_{name}") for name in ("ending", "rows", "share"))
    first, *others = map(escape, heads)
    yield f'<div class="wide"><table class="endings"><thead><tr><th>{first}</th>'
    yield "".join(f'<th class="n">{head}</th>' for head in others) + "<th></th></tr></thead><tbody>\n"
    for branch, words, count, share in rows:
        kind = "none" if count == 0 else "good" if branch == "stops" else "bad"
        width = f"{max(share * 100, 0.5):.2f}" if count else "0"
        bar = (
            '<svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">'
            f'<rect class="all" width="100" height="8"/><rect class="part" width="{width}" height="8"/></svg>'
        )
        yield f'<tr class="{kind}"><th scope="row">{escape(words)}</th><td class="n">{count:,}</td>'
        yield f'<td class="n">{escape(share_of(share))}</td><td class="drawn">{bar}</td></tr>\n'
    yield f"</tbody></table></div>\n<p>{escape(prediction_of(part))}</p>\n"


def _card(one: Standing, part: SetupReport) -> Iterator[str]:
    finding = one.finding
    yield f'<article class="card {finding.severity}">\n<h3>{_title(finding)} '
    yield f"<small>{escape(extent(finding, part))}</small></h3>\n"
    yield from _body(finding)
    yield from _following(one)
    yield "</article>\n"


def _folded_card(one: Standing, part: SetupReport) -> Iterator[str]:
    """Yield a finding as a card whose evidence is folded; the summary holds what tells whether to open it."""
    finding = one.finding
    yield f'<details class="card {finding.severity}"><summary><span class="heading">{_title(finding)} '
    yield f"<small>{escape(extent(finding, part))}</small></span> "
    yield f'<span class="message">{sentence(finding.message)}</span></summary>\n'
    yield from _body(finding, with_message=False)
    yield from _following(one)
    yield "</details>\n"


def _following(one: Standing) -> Iterator[str]:
    if one.following:
        yield f'<div class="follows"><p class="label">{escape(say("formats.follows"))}</p>\n'
        for following in one.following:
            yield f"<details><summary>{_title(following)} <span>{sentence(following.message)}</span></summary>\n"
            yield from _body(following, with_message=False)
            yield "</details>\n"
        yield "</div>\n"


def _title(finding: Finding) -> str:
    word = escape(severity_word(finding.severity))
    return (
        f'<span class="badge {finding.severity}">{word}</span> '
        f'<b class="code">{escape(finding.code)}</b> {escape(finding.name)}'
    )


def _body(finding: Finding, *, with_message: bool = True) -> Iterator[str]:
    if with_message:
        yield f'<p class="message">{sentence(finding.message)}</p>\n'
    if finding.cause is not None:
        yield from _cause(finding.cause)
    yield from _places(finding)
    if finding.reproduction:
        code = "\n".join(map(escape, finding.reproduction.split("\n")))
        yield f'<p class="label">{escape(say("formats.reproduce"))}</p>\n<pre class="code" tabindex="0">{code}</pre>\n'
    if finding.help or finding.fixable:
        yield '<p class="help">'
        if finding.help:
            yield f"<b>{escape(say('formats.help'))}</b> {sentence(finding.help)} "
        if finding.fixable:
            yield f'<span class="fixable">{sentence(say("formats.fixable"))}</span>'
        yield "</p>\n"


def _cause(cause: Cause) -> Iterator[str]:
    yield f'<div class="cause"><p><span class="label">{escape(say("formats.because"))}</span> '
    yield f"<b>{escape(cause.code)}</b> {sentence(cause.text)}</p>\n"
    pairs = evidence_of(cause)
    if pairs:
        yield f'<div class="wide"><table class="evidence" aria-label="{escape(say("formats.evidence"))}"><tbody>'
        for name, value in pairs:
            yield f'<tr><th scope="row"><code>{escape(name)}</code></th><td><code>{escape(value)}</code></td></tr>'
        yield "</tbody></table></div>\n"
    yield "</div>\n"


def _places(finding: Finding) -> Iterator[str]:
    shown = [
        (place.where, finding.views[index] if index < len(finding.views) else "")
        for index, place in enumerate(finding.places)
    ]
    shown = [(where, view) for where, view in shown if view or where != finding.model]
    if not shown:
        return
    yield f'<dl class="places" aria-label="{escape(say("formats.places"))}">'
    for where, view in shown:
        yield f"<div><dt>{escape(where)}</dt>"
        if view:
            yield f"<dd>{''.join(map(_token, _runs(view)))}</dd>"
        yield "</div>\n"
    yield "</dl>\n"


def _runs(view: str) -> Iterator[tuple[str, str, bool]]:
    """Yield the tokens of a view: piece, id where it stands with it, and whether the finding is about it."""
    tokens = tokens_of(view)
    meant = [index for index, token in enumerate(tokens) if token.is_meant]
    for index, token in enumerate(tokens):
        text, token_id = token.text, ""
        if token.is_meant:
            # The brackets say which tokens are meant: here a frame does.
            text = text.removeprefix("[") if index == meant[0] else text
            text = text.removesuffix("]") if index == meant[-1] else text
            piece, blank, number = text.rpartition(" ")
            text, token_id = (piece, number) if blank else (text, "")
        yield text, token_id, token.is_meant


def _token(token: tuple[str, str, bool]) -> str:
    text, token_id, is_meant = token
    classes = ' class="meant"' if is_meant else ""
    number = f"<i>{escape(token_id)}</i>" if token_id else ""
    return f"<t-p{classes}>{escape(text) or '∅'}{number}</t-p>"


@cache
def _resource(package: str, name: str) -> str:
    return files(package).joinpath(name).read_text(encoding="utf-8")
