"""What came of it: in short, curves, labels by tokenizer, findings with their causes, endings, outputs, merges."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from finetooth.comparing.answers import answer_table
from finetooth.comparing.entry import Entry
from finetooth.comparing.labels import label_blocks, label_table
from finetooth.comparing.pages import (
    curve_figures,
    ending_blocks,
    final_table,
    in_short,
    warnings_of,
)
from finetooth.documents import Block, Figure, Heading, List, Paragraph, Reference, Row, Table, Tokens
from finetooth.documents.blocks import Line, with_code
from finetooth.formats.wording import severity_word, share_of
from finetooth.merging.sweeping.pages import blocks_of as sweep_blocks
from finetooth.messages import language, say
from finetooth.reporting.citing import Citations, papers
from finetooth.reporting.inspected import file_name
from finetooth.rules import all_rules
from finetooth.runs import MODEL

if TYPE_CHECKING:
    from finetooth.reporting.progress import ProgressReport

_WILSON = Reference(
    text="Wilson, “Probable inference, the law of succession, and statistical inference”, JASA 22 (158), 1927",
    url="https://doi.org/10.1080/01621459.1927.10502953",
)
_SEVERITIES = ("error", "warning", "info")


def _without_headings(blocks: Iterable[Block]) -> Iterator[Block]:
    """Yield blocks without the headings of sections: a report has its own."""
    return (block for block in blocks if not (isinstance(block, Heading) and block.level == 2))


# In short ----------------------------------------------------------------------------------------------------------


def summary(report: ProgressReport, citations: Citations) -> Iterator[Block]:
    """Yield what has to be known first, and each run in a line."""
    yield from warnings_of(report.comparison)
    yield from in_short(report.comparison.entries)
    items = [line for entry in report.comparison.entries if (line := _in_a_line(entry))]
    if items:
        yield List(items=items)


def _in_a_line(entry: Entry) -> Line:
    """Return a run in a line: its loss, how its answers end, and why."""
    parts: list[tuple[str, str]] = []
    loss = entry.final("loss")
    if loss is not None:
        parts.append((say("reporting.line_loss", loss=f"{loss:.2f}"), ""))
    outcomes = entry.outcomes
    if outcomes and sum(outcomes.values()):
        most = max(outcomes, key=lambda one: outcomes[one])
        said = say(f"reporting.line_{most.replace('-', '_')}", count=outcomes[most], total=sum(outcomes.values()))
        parts.append((said, "good" if most == "stops" else "bad"))
    worst = next((one for one in _own_findings(entry.findings) if one.get("severity") == "error"), None)
    if worst is not None:
        parts.append((_in_short(worst), "quiet"))
    if not parts:
        return []
    line: list[tuple[str, str]] = [(entry.name, "strong"), (say("reporting.line_colon"), "")]
    for index, part in enumerate(parts):
        line += [(say("reporting.line_comma"), ""), part] if index else [part]
    return line


def _in_short(finding: Mapping[str, Any]) -> str:
    """Return a finding by its names, and its cause by that one's."""
    named = f"{finding.get('code')} {finding.get('name')}"
    cause = str((finding.get("cause") or {}).get("code") or "")
    rule = next((one for one in all_rules() if one.code == cause), None)
    return (
        say("reporting.line_cause", finding=named, cause=f"{cause} {rule.name}" if rule else cause) if cause else named
    )


# Curves ------------------------------------------------------------------------------------------------------------


def curves(report: ProgressReport, citations: Citations) -> Iterator[Block]:
    """Yield the curves as numbered figures, and the metrics as they came out."""
    figures = curve_figures(report.runs)
    if figures:
        yield from figures
        yield final_table(report.runs)


# Labels ------------------------------------------------------------------------------------------------------------


