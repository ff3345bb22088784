"""SARIF 2.1.0, the format of code scanning (OASIS, "Static Analysis Results Interchange Format Version 2.1.0").

A finding is one result: `occurrenceCount` is in how many records it is, `locations` are the places that were kept
(section 3.27 of the standard). What SARIF has no property for stands in the property bags.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import Any

from finetooth.formats.documentation import documentation_of, sections_of, summary_of
from finetooth.formats.jsonlines import dumps, to_json
from finetooth.formats.place import file_place
from finetooth.formats.report import Report, SetupReport, findings_of
from finetooth.rules import Rule, all_rules
from finetooth.types import Finding, Place, Severity
from finetooth.version import __version__

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
FINGERPRINT = "finetooth/v1"
"""The name of our partial fingerprint; another way of making it takes another number (section 3.27.17)."""

_LEVELS: dict[Severity, str] = {"error": "error", "warning": "warning", "info": "note"}
_ROOT = "%SRCROOT%"
_PLACEHOLDER = re.compile(r"\{(?=[0-9]+\})")


def render(report: Report, rules: Sequence[Rule] | None = None) -> Iterator[str]:
    """Yield the log.

    Args:
        report: What was found.
        rules: The rules that were run; `None` takes all.
    """
    yield dumps(to_sarif(report, all_rules() if rules is None else rules), indent=2) + "\n"


def to_sarif(report: Report, rules: Sequence[Rule]) -> dict[str, Any]:
    """Return the log as plain JSON."""
    descriptors = [_descriptor(rule) for rule in rules]
    known = {descriptor["id"] for descriptor in descriptors}
    for finding in findings_of(report):
        if finding.code not in known:
            known.add(finding.code)
            descriptors.append({"id": finding.code, "name": finding.name})
    index = {descriptor["id"]: place for place, descriptor in enumerate(descriptors)}
    driver = {"name": "finetooth", "semanticVersion": __version__, "version": __version__, "rules": descriptors}
    run = {
        "tool": {"driver": driver},
        "invocations": [
            {
                "executionSuccessful": True,
                "toolExecutionNotifications": [
                    notification for part in report.parts for notification in _notifications(part, index)
                ],
            }
        ],
        "columnKind": "unicodeCodePoints",
        "results": [_result(finding, index) for finding in findings_of(report)],
        "properties": {
            "num_records": report.num_records,
            "setups": [
                {
                    "model": part.model,
                    "labels_way": part.labels_way,
                    "data": part.data,
                    "num_records": part.num_records,
                    "endings": dict(part.endings),
                }
                for part in report.parts
            ],
        },
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _descriptor(rule: Rule) -> dict[str, Any]:
    documentation = documentation_of(rule, english=True)
    body = next((section.text for section in sections_of(documentation) if section.title == "What it does"), "")
    summary = summary_of(documentation) or rule.name
    return {
        "id": rule.code,
        "name": rule.name,
        "shortDescription": {"text": summary},
        "fullDescription": {"text": " ".join(body.split()) or summary},
        "help": {"text": documentation or summary, "markdown": documentation or summary},
        "defaultConfiguration": {"level": _LEVELS[rule.severity]},
        "properties": {"scope": rule.scope, "fix": rule.fix, "tags": [rule.code[:3]]},
    }


def _result(finding: Finding, index: dict[str, int]) -> dict[str, Any]:
    contract = to_json(finding)
    kept = ("model", "labels_way", "share", "cause", "fixable", "folded_under")
    more = {"help": finding.help, "reproduction": finding.reproduction}
    return {
        "ruleId": finding.code,
        "ruleIndex": index[finding.code],
        "level": _LEVELS[finding.severity],
        "message": {"text": _message(finding)},
        "occurrenceCount": max(finding.count, 1),
        "locations": [_location(finding, number) for number in range(len(finding.places))],
        "partialFingerprints": {FINGERPRINT: _fingerprint(finding)},
        "properties": {key: contract[key] for key in kept} | more,
    }


def _message(finding: Finding) -> str:
    sentences = [finding.message]
    if finding.cause is not None:
        sentences.append(f"{finding.cause.code}: {finding.cause.text}")
    if finding.help is not None:
        sentences.append(f"help: {finding.help}")
    return _plain("\n".join(sentences))


def _plain(text: str) -> str:
    """Return a text of which a viewer makes no more than text.

    `{0}` would be a placeholder, and `[text](target)` a link (sections 3.11.5 and 3.11.6). Other braces stay single,
    though the standard has them doubled: viewers show both of `{{`, and `{% generation %}` is what findings are about.
    """
    return _PLACEHOLDER.sub("{{", text).replace("](", "] (")


def _location(finding: Finding, number: int) -> dict[str, Any]:
    place = finding.places[number]
    at = file_place(place)
    location: dict[str, Any] = {}
    if at.uri is not None:
        artifact: dict[str, Any] = {"uri": at.uri}
        if "://" not in at.uri:
            artifact["uriBaseId"] = _ROOT
        location["physicalLocation"] = {"artifactLocation": artifact}
        if at.line is not None:
            location["physicalLocation"]["region"] = {"startLine": at.line}
    if at.uri is None or at.is_row:
        location["logicalLocations"] = [{"fullyQualifiedName": place.where}]
    if number < len(finding.views):
        location["message"] = {"text": _plain(finding.views[number])}
    location["properties"] = _numbers(place)
    return location


def _numbers(place: Place) -> dict[str, Any]:
    """Return a place's numbers: characters and tokens of the rendered text, which no region of the file can tell."""
    return {
        "record": place.record,
        "start": place.start,
        "end": place.end,
        "first_token": place.first_token,
        "end_token": place.end_token,
    }


def _fingerprint(finding: Finding) -> str:
    """Return what stays the same when rows move and folders are renamed."""
    cause = finding.cause.code if finding.cause is not None else ""
    record = finding.hashes[0] if finding.hashes else ""
    parts = [finding.code, cause, finding.labels_way, PurePath(finding.model).name, record]
    return hashlib.blake2b(dumps(parts).encode(), digest_size=16).hexdigest()


def _notifications(part: SetupReport, index: dict[str, int]) -> Iterator[dict[str, Any]]:
    for code, reason in part.not_run:
        rule: dict[str, Any] = {"id": code}
        if code in index:
            rule["index"] = index[code]
        text = f"{code} was not run on {part.model} ({part.labels_way}): {reason}"
        yield {"level": "note", "message": {"text": _plain(text)}, "associatedRule": rule}
    if part.unchecked:
        text = f"{part.model}: transformers may load the tokenizer otherwise, which was not checked ({part.unchecked})"
        yield {"level": "warning", "message": {"text": _plain(text)}}
