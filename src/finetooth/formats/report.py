"""What every format takes of a report, and which findings follow from which.

The report itself is made a level higher (`finetooth.checking`); here stands the part of it that can be written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import Field, dataclass
from typing import Any, ClassVar, Protocol

from finetooth.rules.endings import Branch
from finetooth.types import SEVERITIES, Finding, Severity

MERGE = "merge"
"""What stands for data and labels in the part of a report that is about a merge."""


class SetupReport(Protocol):
    """What was found in one set-up."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def model(self) -> str:
        """What the user typed to name the tokenizer."""

    @property
    def labels_way(self) -> str:
        """The way of making labels."""

    @property
    def data(self) -> str:
        """Which data: `train`, or `eval`; `merge` for a merge, which has none."""

    @property
    def num_records(self) -> int:
        """How many records were checked."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The worst first."""

    @property
    def endings(self) -> Mapping[Branch, int]:
        """Records by how their last answer ends."""

    @property
    def not_run(self) -> Sequence[tuple[str, str]]:
        """Rules that could not be run: code and reason."""

    @property
    def unchecked(self) -> str | None:
        """Why transformers may load the tokenizer otherwise, where that was not checked."""

    @property
    def num_models(self) -> int:
        """How many models a merge has."""


class Report(Protocol):
    """What a check found: a part for each set-up."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def num_records(self) -> int:
        """How many records were checked."""

    @property
    def parts(self) -> Sequence[SetupReport]:
        """A part for each set-up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A finding that stands by itself, with those that follow from it."""

    finding: Finding
    following: tuple[Finding, ...]


def standing(part: SetupReport) -> list[Standing]:
    """Return the findings of a set-up that follow from no other, the worst first, with those that do.

    A finding may follow from one that itself follows from another. Several findings may bear the code that it is folded
    under; it is told with the one whose cause it is, or else with the first.
    """
    codes = {finding.code for finding in part.findings}
    heads = [finding for finding in part.findings if finding.folded_under is None or finding.folded_under not in codes]
    # A ring of findings, each folded under the next, hangs on no head: then none of it is folded.
    reached = {finding.code for finding in heads}
    folded = [finding for finding in part.findings if not any(finding is head for head in heads)]
    while True:
        more = {finding.code for finding in folded if finding.folded_under in reached} - reached
        if not more:
            break
        reached |= more
    heads += [finding for finding in folded if finding.folded_under not in reached]
    folded = [finding for finding in folded if finding.folded_under in reached]

    following: list[list[Finding]] = [[] for _ in heads]
    for finding in folded:
        following[_head_of(finding, heads, folded)].append(finding)
    made = [Standing(finding=head, following=tuple(rest)) for head, rest in zip(heads, following, strict=True)]
    return sorted(made, key=lambda one: -SEVERITIES.index(one.finding.severity))


def _head_of(finding: Finding, heads: Sequence[Finding], folded: Sequence[Finding]) -> int:
    code = finding.folded_under
    seen = {finding.code}
    while not any(head.code == code for head in heads):
        # Up through the findings between, each of which hangs on a head in the end.
        seen.add(code or "")
        code = next(
            one.folded_under for one in folded if one.code == code and one.folded_under not in seen - {one.code}
        )
    named = [index for index, head in enumerate(heads) if head.code == code]
    causes = [index for index in named if (cause := heads[index].cause) is not None and cause.code == finding.code]
    return (causes or named)[0]


def count_severities(report: Report) -> dict[Severity, int]:
    """Return how many findings of each severity stand by themselves, the worst first, without zeros."""
    counts = Counter(one.finding.severity for part in report.parts for one in standing(part))
    return {severity: counts[severity] for severity in reversed(SEVERITIES) if counts[severity]}


def fails(report: Report, fail_on: str) -> bool:
    """Return whether a check of this report exits with 1; notes never do that.

    Args:
        report: What was found.
        fail_on: The severity from which on it does, or `never`.
    """
    if fail_on == "never":
        return False
    limit = max(SEVERITIES.index(fail_on), 1)
    return any(SEVERITIES.index(finding.severity) >= limit for part in report.parts for finding in part.findings)


def is_of_setup(finding: Finding) -> bool:
    """Return whether a finding is of the set-up, and no record's."""
    return finding.count == 1 and finding.share == 1.0 and all(place.record < 0 for place in finding.places)


def findings_of(report: Report) -> Iterator[Finding]:
    """Yield all findings, set-up by set-up, folded ones too."""
    for part in report.parts:
        yield from part.findings
