"""`Sweep`: what a sweep measured, as it lies in its directory; read without torch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetooth.errors import MergeError
from finetooth.merging.sweeping.axes import name_of
from finetooth.messages import say

IDENTITY, LINES, MERGED = "sweep.json", "sweep.jsonl", "merged"
_LOWER = ("loss", "leak_rate", "runaway_rate", "repetition_rate")
_HIGHER = ("stop_rate", "style_rate", "in_length_rate")
BEST_BY = ("endings", *_LOWER, *_HIGHER)
"""By what the best is chosen; `endings`: the fewest leaks, of those the most stops, of those the least loss."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """What a sweep measured."""

    directory: Path
    inputs: Sequence[Mapping[str, Any]]
    """A line for each model that is merged."""
    candidates: Sequence[Mapping[str, Any]]
    """A line for each point, in the order of the points."""
    best: str
    """The name of the best."""
    best_by: str

    @property
    def keys(self) -> list[str]:
        """The parameters that are swept."""
        return list(dict.fromkeys(key for line in self.candidates for key in line["point"]))


def read_sweep(directory: Path) -> Sweep:
    """Return the sweep that lies in a directory.

    Raises:
        MergeError: There is none.
    """
    if not (directory / IDENTITY).is_file():
        raise MergeError(say("sweeping.no_sweep"), where=str(directory), help="finetooth merge --sweep t=0:1:0.25")
    try:
        identity = json.loads((directory / IDENTITY).read_text(encoding="utf-8"))
        best_by, order = str(identity["best_by"]), [name_of(point) for point in identity["points"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MergeError(say("sweeping.broken", reason=str(error)), where=str(directory / IDENTITY)) from error
    known = {line["name"]: line for line in lines_of(directory)}
    candidates = [known[name] for name in order if name in known]
    return Sweep(
        directory=directory,
        inputs=[line for line in known.values() if line["kind"] == "input"],
        candidates=candidates,
        best=best_of(candidates, best_by) if candidates else "",
        best_by=best_by,
    )


def best_of(lines: Sequence[Mapping[str, Any]], best_by: str) -> str:
    """Return the name of the best of some lines; of equals the first.

    Args:
        lines: Of sweep.jsonl.
        best_by: See `BEST_BY`; what a line does not hold is the worst.
    """

    def rank(line: Mapping[str, Any]) -> tuple[float, ...]:
        if best_by == "endings":
            return (line["leak_rate"], -line["stop_rate"], line["loss"])
        value = line.get(best_by)
        first = float("inf") if value is None else float(value)
        return (first if best_by in _LOWER or value is None else -first, line["loss"])

    return str(min(lines, key=rank)["name"])


def lines_of(directory: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a sweep that are whole."""
    path = directory / LINES
    if path.is_file():
        for text in path.read_text(encoding="utf-8").splitlines(keepends=True):
            if text.endswith("\n") and text.strip():
                yield json.loads(text)
