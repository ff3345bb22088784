"""A report on a terminal: for each set-up how its answers end, then what was found, the worst first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from finetooth.formats.report import Report, SetupReport, Standing, standing
from finetooth.formats.view import tokens_of
from finetooth.formats.wording import (
    all_stop,
    conclusion,
    ending_rows,
    evidence_of,
    exit_meaning,
    extent,
    heading_details,
    prediction_of,
    severity_word,
    share_of,
)
from finetooth.messages import say
from finetooth.types import Finding
from finetooth.view.paint import JOINT, Styled, fold, paint
from finetooth.view.visible import cells, harmless

MIN_WIDTH = 20
"""Narrower terminals are written to as if they had this many cells."""

BAR = 24
"""The cells of the bar of a share of 100%, where there is room."""

_MIN_BAR = 8
_MIN_WORDS = 8
_SHARE = 6
"""The cells of `>99.9%`."""

_EIGHTHS = " ▏▎▍▌▋▊▉"
_STYLES = {"error": "error", "warning": "warning", "info": "info"}


def render(
    report: Report,
    *,
    width: int,
    color: bool,
    max_per_rule: int | None = None,
    verbose: bool = False,
    fail_on: str = "warning",
) -> Iterator[str]:
    """Yield a report for a terminal, line by line, line breaks included.

    Code to paste is not folded: a terminal wraps it, and what is copied from there stays whole.

    Args:
        report: What was found.
        width: The cells that no other line exceeds.
        color: Whether escape sequences are written. They add nothing: without them the text is the same.
        max_per_rule: How many findings of one rule are told at length in a set-up; the others get a line each.
        verbose: Whether findings that follow from another are told at length, and evidence without cuts.
        fail_on: From which severity on the command exits with 1, or `never`; told in the last line.
    """
    page = _Page(max(width, MIN_WIDTH), max_per_rule=max_per_rule, verbose=verbose)
    for part in report.parts:
        for line in page.part(part):
            yield paint(line, color=color) + "\n"
        yield "\n"
    for line in page.last(report, fail_on):
        yield paint(line, color=color) + "\n"


class _Page:
    """A report being written."""

    def __init__(self, width: int, *, max_per_rule: int | None, verbose: bool) -> None:
        self.width = width
        self.max_per_rule = max_per_rule
        self.verbose = verbose

    def part(self, part: SetupReport) -> Iterator[Styled]:
        """Write a set-up."""
        details = "".join(f" · {detail}" for detail in heading_details(part))
        heading: Styled = [("── ", "quiet"), (harmless(part.model), "heading"), (details, "quiet")]
        left = self.width - sum(cells(text) for text, _ in heading) - 1
        if left > 0:
            yield [*heading, (f" {'─' * left}", "quiet")]
        else:
            yield from self.prose(heading, rest=3)
        if part.unchecked:
            yield from self.prose(
                [(harmless(say("tokenizer.unchecked", reason=part.unchecked)), "bad")], first=2, rest=4
            )
        yield from self.endings(part)
        told: dict[str, int] = {}
        for one in standing(part):
            code = one.finding.code
            told[code] = told.get(code, 0) + 1
            if self.max_per_rule is not None and told[code] > self.max_per_rule:
                yield from self.briefly(one.finding, indent=0, sign="+")
                continue
            yield []
            yield from self.finding(one, part)
        if part.not_run:
            yield []
            yield [(say("formats.not_run"), "quiet")]
            for code, reason in part.not_run:
                yield from self.prose([(f"{harmless(code)} ", ""), (harmless(reason), "quiet")], first=2, rest=4)

    def endings(self, part: SetupReport) -> Iterator[Styled]:
        """Write the table of how answers end."""
        rows = ending_rows(part)
        if not rows:
            return
        heads = say("formats.head_ending"), say("formats.head_rows"), say("formats.head_share")
        counts = [f"{count:,}" for _, _, count, _ in rows]
        count_cells = max(cells(heads[1]), *map(len, counts))
        share_cells = max(cells(heads[2]), _SHARE)
        # indent and sign, the words, and two blanks before each further column
        room = self.width - 4 - count_cells - share_cells - 4
        shows_share = room >= _MIN_WORDS
        if not shows_share:
            room += share_cells + 2
        wanted = max(cells(words) for _, words, _, _ in rows)
        bar = min(BAR, room - wanted - 2)
        if bar < _MIN_BAR:
            bar = 0
        words_cells = max(min(wanted, room), 4)

        def line(sign: Styled, words: Styled, count: str, share: str, rest: Styled, style: str) -> Iterator[Styled]:
            folded = fold(words, width=words_cells)
            blanks = " " * (words_cells - sum(cells(text) for text, _ in folded[0]))
            numbers = f"{blanks}  {_right(count, count_cells)}"
            if shows_share:
                numbers += f"  {_right(share, share_cells)}  "
            yield [("  ", ""), *sign, *folded[0], (numbers, style), *rest]
            for more in folded[1:]:
                yield [("    ", ""), *more]

        yield []
        yield from line([("  ", "")], [(heads[0], "quiet")], heads[1], heads[2], [], "quiet")
        for (branch, words, _, share), count in zip(rows, counts, strict=True):
            is_good = branch == "stops"
            style = "good" if is_good else "bad"
            sign: Styled = [(f"{'✓' if is_good else '✗'} ", style if count != "0" else "quiet")]
            drawn: Styled = [(_bar(share, bar), style)]
            yield from line(sign, [(words, "" if count != "0" else "quiet")], count, share_of(share), drawn, "")
        yield from self.prose([("→ ", "quiet"), (prediction_of(part), "")], first=2, rest=4)

    def finding(self, one: Standing, part: SetupReport) -> Iterator[Styled]:
        """Write a finding with those that follow from it."""
        finding = one.finding
        yield from self.at_length(finding, part, indent=0)
        for following in one.following:
            if self.verbose:
                yield from self.at_length(following, part, indent=2, sign="→ ")
            else:
                yield from self.briefly(following, indent=2, sign="→")

    def at_length(self, finding: Finding, part: SetupReport, *, indent: int, sign: str = "") -> Iterator[Styled]:
        """Write everything that is known of a finding."""
        title: Styled = [
            (sign, "quiet"),
            (severity_word(finding.severity), _STYLES[finding.severity]),
            (f" {harmless(finding.code)} {harmless(finding.name)}", "heading"),
            (f" · {extent(finding, part)}", "quiet"),
        ]
        inner = indent + 2
        yield from self.prose(title, first=indent, rest=inner)
        yield from self.prose([(harmless(finding.message), "")], first=inner, rest=inner)
        if finding.cause is not None:
            cause = finding.cause
            words: Styled = [
                (f"{say('formats.because')} ", "quiet"),
                (f"{harmless(cause.code)}:", "heading"),
                (f" {harmless(cause.text)}", ""),
            ]
            yield from self.prose(words, first=inner, rest=inner + 2)
            yield from self.evidence(evidence_of(cause, whole=self.verbose), indent=inner + 2)
        yield from self.places(finding, indent=inner)
        if finding.reproduction:
            yield [(" " * inner, ""), (say("formats.reproduce"), "quiet")]
            for code in finding.reproduction.split("\n"):
                yield [(" " * (inner + 2), ""), (harmless(code), "")]
        if finding.help:
            words = [(f"{say('formats.help')} ", "quiet"), (harmless(finding.help), "")]
            yield from self.prose(words, first=inner, rest=inner + 2)
        if finding.fixable:
            yield from self.prose([(say("formats.fixable"), "quiet")], first=inner, rest=inner)

    def evidence(self, pairs: Sequence[tuple[str, str]], *, indent: int) -> Iterator[Styled]:
        """Write evidence, a name never parted from a value that is short."""
        line: list[tuple[str, str]] = []
        for name, value in pairs:
            joined = f"{name} {value}"
            keeps = cells(joined) <= max(self.width - indent - 2, MIN_WIDTH) // 2
            line += [(" · ", "quiet")] if line else []
            if keeps:
                # One word to `fold`: it looks for blanks within one stretch, and the name is painted apart.
                line.append((joined.replace(" ", JOINT), ""))
            else:
                line += [(f"{name}{JOINT}", ""), (value, "")]
        if line:
            yield from fold(line, width=self.width, first_indent=indent, indent=indent)

    def places(self, finding: Finding, *, indent: int) -> Iterator[Styled]:
        """Write the places, each with its tokens."""
        wheres = [harmless(place.where) for place in finding.places]
        longest = max(map(cells, wheres), default=0)
        for index, place in enumerate(finding.places):
            view = finding.views[index] if index < len(finding.views) else ""
            if place.record < 0 and not view and place.where == finding.model:
                continue  # the heading has said it
            line: list[tuple[str, str]] = [(wheres[index], "place")]
            if self.verbose and place.record >= 0:
                line.append((f" {say('view.record', number=place.record).replace(' ', JOINT)}", "quiet"))
            if not view:
                yield from fold(line, width=self.width, first_indent=indent, indent=indent + 2)
                continue
            tokens: list[tuple[str, str]] = []
            seen = tokens_of(view)
            for number, token in enumerate(seen):
                if number:
                    apart = not (token.is_skip or seen[number - 1].is_skip)
                    tokens.append((" | " if apart else " ", "quiet"))
                tokens.append((harmless(token.text).replace(" ", JOINT), "meant" if token.is_meant else "quiet"))
            if longest <= self.width // 4 and not self.verbose:
                gap = " " * (longest - cells(wheres[index]) + 2)
                line.append((gap.replace(" ", JOINT), ""))
                yield from fold([*line, *tokens], width=self.width, first_indent=indent, indent=indent + longest + 2)
            else:
                yield from fold(line, width=self.width, first_indent=indent, indent=indent + 2)
                yield from fold(tokens, width=self.width, first_indent=indent + 2, indent=indent + 4)

    def briefly(self, finding: Finding, *, indent: int, sign: str) -> Iterator[Styled]:
        """Write a finding in a line."""
        words: Styled = [
            (f"{sign} ", "quiet"),
            (f"{harmless(finding.code)} {harmless(finding.name)}:", "heading"),
            (f" {harmless(finding.message)}", ""),
        ]
        yield from self.prose(words, first=indent, rest=indent + 2)

    def last(self, report: Report, fail_on: str) -> Iterator[Styled]:
        """Write the counts, and what the exit code will be."""
        words: list[tuple[str, str]] = [(conclusion(report), "heading")]
        if all_stop(report):
            words.append((f"{say('formats.semicolon')}{say('formats.all_stop')}", "good"))
        words.append((f" · {exit_meaning(report, fail_on).replace(' ', JOINT)}", "quiet"))
        yield from self.prose(words, rest=2)

    def prose(self, line: Styled, *, first: int = 0, rest: int = 0) -> list[Styled]:
        """Fold a line of prose to the terminal's width."""
        return fold(line, width=self.width, first_indent=first, indent=rest)


def _right(text: str, width: int) -> str:
    return " " * (width - cells(text)) + text


def _bar(share: float, width: int) -> str:
    """Return a bar of block characters, at least a sliver for what is not nothing."""
    if width == 0 or share <= 0:
        return ""
    eighths = max(round(share * width * 8), 1)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
