"""A report for comments on pull requests: tables of endings and findings, the details folded."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence

from finetooth.formats.report import Report, SetupReport, Standing, standing
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
from finetooth.types import Finding
from finetooth.view.visible import harmless

_SPECIAL = re.compile(r"[\\`*_\[\]<>&|~$#@]|(?<=:)/(?=/)|(?<=www)\.|^(?: (?=   )|[+=-]|[0-9]+[.)])", re.IGNORECASE)
"""What Markdown reads anywhere, what GitHub makes links of, and what makes something else of a line that it begins."""
_MENTION = re.compile(r"(?<=[@#])(?=\w)")
_BAR = 20


def render(report: Report) -> Iterator[str]:
    """Yield a report as Markdown of GitHub's flavour."""
    for part in report.parts:
        yield from _part(part)
    last = escape(conclusion(report))
    stops = escape(say("formats.semicolon") + say("formats.all_stop")) if all_stop(report) else ""
    yield f"**{last}**{stops}\n"


def escape(text: str) -> str:
    """Return untrusted text as one line of Markdown that is nothing but text, in a table as well.

    Whatever Markdown or HTML could act on becomes a character reference, which neither acts on. GitHub looks for
    mentions and issue numbers after that, in the text that a reader sees: a blank of no width parts the sign from them.
    """
    shown = _MENTION.sub("\u200b", harmless(text))
    return _SPECIAL.sub(lambda match: f"{match[0][:-1]}&#{ord(match[0][-1])};", shown)


def sentence(text: str) -> str:
    """Return a sentence escaped, what stands in backticks as code."""
    return "".join(f"<code>{escape(part)}</code>" if is_code else escape(part) for part, is_code in code_spans(text))


def block(lines: Sequence[str]) -> str:
    """Return lines as they are, as a block of HTML: no fence of Markdown holds lines that may hold a fence."""
    # An empty line would end the block of HTML; html.escape leaves nothing that Markdown reads inside of it.
    shown = "\n".join(html.escape(harmless(line)) or " " for line in lines)
    return f"<pre>{shown}</pre>\n"


def _part(part: SetupReport) -> Iterator[str]:
    details = "".join(f" · {escape(detail)}" for detail in heading_details(part))
    yield f"### <code>{escape(part.model)}</code>{details}\n\n"
    if part.unchecked:
        yield f"> {escape(say('tokenizer.unchecked', reason=part.unchecked))}\n\n"
    rows = ending_rows(part)
    if rows:
        yield f"| | {escape(say('formats.head_ending'))} | {escape(say('formats.head_rows'))} "
        yield f"| {escape(say('formats.head_share'))} | |\n|---|---|--:|--:|---|\n"
        for branch, words, count, share in rows:
            sign = ("✓" if branch == "stops" else "✗") if count else ""
            bar = "█" * max(round(share * _BAR), 1) if count else ""
            yield f"| {sign} | {escape(words)} | {count:,} | {escape(share_of(share))} | {bar} |\n"
        yield f"\n{escape(prediction_of(part))}\n\n"
    found = standing(part)
    if found:
        heads = (say(f"formats.head_{name}") for name in ("severity", "rule", "extent", "message"))
        yield f"| {' | '.join(map(escape, heads))} |\n|---|---|---|---|\n"
        for one in found:
            finding = one.finding
            yield f"| {escape(severity_word(finding.severity))} | {_rule(finding)} | {escape(extent(finding, part))} "
            yield f"| {sentence(finding.message)} |\n"
        yield "\n"
    for one in found:
        yield from _details(one, part)
    if part.not_run:
        yield f"<details><summary>{escape(say('formats.not_run'))} ({len(part.not_run)})</summary>\n\n"
        for code, reason in part.not_run:
            yield f"- {escape(code)} {sentence(reason)}\n"
        yield "\n</details>\n\n"


def _rule(finding: Finding) -> str:
    return f"{escape(finding.code)} {escape(finding.name)}"


def _details(one: Standing, part: SetupReport) -> Iterator[str]:
    finding = one.finding
    word = escape(severity_word(finding.severity))
    yield f"<details><summary>{word} <b>{_rule(finding)}</b> · {escape(extent(finding, part))}</summary>\n\n"
    yield f"{sentence(finding.message)}\n\n"
    if finding.cause is not None:
        cause = finding.cause
        yield f"{escape(say('formats.because'))} **{escape(cause.code)}**: {sentence(cause.text)}\n\n"
        pairs = evidence_of(cause)
        if pairs:
            yield "".join(f"- {escape(name)}: <code>{escape(value)}</code>\n" for name, value in pairs) + "\n"
    places = [
        f"{place.where}  {finding.views[i]}" if i < len(finding.views) else place.where
        for i, place in enumerate(finding.places)
        if not (place.record < 0 and place.where == finding.model)
    ]
    if places:
        yield block(places) + "\n"
    if finding.reproduction:
        code = block(finding.reproduction.split("\n"))
        yield f"{escape(say('formats.reproduce'))}\n\n{code}\n"
    if finding.help:
        yield f"**{escape(say('formats.help'))}** {sentence(finding.help)}\n\n"
    if finding.fixable:
        yield f"{sentence(say('formats.fixable'))}\n\n"
    for following in one.following:
        yield f"- → **{_rule(following)}**: {sentence(following.message)}\n"
    yield "\n</details>\n\n" if one.following else "</details>\n\n"