def labels(report: ProgressReport, citations: Citations) -> Iterator[Block]:
    """Yield the tables of supervised labels by tokenizer: of the runs, and of what is inspected beside them."""
    found = [block for block in _without_headings(label_blocks(report.runs)) if not isinstance(block, Tokens)]
    if found:
        yield Heading(text=say("reporting.labels_of_runs"), level=3)
        yield from found
    for one in report.inspected:
        yield Heading(text=say("reporting.labels_of_data", data=file_name(one.data)), level=3)
        yield label_table(one.names, one.examples)
        yield Paragraph(line=[(say("comparing.differing_marked"), "")], tone="quiet")
        yield Tokens(inspected=one.record, summary=say("comparing.token_by_token"))


# Findings ----------------------------------------------------------------------------------------------------------


def findings(report: ProgressReport, citations: Citations) -> Iterator[Block]:
    """Yield what the checks found, the worst first, each with its cause."""
    checked = [(entry.name, entry.findings) for entry in report.runs]
    checked += [(entry.name, entry.findings) for entry in report.merges if entry.findings is not None]
    for one in report.inspected:
        for name, found in zip(one.names, one.findings, strict=True):
            checked.append((say("reporting.name_of_data", name=name, data=file_name(one.data)), found))
    if not checked:
        return
    unknown = [name for name, one in checked if one is None]
    rows = _finding_rows([(name, found) for name, found in checked if found is not None])
    if rows:
        yield Table(
            corner=say("comparing.rule"),
            head=[say("reporting.finding_why")],
            rows=rows,
            is_prose=True,
        )
    elif len(unknown) < len(checked):
        yield Paragraph(line=[(say("comparing.nothing_found"), "")])
    if unknown:
        names = say("comparing.comma").join(unknown)
        yield Paragraph(line=[(say("reporting.not_checked", names=names), "")], tone="quiet")


def _finding_rows(checked: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Row]:
    """Return a row for each rule and cause; set-ups with the same cause share it."""
    found: dict[tuple[str, str, str], list[tuple[str, Mapping[str, Any]]]] = {}
    for name, one in checked:
        for finding in _own_findings(one):
            cause = str((finding.get("cause") or {}).get("code") or "")
            key = (str(finding.get("code")), str(finding.get("name")), cause)
            found.setdefault(key, []).append((name, finding))
    ranked = sorted(found.items(), key=lambda item: _rank(item[1][0][1]))
    rows = []
    for (code, name, _), places in ranked:
        finding = places[0][1]
        severity = str(finding.get("severity"))
        style = "bad" if severity in ("error", "warning") else "quiet"
        word = severity_word(severity) if severity in _SEVERITIES else severity  # type: ignore[arg-type]
        where: list[tuple[str, str]] = []
        for index, (place, one) in enumerate(places):
            if index:
                where.append(("\n", ""))
            share = "" if code.startswith("MRG") else f" {share_of(float(one.get('share') or 0))}"
            where.append((f"{place}{share}", "quiet"))
        why = with_code(_cause(finding) or _message(finding))
        if finding.get("fixable"):
            why += [("\n", ""), *with_code(say("reporting.fixable", code=code), "quiet")]
        label = [(f"{code} ", "strong"), (name, ""), ("\n", ""), (word, style), ("\n", ""), *where]
        rows.append(Row(label=label, cells=[why]))
    return rows


