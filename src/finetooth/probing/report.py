"""The counts of a probe, with intervals, and probe.json; memory does not grow with the answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from finetooth.probing.judging import Answer
from finetooth.rules.endings import OUTCOMES, Prediction

MAX_SAMPLES = 20
"""Answers that are kept: the first ones, and of those with a fault the first of each."""

RATES = ("stop", "leak", "runaway", "passed_over", "echo", "repetition", "first_oddity")


@dataclass(slots=True, kw_only=True)
class ProbeReport:
    """What was counted over some answers."""

    model: str
    stop_ids: tuple[int, ...]
    max_new_tokens: int
    asked_chars: int | None = None
    """How long answers were asked to be."""
    style: tuple[str, ...] = ()
    template_hash: str | None = None
    """Of the chat template that wrote the prompts, as in fingerprint.json; `None` where none did."""
    num_prompts: int = 0
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(RATES, 0))
    outcomes: dict[Prediction, int] = field(default_factory=lambda: {name: 0 for name in OUTCOMES})
    """Answers by how they ended: each is one of the three that a check predicts from labels."""
    num_chars: int = 0
    num_in_length: int = 0
    """Answers of half to one and a half times the length that was asked for."""
    style_counts: list[int] = field(default_factory=list)
    samples: list[Answer] = field(default_factory=list)

    def add(self, answer: Answer) -> None:
        """Take in an answer."""
        found = {
            "stop": answer.stopped,
            "leak": answer.leaked is not None,
            "runaway": answer.runaway,
            "passed_over": answer.passed_over is not None,
            "echo": answer.echoed,
            "repetition": answer.repeats,
            "first_oddity": answer.first is not None,
        }
        is_first_of_its_kind = any(value and not self.counts[name] for name, value in found.items())
        self.num_prompts += 1
        self.outcomes[answer.outcome] += 1
        for name, value in found.items():
            self.counts[name] += value
        length = len(answer.text.strip())
        self.num_chars += length
        if self.asked_chars is not None:
            self.num_in_length += self.asked_chars / 2 <= length <= self.asked_chars * 1.5
        if answer.style:
            self.style_counts = self.style_counts or [0] * len(answer.style)
            self.style_counts = [count + hit for count, hit in zip(self.style_counts, answer.style, strict=True)]
        if len(self.samples) < MAX_SAMPLES or is_first_of_its_kind:
            self.samples.append(answer)

    def rate(self, name: str) -> float:
        """Return a rate of `RATES`; 0 where nothing was asked."""
        return self.counts[name] / self.num_prompts if self.num_prompts else 0.0

    def interval(self, name: str) -> tuple[float, float]:
        """Return the 95% interval of a rate."""
        return wilson(self.counts[name], self.num_prompts)

    def _repr_html_(self) -> str:
        from finetooth.documents import html
        from finetooth.probing.pages import document_of

        return html.fragment(document_of(self))

    def to_json(self) -> dict[str, Any]:
        """Return what probe.json holds."""
        rates = {f"{name}_rate": self.rate(name) for name in RATES}
        first = ("stop_rate", "leak_rate", "runaway_rate", "echo_rate")
        return {
            "num_prompts": self.num_prompts,
            **{name: rates[name] for name in first},
            "mean_chars": self.num_chars / self.num_prompts if self.num_prompts else 0.0,
            **{name: value for name, value in rates.items() if name not in first},
            "counts": dict(self.counts),
            "outcomes": dict(self.outcomes),
            "intervals": {f"{name}_rate": list(self.interval(name)) for name in RATES},
            "asked_chars": self.asked_chars,
            "in_length_rate": None if self.asked_chars is None else self.num_in_length / max(1, self.num_prompts),
            "style": [
                {"pattern": pattern, "rate": count / max(1, self.num_prompts)}
                for pattern, count in zip(self.style, self.style_counts, strict=False)
            ],
            "model": self.model,
            "stop_ids": list(self.stop_ids),
            "max_new_tokens": self.max_new_tokens,
            "template_hash": self.template_hash,
            "samples": [sample_json(answer) for answer in self.samples],
        }


def sample_json(answer: Answer) -> dict[str, Any]:
    """Return one answer as plain JSON."""
    return {
        "record": answer.prompt.record,
        "where": answer.prompt.where,
        "question": answer.prompt.question,
        "text": answer.text,
        "shown": answer.shown,
        "ids": answer.ids,
        "stopped": answer.stopped,
        "leaked": answer.leaked,
        "passed_over": answer.passed_over,
        "echoed": answer.echoed,
        "repeats": answer.repeats,
        "first": answer.first,
    }


def wilson(count: int, total: int, z: float = 1.959964) -> tuple[float, float]:
    """Return the Wilson score interval of a share (Wilson 1927, JASA 22, 209-212); (0, 1) of nothing."""
    if total == 0:
        return 0.0, 1.0
    share = count / total
    middle = share + z * z / (2 * total)
    spread = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


def longest_useful(answer_tokens: Sequence[int]) -> int:
    """Return how many tokens an answer is given: twice the longest of the data, at least 32 and at most 512."""
    return min(512, max(32, 2 * max(answer_tokens, default=64)))
