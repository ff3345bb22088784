"""Workflow commands, which GitHub Actions shows beside the lines of a pull request.

`::error file=train.jsonl,line=7,title=LAB001 split-eos::...`, one for each place of the findings that follow from no
other. What a runner takes as a command, and how its values are escaped: "Workflow commands for GitHub Actions" in
GitHub's documentation, and `escapeData` and `escapeProperty` of the toolkit that it names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from finetooth.formats.place import file_place
from finetooth.formats.report import Report, standing
from finetooth.types import Finding, Place, Severity
from finetooth.view.visible import harmless

_COMMANDS: dict[Severity, str] = {"error": "error", "warning": "warning", "info": "notice"}


def render(report: Report) -> Iterator[str]:
    """Yield a command for each place."""
    for part in report.parts:
        for one in standing(part):
            finding = one.finding
            # A baseline may have taken the places that were kept, and left others.
            for place in finding.places or (Place(record=-1, where=finding.model),):
                yield _command(finding, place)


def _command(finding: Finding, place: Place) -> str:
    at = file_place(place)
    properties: dict[str, str] = {}
    if at.path is not None:
        properties["file"] = at.path.replace("\\", "/")
        if at.line is not None:
            properties["line"] = str(at.line)
    properties["title"] = f"{finding.code} {finding.name}"
    return command(_COMMANDS[finding.severity], _message(finding, place), properties)


def _message(finding: Finding, place: Place) -> str:
    lines = [finding.message]
    if finding.cause is not None:
        lines.append(f"{finding.cause.code}: {finding.cause.text}")
    if finding.help is not None:
        lines.append(f"help: {finding.help}")
    lines.append(" · ".join(dict.fromkeys((place.where, finding.model, finding.labels_way))))
    return "\n".join(map(harmless, lines))


def command(name: str, message: str, properties: Mapping[str, str]) -> str:
    """Return a workflow command as a line."""
    written = ",".join(f"{key}={escape_property(value)}" for key, value in properties.items())
    return f"::{name}{' ' if written else ''}{written}::{escape_data(message)}\n"


def escape_data(text: str) -> str:
    """Escape the text of a command: a line break in it would end the command, and could begin another."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def escape_property(text: str) -> str:
    """Escape the value of a property, which ends at a comma or a colon."""
    return escape_data(harmless(text)).replace(":", "%3A").replace(",", "%2C")
