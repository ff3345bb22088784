"""What the run that a model comes from has seen of how its answers end: probe.json, findings.json."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from finetooth.runs import FINDINGS, PROBE, Run

STOPS = 0.9
"""The share of answers that stop, below which a model is said not to stop: some healthy ones meet the length limit."""
PREDICTED = 0.5
"""The share of rows that teach another end than stopping, from which on a model is expected not to stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """How a model's answers end, by its run."""

    file: str
    num_prompts: int | None
    """`None` where nothing was generated, and the labels alone tell."""
    stop_rate: float
    leak_rate: float

    @property
    def is_healthy(self) -> bool:
        """Whether it stops and leaks no terminator."""
        if self.num_prompts is None:
            return self.stop_rate > PREDICTED
        return self.stop_rate >= STOPS and self.leak_rate == 0


def measured(run: Run) -> Measured | None:
    """Return what a run tells of its model: what its probe counted, or else what its labels teach."""
    try:
        probe, findings = run.read_json(PROBE), run.read_json(FINDINGS)
    except (OSError, ValueError):
        return None
    if isinstance(probe, dict) and probe.get("num_prompts"):
        return Measured(
            file=str(run.directory / PROBE),
            num_prompts=int(probe["num_prompts"]),
            stop_rate=_rate(probe, "stop_rate"),
            leak_rate=_rate(probe, "leak_rate"),
        )
    prediction = findings.get("prediction") if isinstance(findings, dict) else None
    if not isinstance(prediction, dict) or not prediction:
        return None
    return Measured(
        file=str(run.directory / FINDINGS),
        num_prompts=None,
        stop_rate=_rate(prediction, "stops"),
        leak_rate=_rate(prediction, "shows-literal"),
    )


def _rate(values: dict[str, Any], key: str) -> float:
    value = values.get(key)
    return float(value) if isinstance(value, int | float) else 0.0
