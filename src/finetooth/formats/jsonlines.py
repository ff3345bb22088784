"""Findings as lines of JSON, folded ones too: the contract of `check --format json`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from finetooth.formats.report import Report, findings_of
from finetooth.types import Finding


def render(report: Report) -> Iterator[str]:
    """Yield a line for each finding."""
    for finding in findings_of(report):
        yield dumps(to_json(finding)) + "\n"


def to_json(finding: Finding) -> dict[str, Any]:
    """Return the object of one finding, keys in the order of the contract."""
    cause = finding.cause
    return {
        "code": finding.code,
        "name": finding.name,
        "severity": finding.severity,
        "model": finding.model,
        "labels_way": finding.labels_way,
        "count": finding.count,
        "share": finding.share,
        "cause": None if cause is None else {"code": cause.code, "text": cause.text, "evidence": dict(cause.evidence)},
        "places": [
            {
                "record": place.record,
                "where": place.where,
                "start": place.start,
                "end": place.end,
                "first_token": place.first_token,
                "end_token": place.end_token,
            }
            for place in finding.places
        ],
        "message": finding.message,
        "fixable": finding.fixable,
        "folded_under": finding.folded_under,
    }


def dumps(value: Any, *, indent: int | None = None) -> str:
    """Return JSON in which kanji stay kanji, and what cannot be seen, or has no UTF-8, is escaped.

    JSON allows the control characters from U+0080 on, some of which a terminal obeys, and lone surrogates.
    """
    text = json.dumps(value, ensure_ascii=False, indent=indent, default=str)
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text)
