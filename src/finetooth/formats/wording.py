"""Numbers, endings and evidence in words: what the formats for people have in common."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from finetooth.formats.report import MERGE, Report, SetupReport, count_severities, fails, is_of_setup
from finetooth.messages import say
from finetooth.rules.endings import BRANCHES, Branch, do_taught_decide, predict, share_taught
from finetooth.types import Cause, Finding, Severity
from finetooth.view.visible import harmless

LISTED = 12
"""How many members of a list of evidence are shown: the pieces of a cut `<|end_of_text|>` are eight."""

_CODE = re.compile(r"`([^`]+)`")


def severity_word(severity: Severity) -> str:
    """Return `error`, `warning` or `note`."""
    return say(f"formats.severity_{severity}")


def heading_details(part: SetupReport) -> list[str]:
    """Return what names a set-up beside its model."""
    if part.data == MERGE:
        return [num_models(part.num_models)]
    data = [say("formats.eval_data")] if part.data == "eval" else []
    return [harmless(part.labels_way), *data, num_records(part.num_records)]


def num_records(count: int) -> str:
    """Return `202 records`."""
    return say("formats.one_record" if count == 1 else "formats.many_records", count=f"{count:,}")


def num_models(count: int) -> str:
    """Return `a merge of 3 models`."""
    return say("formats.merge_of_one" if count == 1 else "formats.merge_of", count=count)


def share_of(share: float) -> str:
    """Return a share as a percentage that is `0%` or `100%` only where it is exactly that."""
    if share <= 0 or share >= 1:
        return "0%" if share <= 0 else "100%"
    return "<0.1%" if share < 0.001 else ">99.9%" if share > 0.999 else f"{share:.1%}"


def extent(finding: Finding, part: SetupReport) -> str:
    """Return in how many records a finding is, or that it is the set-up's."""
    if is_of_setup(finding):
        return say("formats.in_merge" if part.data == MERGE else "formats.in_setup")
    return say(
        "formats.in_records",
        count=f"{finding.count:,}",
        total=f"{max(part.num_records, finding.count):,}",
        share=share_of(finding.share),
    )


def ending_rows(part: SetupReport) -> list[tuple[Branch, str, int, float]]:
    """Return the rows of the table of endings: branch, its words, records, share; `stops` first, even with none."""
    total = sum(part.endings.values())
    if total == 0:
        return []
    return [
        (branch, say(f"formats.ending_{branch.replace('-', '_')}"), count, count / total)
        for branch in BRANCHES
        if (count := part.endings.get(branch, 0)) or branch == "stops"
    ]


def prediction_of(part: SetupReport) -> str:
    """Return how the trained model will end its answers, in a sentence; nothing where no record was counted."""
    shares = sorted(predict(part.endings).items(), key=lambda item: -item[1]) if part.endings else []
    words = [
        say(f"formats.will_{name.replace('-', '_')}", share=share_of(share).strip()) for name, share in shares if share
    ]
    if not words:
        return ""
    said = say("formats.prediction", what=say("formats.comma").join(words))
    taught = share_taught(part.endings)
    if taught < 1 and do_taught_decide(part.endings):
        said += say("formats.prediction_taught", share=share_of(taught))
    return said


def evidence_of(cause: Cause, *, whole: bool = False) -> list[tuple[str, str]]:
    """Return the evidence of a cause as names and values; lists are cut short unless `whole`."""
    return [(harmless(str(name)), harmless(_shown(value, whole=whole))) for name, value in cause.evidence.items()]


def _shown(value: Any, *, whole: bool) -> str:
    match value:
        case bool() | None:
            return json.dumps(value)
        case str():
            return f"'{value}'"
        case list() | tuple() | set() | frozenset():
            members = [
                _plain(member) if isinstance(member, list | tuple) else _shown(member, whole=whole) for member in value
            ]
            cut = members if whole or len(members) <= LISTED else [*members[:LISTED], "…"]
            return " ".join(cut) or "–"
        case Mapping():
            return _plain(dict(value))
        case _:
            return str(value)


def _plain(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def conclusion(report: Report) -> str:
    """Return the counts of a report in one sentence; where nothing was found, that."""
    counts = count_severities(report)
    merged = [part.num_models for part in report.parts if part.data == MERGE]
    where = list(map(num_models, merged)) or [num_records(report.num_records)]
    if not merged and len(report.parts) > 1:
        where.append(say("formats.many_setups", count=len(report.parts)))
    records = say("formats.comma").join(where)
    if counts:
        words = [
            say(f"formats.{'one' if count == 1 else 'many'}_{severity}", count=f"{count:,}")
            for severity, count in counts.items()
        ]
        return say("formats.found", findings=say("formats.comma").join(words), records=records)
    # A baseline, or a choice of rules, can leave nothing to tell of answers that end wrongly: then no more is said.
    return say("formats.nothing_found" if all_stop(report) else "formats.nothing_told", records=records)


def all_stop(report: Report) -> bool:
    """Return whether every answer that was checked ends where the model learns to stop."""
    return report.num_records > 0 and all(set(part.endings) == {"stops"} for part in report.parts if part.num_records)


def exit_meaning(report: Report, fail_on: str) -> str:
    """Return which code the command exits with, and why."""
    return say("formats.exit_found" if fails(report, fail_on) else "formats.exit_clean", fail_on=fail_on)


def code_spans(sentence: str) -> Iterator[tuple[str, bool]]:
    """Yield a sentence in stretches, each with whether it stood in backticks.

    Data in a sentence may hold backticks of its own; then the stretches are others, and still no more than text.
    """
    end = 0
    for match in _CODE.finditer(sentence):
        yield sentence[end : match.start()], False
        yield match[1], True
        end = match.end()
    yield sentence[end:], False