def _own_findings(found: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """Return the findings that do not follow from others, the worst first."""
    own = [one for one in (found or {}).get("findings", []) if isinstance(one, dict) and not one.get("folded_under")]
    return sorted(own, key=_rank)


def _rank(finding: Mapping[str, Any]) -> tuple[int, float, str]:
    severity = str(finding.get("severity"))
    place = _SEVERITIES.index(severity) if severity in _SEVERITIES else len(_SEVERITIES)
    return place, -float(finding.get("share") or 0), str(finding.get("code"))


def _cause(finding: Mapping[str, Any]) -> str:
    """Return why, in the language in force where the run keeps it; nothing where no cause is known."""
    said = (finding.get("said") or {}).get(language()) or {}
    return _without_folders(str(said.get("cause") or (finding.get("cause") or {}).get("text") or ""))


def _message(finding: Mapping[str, Any]) -> str:
    said = (finding.get("said") or {}).get(language()) or {}
    return _without_folders(str(said.get("message") or finding.get("message") or ""))


_PATH = re.compile(r"(?<![\w/.:])(?:[A-Za-z]:)?(?:[/\\][^\s/\\`'\"()（）、。,]+){3,}")


def _without_folders(text: str) -> str:
    """Return a sentence in which a long path is told by its last two parts: where it lay is nobody's concern.

    Where the first of them is the `model` of a run, the run's name is told as well.
    """

    def shortened(match: re.Match[str]) -> str:
        parts = re.split(r"[/\\]", match[0])
        return "…/" + "/".join(parts[-3:] if parts[-2] == MODEL else parts[-2:])

    return _PATH.sub(shortened, text)


# Endings, outputs, merges ------------------------------------------------------------------------------------------


def endings(report: ProgressReport, citations: Citations) -> Iterator[Block]:
    """Yield how answers end: what the labels predict, and what was measured."""
    entries = report.comparison.entries
    if not any(entry.predicted or entry.probe for entry in entries):
        return
    yield Paragraph(line=[(say("reporting.endings_are", cite=citations.cite(_WILSON)), "")])
    # What the brackets are is said above, with its source.
    yield from (block for block in ending_blocks(entries) if isinstance(block, Table))


def outputs(report: ProgressReport, citations: Citations) -> Iterator[Block]:
    """Yield answers to the same prompts, side by side."""
    yield from _without_headings(answer_table(report.comparison.entries, report.comparison.num_samples))


def merges(report: ProgressReport, citations: Citations) -> Iterator[Block]:
    """Yield what was merged, by which method, and what came of it."""
    merged = report.merges
    if not merged:
        return
    yield Paragraph(line=[(_methods(merged, citations), "")])
    keys = sorted({key for entry in merged for key in entry.settings})
    rows = [_merge_row(key, merged) for key in keys]
    if rows:
        yield Table(corner=say("comparing.setting"), head=[entry.name for entry in merged], rows=rows)
    items = [line for entry in merged if (line := _in_a_line(entry))]
    if items:
        yield Paragraph(line=[(say("reporting.merge_results"), "")])
        yield List(items=items)
    number = len(curve_figures(report.runs))
    for entry in merged:
        if entry.sweep is not None:
            for block in sweep_blocks(entry.sweep, first_figure=number + 1):
                number += isinstance(block, Figure)
                yield replace(block, level=3) if isinstance(block, Heading) else block


def _merge_row(key: str, merged: Sequence[Entry]) -> Row:
    """Return a setting of merges; models are told by the last two parts of their paths, which tell runs apart."""
    known = [entry.settings.get(key) for entry in merged]
    cells = [[("—" if one is None else _without_folders(str(one)), "")] for one in known]
    return Row(label=[(key.removeprefix("merge."), "quiet")], cells=cells)


def _methods(merged: Sequence[Entry], citations: Citations) -> str:
    """Return which merge was made by which method, with the papers of the methods."""
    told = []
    methods = _documented_methods()
    for entry in merged:
        method = str(entry.settings.get("merge.merge_method") or "?")
        known = methods.get(method)
        marks = "".join(citations.cite(one) for one in papers(known.documentation)) if known is not None else ""
        told.append(say("reporting.merged_by", name=entry.name, method=f"{method} {marks}".rstrip()))
    return say("reporting.merged", told=say("comparing.comma").join(told))


def _documented_methods() -> Mapping[str, Any]:
    """Return the methods of merging by name; none where torch, which computes them, is not installed."""
    if find_spec("torch") is None:
        return {}
    from finetooth.merging.methods import METHODS

    return METHODS
