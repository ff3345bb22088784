"""Run rules over batches of records, and count what they find: what each process of a check does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from finetooth.errors import FinetoothError
from finetooth.labels import Labeller, Setup, make_labeller
from finetooth.rules import Hit, NotRun, Rule
from finetooth.rules.endings import Branch, ending_of
from finetooth.rules.facts import SetupFacts
from finetooth.rules.row import Row
from finetooth.types import SEVERITIES, Encoded, Place, Record, Severity

PLACES = 3
"""How many places a finding shows."""

OnBroken = Callable[[FinetoothError], None]
_Group = tuple[str, str | None, str]
"""What hits are counted together by: the rule's code, the cause's code, and the message."""


@dataclass(slots=True)
class Group:
    """Hits of one code, cause and message."""

    hit: Hit
    """The first, which the sentences are made of."""
    severity: Severity
    count: int = 0
    places: list[Place] = field(default_factory=list)
    views: list[str] = field(default_factory=list)
    hashes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Counts:
    """What was counted over some records in one set-up; counts of later records are merged in, in order."""

    num_records: int = 0
    groups: dict[_Group, Group] = field(default_factory=dict)
    endings: dict[Branch, int] = field(default_factory=dict)
    tallies: dict[str, Any] = field(default_factory=dict)
    """The tally of each rule of the data set, by code."""
    not_run: dict[tuple[str, str], NotRun] = field(default_factory=dict)

    def merge(self, later: Counts) -> None:
        """Take in the counts of records that come after these."""
        self.num_records += later.num_records
        for key, group in later.groups.items():
            mine = self.groups.get(key)
            if mine is None:
                self.groups[key] = group
                continue
            mine.count += group.count
            mine.severity = max(mine.severity, group.severity, key=SEVERITIES.index)
            missing = PLACES - len(mine.places)
            mine.places += group.places[:missing]
            mine.views += group.views[:missing]
            mine.hashes += group.hashes
        for branch, count in later.endings.items():
            self.endings[branch] = self.endings.get(branch, 0) + count
        for code, tally in later.tallies.items():
            if code in self.tallies:
                self.tallies[code].merge(tally)
            else:
                self.tallies[code] = tally
        self.not_run.update(later.not_run)


class Checker:
    """Runs rules over batches of records in some set-ups; one for each process."""

    def __init__(self, setups: Sequence[Setup], rules: Sequence[Rule], *, keep_hashes: bool = False) -> None:
        self.facts = [SetupFacts(setup) for setup in setups]
        self.labellers: list[Labeller] = [make_labeller(setup) for setup in setups]
        self.rules = [rule for rule in rules if rule.scope == "record"]
        self.tallying = [rule for rule in rules if rule.scope == "data set"]
        self.keep_hashes = keep_hashes

    def start(self, first: Record) -> None:
        """Let each way see the first record, by which SFTTrainer decides for all; errors come where it is checked."""
        for labeller in self.labellers:
            try:
                labeller([first])
            except FinetoothError:
                continue

    def check(self, batch: Sequence[Record], on_broken: OnBroken | None = None) -> list[Counts]:
        """Return the counts of a batch, for each set-up."""
        return [
            self._check(facts, labeller, batch, on_broken)
            for facts, labeller in zip(self.facts, self.labellers, strict=True)
        ]

    def _check(
        self, facts: SetupFacts, labeller: Labeller, batch: Sequence[Record], on_broken: OnBroken | None
    ) -> Counts:
        counts = Counts()
        counts.tallies = {rule.code: rule.run() for rule in self.tallying}
        for record, encoded in label_each(labeller, batch, on_broken):
            row = Row(facts, record, encoded)
            counts.num_records += 1
            branch = ending_of(row).branch
            counts.endings[branch] = counts.endings.get(branch, 0) + 1
            for rule in self.rules:
                self._count(counts, rule, row)
            for tally in counts.tallies.values():
                tally.add(row)
        return counts

    def _count(self, counts: Counts, rule: Rule, row: Row) -> None:
        seen: set[_Group] = set()
        for hit in rule.run(row):
            if isinstance(hit, NotRun):
                counts.not_run[rule.code, hit.key] = hit
                continue
            key = (rule.code, hit.because.code if hit.because else None, hit.key)
            group = counts.groups.get(key)
            if group is None:
                group = counts.groups[key] = Group(hit, severity_of(rule, hit))
            if key in seen:
                continue  # a record counts once
            seen.add(key)
            group.count += 1
            group.severity = max(group.severity, severity_of(rule, hit), key=SEVERITIES.index)
            if len(group.places) < PLACES:
                place = place_of(hit, row)
                group.places.append(place)
                group.views.append(row.view(place.first_token or 0, place.end_token or 0))
            if self.keep_hashes:
                group.hashes.append(record_hash(row.record))


def label_each(
    labeller: Labeller, batch: Sequence[Record], on_broken: OnBroken | None
) -> Iterator[tuple[Record, Encoded]]:
    """Yield records with their encodings; where one is refused, `on_broken` is told and it is left out."""
    try:
        encoded = labeller(batch)
    except FinetoothError:
        if on_broken is None:
            raise
        for record in batch:
            try:
                yield record, labeller([record])[0]
            except FinetoothError as error:
                on_broken(error)
        return
    yield from zip(batch, encoded, strict=True)


def severity_of(rule: Rule, hit: Hit) -> Severity:
    """Return the severity of a hit, within what its rule may reach."""
    severity = hit.severity or rule.severity
    if rule.never_exceeds is not None:
        severity = min(severity, rule.never_exceeds, key=SEVERITIES.index)
    return severity


def place_of(hit: Hit, row: Row) -> Place:
    """Return where a hit stands, its tokens derived from its characters or the other way round."""
    start, end, first, last = hit.start, hit.end, hit.first_token, hit.end_token
    if first is None and start is not None and end is not None:
        first, last = row.tokens_in(start, end)
    elif start is None and first is not None and last is not None:
        start, end = row.characters_of(first, last)
    return Place(
        record=row.record.index, where=row.record.where, start=start, end=end, first_token=first, end_token=last
    )


def record_hash(record: Record) -> str:
    """Return a hash of a record's content, the same wherever the record stands."""
    import hashlib
    import json

    content = json.dumps(dict(record.row), sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.blake2b(content.encode(), digest_size=8).hexdigest()
