"""`Comparison`: several runs side by side.

comparison = finetooth.compare("runs/split", "runs/supervised")
comparison.write("comparison.html")
comparison                              # shows itself in a notebook
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetooth.comparing.differences import (
    UNKNOWN,
    Difference,
    groups_of_data,
    settings_that_differ,
    versions_that_differ,
    was_asked_otherwise,
)
from finetooth.comparing.entry import Entry
from finetooth.comparing.reading import read_entries, with_labels
from finetooth.config import Config, config_of

FINAL = ("loss", "eval_loss", "eos_loss", "p_eos_end", "p_eos_inside", "token_accuracy", "supervised_share")
"""The values of metrics.jsonl that are told as they came out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Several runs side by side."""

    entries: Sequence[Entry]
    num_samples: int = 4
    """Prompts whose answers are shown."""

    @property
    def settings(self) -> list[Difference]:
        """The settings that differ."""
        return settings_that_differ(self.entries)

    @property
    def versions(self) -> list[Difference]:
        """The packages that differ."""
        return versions_that_differ(self.entries)

    @property
    def has_different_data(self) -> bool:
        """Whether entries are known to have been trained on different data."""
        return len(groups_of_data(self.entries)) > 1

    @property
    def was_asked_otherwise(self) -> bool:
        """Whether the probes of entries asked different prompts."""
        return was_asked_otherwise(self.entries)

    def to_json(self) -> dict[str, Any]:
        """Return the comparison as plain JSON."""
        return {
            "entries": [_entry_json(entry) for entry in self.entries],
            "has_different_data": self.has_different_data,
            "was_asked_otherwise": self.was_asked_otherwise,
            "settings": [_difference_json(one) for one in self.settings],
            "versions": [_difference_json(one) for one in self.versions],
        }

    def write(self, path: str | Path) -> list[Path]:
        """Write the comparison as its ending says: .html, .md, .png, .txt or .json; returns the files written."""
        from finetooth.comparing.writing import write

        return write(self, Path(path))

    def __str__(self) -> str:
        from finetooth.comparing.pages import document_of
        from finetooth.documents import text

        return "".join(text.render(document_of(self), width=100, color=False))

    def _repr_html_(self) -> str:
        from finetooth.comparing.pages import document_of
        from finetooth.documents import html

        return html.fragment(document_of(self))


def compare(
    *runs: str | Path, data: str | Sequence[str] | None = None, num_samples: int = 4, config: Config | None = None
) -> Comparison:
    """Read runs, and set them side by side.

    Args:
        runs: Directories of runs, or of several runs; also the output directories of a plain Trainer.
        data: What plain Trainers were trained on, so that their labels can be shown, checked and predicted from.
        num_samples: How many prompts' answers are shown.
        config: How that data is read, and its labels made.

    Raises:
        FinetoothError: There is no such run.
    """
    sources = () if data is None else (data,) if isinstance(data, str) else tuple(data)
    entries = read_entries(runs)
    if sources:
        chosen = config or config_of({})
        entries = [with_labels(one, sources, chosen) if one.kind == "trainer" else one for one in entries]
    return Comparison(entries=tuple(entries), num_samples=num_samples)


def _entry_json(entry: Entry) -> dict[str, Any]:
    predicted, probe = entry.predicted, entry.probe or {}
    return {
        "name": entry.name,
        "directory": str(entry.directory),
        "kind": entry.kind,
        "state": entry.state,
        "step": entry.step,
        "epoch": entry.epoch,
        "data": {
            "sources": list(entry.data.sources),
            "hash": entry.data.hash,
            "num_records": entry.data.num_records,
        },
        "final": {name: entry.final(name) for name in FINAL},
        "predicted": None if predicted is None else {"outcome": predicted[0], "share": predicted[1]},
        "outcomes": entry.outcomes,
        "as_predicted": entry.as_predicted,
        "probe": {name: value for name, value in probe.items() if name != "samples"} or None,
        "findings": [_finding_json(one) for one in (entry.findings or {}).get("findings", [])],
        "remarks": list(entry.remarks),
    }


def _finding_json(finding: Mapping[str, Any]) -> dict[str, Any]:
    return {name: finding.get(name) for name in ("code", "name", "severity", "count", "share", "folded_under")}


def _difference_json(difference: Difference) -> dict[str, Any]:
    values = [None if value is UNKNOWN else value for value in difference.values]
    known = [value is not UNKNOWN for value in difference.values]
    return {"key": difference.key, "values": values, "known": known}
