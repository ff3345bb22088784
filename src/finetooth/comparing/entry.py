"""`Entry`: one column of a comparison, read from the directory of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from finetooth.charts import Point
from finetooth.examples import Example
from finetooth.merging.sweeping.lines import Sweep
from finetooth.rules.endings import OUTCOMES, Prediction
from finetooth.runs import State

Kind = Literal["finetooth", "trainer", "merge"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """What is known of the data of a run."""

    sources: tuple[str, ...] = ()
    hash: str | None = None
    """Of the records, in their order."""
    num_records: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One run, as far as its directory tells."""

    name: str
    directory: Path
    kind: Kind
    state: State
    step: int
    """The last step that was logged."""
    epoch: float | None
    total: float | None
    """Epochs that the run was to have."""
    begun: float | None = None
    """When it was begun, in seconds since 1970, as its files tell."""
    settings: Mapping[str, Any]
    """By dotted key of a recipe; what is not known is left out."""
    metrics: Sequence[Mapping[str, Any]]
    """The lines of metrics.jsonl."""
    data: Data
    probes: Sequence[Mapping[str, Any]] = ()
    """The lines of probes.jsonl."""
    findings: Mapping[str, Any] | None = None
    """findings.json: what a check found in the data, and what it predicts."""
    probe: Mapping[str, Any] | None = None
    """probe.json: how the answers end."""
    samples: Sequence[Mapping[str, Any]] = ()
    """The lines of samples.jsonl, of the last step."""
    examples: Sequence[Example] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    loss: Mapping[str, Any] | None = None
    """What computed the loss, as env.json tells it."""
    fingerprint: Mapping[str, Any] | None = None
    sweep: Sweep | None = None
    """What was measured when the parameters of a merge were tried."""
    remarks: Sequence[str] = ()
    """What could not be read, in sentences."""

    def curve(self, name: str, *, by: Literal["epoch", "step"]) -> list[Point]:
        """Return a value of the metrics over epochs or steps; logs without it, or where it is no number, are left out.

        Args:
            name: Such as `loss`, or `eval_loss`.
            by: What x is.
        """
        return points_of(self.metrics, name, by=by)

    @property
    def is_asked_otherwise(self) -> bool:
        """Whether the probe's prompts were written by another chat template than the one that was trained with.

        What the labels teach then holds less surely.
        """
        trained, asked = ((one or {}).get("template_hash") for one in (self.fingerprint, self.probe))
        return trained is not None and asked is not None and trained != asked

    @property
    def predicted(self) -> tuple[Prediction, float] | None:
        """How most answers will end by the labels, and the share of records that teach it."""
        shares = (self.findings or {}).get("prediction")
        if not shares:
            return None
        name = max(OUTCOMES, key=lambda one: float(shares.get(one, 0.0)))
        return name, float(shares.get(name, 0.0))

    @property
    def outcomes(self) -> dict[Prediction, int] | None:
        """How many answers of the probe ended in each way."""
        counts = (self.probe or {}).get("outcomes")
        return None if not counts else {name: int(counts.get(name, 0)) for name in OUTCOMES}

    @property
    def as_predicted(self) -> bool | None:
        """Whether most answers end as most records predict; `None` where one of the two is not known."""
        predicted, outcomes = self.predicted, self.outcomes
        if predicted is None or not outcomes or not sum(outcomes.values()):
            return None
        return outcomes[predicted[0]] == max(outcomes.values())

    def final(self, name: str) -> float | None:
        """Return a value as it came out: the mean of its logs in the last epoch, or of the last one."""
        logged = [line for line in self.metrics if is_number(line.get(name))]
        if not logged:
            return None
        epochs = [line["epoch"] for line in logged if is_number(line.get("epoch"))]
        last = max(epochs, default=0.0)
        ending = [line for line in logged if is_number(line.get("epoch")) and line["epoch"] > last - 1 + 1e-6]
        ending = ending or logged[-1:]
        return sum(float(line[name]) for line in ending) / len(ending)


def points_of(lines: Sequence[Mapping[str, Any]], name: str, *, by: Literal["epoch", "step"]) -> list[Point]:
    """Return the points of a value in lines that have `step` and `epoch`."""
    return [
        (float(line[by]), float(line[name])) for line in lines if is_number(line.get(name)) and is_number(line.get(by))
    ]


def is_number(value: Any) -> bool:
    """Return whether a value of JSON is a number that can be drawn: NaN and infinity cannot."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")
