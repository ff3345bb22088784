"""Findings that are known, so that a check tells of the new ones alone.

A finding of records is known record by record, by its code and the hash of the record's content: rows may be put in
another order, files split or renamed. A finding of the set-up or of the whole data set is known by its code and cause;
the model's path is no part of it, for it differs from machine to machine.

    {"finetooth_baseline": 1, "records": {"LAB001": ["0b1c...", ...]}, "setups": {"TOK003": ["normalized"]}}

Records have hashes where the check was told to keep them (`check_records(..., keep_hashes=True)`).
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from finetooth.errors import ConfigError
from finetooth.formats.jsonlines import dumps
from finetooth.formats.report import Report, SetupReport, findings_of
from finetooth.messages import say
from finetooth.types import Finding
from finetooth.writing import whole_file

VERSION = 1
_MARK = "finetooth_baseline"
_NO_CAUSE = ""
_ANEW = "finetooth check DATA --model MODEL --write-baseline {path}"

AnyReport = TypeVar("AnyReport", bound=Report)
Part = TypeVar("Part", bound=SetupReport)


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What is known."""

    records: dict[str, frozenset[str]]
    """By code: the hashes of the records in which it was found."""
    setups: dict[str, frozenset[str]]
    """By code: the causes for which it was found, of set-ups and data sets; an empty text where it had none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StaleEntry:
    """An entry of a baseline that was not found again."""

    code: str
    record: str | None
    """The hash of the record; `None` for a finding of the set-up or the data set."""
    cause: str | None
    """The cause of a finding of the set-up or the data set; `None` for a record's, and where it had none."""


def write(path: Path, report: Report) -> None:
    """Write all findings of a report as known, folded ones too.

    Raises:
        FinetoothError: The file cannot be written.
    """
    known = baseline_of(report)
    content = {
        _MARK: VERSION,
        "records": {code: sorted(hashes) for code, hashes in sorted(known.records.items())},
        "setups": {code: sorted(causes) for code, causes in sorted(known.setups.items())},
    }
    with whole_file(path) as file:
        file.write(dumps(content, indent=1) + "\n")  # an entry a line: versions of it can be compared


def baseline_of(report: Report) -> Baseline:
    """Return the findings of a report as known."""
    records: dict[str, set[str]] = {}
    setups: dict[str, set[str]] = {}
    for finding in findings_of(report):
        if finding.hashes:
            records.setdefault(finding.code, set()).update(finding.hashes)
        else:
            setups.setdefault(finding.code, set()).add(_cause(finding))
    return Baseline(
        records={code: frozenset(hashes) for code, hashes in records.items()},
        setups={code: frozenset(causes) for code, causes in setups.items()},
    )


def read(path: Path) -> Baseline:
    """Read a baseline.

    Raises:
        ConfigError: It is missing, broken, or written by a newer finetooth.
    """
    where = str(path)
    anew = _ANEW.format(path=where)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(say("formats.baseline_missing", path=where), where="--baseline", help=anew) from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError(
            say("formats.baseline_unreadable", reason=reason), where=where, help=f"ls -l {where}"
        ) from None
    except (ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(say("formats.baseline_not_json", reason=reason), where=where, help=anew) from None
    version = content.get(_MARK) if isinstance(content, dict) else None
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ConfigError(say("formats.baseline_not_ours"), where=where, help=anew)
    if version > VERSION:
        raise ConfigError(
            say("formats.baseline_newer", version=version, known=VERSION),
            where=where,
            help="pip install --upgrade finetooth",
        )
    return Baseline(records=_entries(content, "records", where), setups=_entries(content, "setups", where))


def _entries(content: dict[str, Any], key: str, where: str) -> dict[str, frozenset[str]]:
    def wrong(place: str, value: Any, expected: str) -> ConfigError:
        shown = dumps(value)
        return ConfigError(
            say(
                "formats.baseline_bad_entry",
                key=place,
                value=shown if len(shown) <= 40 else f"{shown[:39]}…",
                expected=expected,
            ),
            where=where,
            help=_ANEW.format(path=where),
        )

    table = content.get(key)
    if not isinstance(table, dict):
        raise wrong(key, table, say("formats.baseline_object"))
    for code, members in table.items():
        if not isinstance(members, list) or not all(isinstance(member, str) for member in members):
            raise wrong(f"{key}.{code}", members, say("formats.baseline_list"))
    return {code: frozenset(members) for code, members in table.items()}


def apply(
    report: AnyReport, baseline: Baseline, *, codes: Collection[str] | None = None
) -> tuple[AnyReport, tuple[StaleEntry, ...]]:
    """Return a report without what is known, and what is known and was not found again.

    A finding all of whose records are known disappears. Of the others, count and share shrink to the records that are
    new, and the places of known records go; so a finding may keep no place, where its first ones are known.

    Args:
        report: What was found; its findings of records hold hashes.
        baseline: What is known.
        codes: The rules that were run, where not all were: entries of others are not stale. `None` takes all.
    """
    parts = tuple(_new_part(part, baseline) for part in report.parts)
    found = baseline_of(report)
    stale = [
        StaleEntry(code=code, record=record, cause=None)
        for code, hashes in baseline.records.items()
        for record in sorted(hashes - found.records.get(code, frozenset()))
    ]
    stale += [
        StaleEntry(code=code, record=None, cause=cause or None)
        for code, causes in baseline.setups.items()
        for cause in sorted(causes - found.setups.get(code, frozenset()))
    ]
    return replace(report, parts=parts), tuple(entry for entry in stale if codes is None or entry.code in codes)


def _new_part(part: Part, baseline: Baseline) -> Part:
    findings = [new for finding in part.findings if (new := _new(finding, baseline)) is not None]
    codes = {finding.code for finding in findings}
    # What a finding was folded under may be known; then it stands by itself.
    placed = [f if f.folded_under in codes else replace(f, folded_under=None) for f in findings]
    return replace(part, findings=tuple(placed))


def _new(finding: Finding, baseline: Baseline) -> Finding | None:
    """Return what of a finding is new, or `None` where nothing is."""
    if not finding.hashes:
        return None if _cause(finding) in baseline.setups.get(finding.code, frozenset()) else finding
    known = baseline.records.get(finding.code, frozenset())
    hashes = tuple(record for record in finding.hashes if record not in known)
    if len(hashes) == len(finding.hashes):
        return finding
    if not hashes:
        return None
    # The first hashes are those of the places.
    kept = [i for i in range(len(finding.places)) if i >= len(finding.hashes) or finding.hashes[i] not in known]
    return replace(
        finding,
        # The sentence was made when all were counted, and may tell how many; it stays, and this makes it whole.
        message=finding.message
        + say("formats.semicolon")
        + say("formats.new_records", count=len(hashes), total=finding.count),
        count=len(hashes),
        share=finding.share * len(hashes) / finding.count if finding.count else 0.0,
        places=tuple(finding.places[i] for i in kept),
        views=tuple(finding.views[i] for i in kept if i < len(finding.views)),
        hashes=hashes,
    )


def _cause(finding: Finding) -> str:
    return finding.cause.code if finding.cause is not None else _NO_CAUSE
