"""Check a data set against its set-ups: run every rule over every record, and count what they find.

report = finetooth.check("train.jsonl", model="my-model", labels="trl")
report.raise_for_errors()
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from multiprocessing.connection import wait
from typing import Any

from finetooth.config import DataConfig
from finetooth.errors import FinetoothError
from finetooth.inspection import open_any, setups_for
from finetooth.labels import Labeller, Setup, make_labeller
from finetooth.messages import say
from finetooth.rules import Hit, NotRun, Rule, select_rules
from finetooth.rules.endings import BRANCHES, Branch, ending_of
from finetooth.rules.facts import SetupFacts
from finetooth.rules.row import Row
from finetooth.types import SEVERITIES, Encoded, Finding, Place, Record, Severity

_BATCH = 256
FEW = 2048
"""Records that one process checks sooner than several are started."""

PLACES = 3
"""How many places a finding shows."""

OnBroken = Callable[[FinetoothError], None]
_Group = tuple[str, str | None, str]
"""What hits are counted together by: the rule's code, the cause's code, and the message."""


class FindingsError(AssertionError):
    """A check found what it should not; `findings` holds them."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        lines = [f"{f.severity} {f.code} {f.name} ({f.count} records, {f.model}): {f.message}" for f in findings]
        super().__init__("\n".join(lines))
        self.findings = tuple(findings)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupReport:
    """What was found in one set-up."""

    model: str
    labels_way: str
    data: str
    """Which data: `train`, or `eval`."""
    num_records: int
    findings: tuple[Finding, ...]
    """The worst first; those that follow from another come after it, with `folded_under`."""
    endings: dict[Branch, int]
    """Records by how their last answer ends."""
    not_run: tuple[tuple[str, str], ...]
    """Rules that could not be run: code and reason."""
    unchecked: str | None = None
    """Why transformers may load the tokenizer otherwise, where that was not checked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a check found: a part for each set-up."""

    num_records: int
    parts: tuple[SetupReport, ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings, set-up by set-up."""
        return tuple(finding for part in self.parts for finding in part.findings)

    def raise_for_errors(self, severity: Severity = "error") -> None:
        """Raise where something was found that is as bad as `severity`, or worse; for tests.

        Raises:
            FindingsError: The message lists what was found.
        """
        limit = SEVERITIES.index(severity)
        bad = [f for f in self.findings if SEVERITIES.index(f.severity) >= limit and f.folded_under is None]
        if bad:
            raise FindingsError(bad)

    def worst(self) -> Severity | None:
        """Return the worst severity found; `None` where nothing was."""
        severities = [finding.severity for finding in self.findings]
        return max(severities, key=SEVERITIES.index, default=None)


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


def check_records(
    records: Iterable[Record],
    setups: Sequence[Setup],
    rules: Sequence[Rule],
    *,
    on_broken: OnBroken | None = None,
    keep_hashes: bool = False,
    processes: int = 1,
    on_progress: Callable[[int], None] | None = None,
) -> Report:
    """Run rules over all records in every set-up.

    Args:
        records: The data set.
        setups: The set-ups; a part of the report each.
        rules: The rules to run.
        on_broken: Told of records that a set-up refuses, which are then left out; `None` raises the error.
        keep_hashes: Whether findings keep the hashes of all their records, for a baseline.
        processes: How many processes share the work, where there are more than `FEW` records. The report is the same.
        on_progress: Told of the number of records that are done, now and then.
    """
    source = iter(records)
    peeked = list(islice(source, FEW if processes > 1 else 1))
    checker = Checker(setups, rules, keep_hashes=keep_hashes)
    totals = [Counts() for _ in setups]
    batches = _batches(peeked, source)
    if peeked:
        checker.start(peeked[0])
    if processes > 1 and len(peeked) == FEW and "fork" in multiprocessing.get_all_start_methods():
        results = _in_processes(checker, batches, processes, skip=on_broken is not None)
    else:
        results = _in_process(checker, batches, skip=on_broken is not None)
    done = 0
    for number, counted, errors in results:
        for total, counts in zip(totals, counted, strict=True):
            total.merge(counts)
        for error in errors:
            if on_broken is not None:
                on_broken(error)
        done += number
        if on_progress is not None:
            on_progress(done)
    return report_of(checker.facts, totals, rules)


_Result = tuple[int, list[Counts], list[FinetoothError]]


def _batches(peeked: list[Record], source: Iterator[Record]) -> Iterator[list[Record]]:
    chained = chain(peeked, source)
    while batch := list(islice(chained, _BATCH)):
        yield batch


def _check_batch(checker: Checker, batch: list[Record], skip: bool) -> _Result:
    errors: list[FinetoothError] = []
    return len(batch), checker.check(batch, errors.append if skip else None), errors


def _in_process(checker: Checker, batches: Iterable[list[Record]], *, skip: bool) -> Iterator[_Result]:
    for batch in batches:
        yield _check_batch(checker, batch, skip)


_inherited: Checker | None = None
"""What the processes of a pool inherit: a fork copies it, and compiled templates cannot be sent."""


def _end_with_parent() -> None:
    """End this process as soon as its parent is gone: one that was killed cannot tell its pool to stop."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        sentinel = parent.sentinel

        def watch() -> None:
            wait([sentinel])
            os._exit(1)

        threading.Thread(target=watch, daemon=True).start()


def _check_in_worker(batch: list[Record], skip: bool) -> _Result:
    assert _inherited is not None
    number, counted, errors = _check_batch(_inherited, batch, skip)
    for counts in counted:
        # A tally's class goes by the name of its rule, by which pickle would not find it: its state is sent alone.
        counts.tallies = {code: tally.__reduce_ex__(2)[2] for code, tally in counts.tallies.items()}
    return number, counted, errors


def _received(checker: Checker, result: _Result) -> _Result:
    """Make tallies again of the states that a process sent."""
    classes = {rule.code: rule.run for rule in checker.tallying}
    for counts in result[1]:
        counts.tallies = {code: _tally(classes[code], state) for code, state in counts.tallies.items()}
    return result


def _tally(kind: type[Any], state: Any) -> Any:
    tally: Any = object.__new__(kind)
    if hasattr(tally, "__setstate__"):
        tally.__setstate__(state)
        return tally
    # (attributes, slots) where a class has slots, and attributes alone elsewhere.
    attributes, slots = state if isinstance(state, tuple) else (state, None)
    for name, value in {**(attributes or {}), **(slots or {})}.items():
        object.__setattr__(tally, name, value)
    return tally


def _in_processes(
    checker: Checker, batches: Iterable[list[Record]], processes: int, *, skip: bool
) -> Iterator[_Result]:
    """Check batches in several processes; yields results in the order of the batches."""
    global _inherited
    _inherited = checker
    # A forked process has none of the threads that its copy of the tokenizers library counts on.
    before = os.environ.get("TOKENIZERS_PARALLELISM")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    waiting: deque[Future[_Result]] = deque()
    try:
        context = multiprocessing.get_context("fork")
        with ProcessPoolExecutor(processes, mp_context=context, initializer=_end_with_parent) as pool:
            for batch in batches:
                waiting.append(pool.submit(_check_in_worker, batch, skip))
                if len(waiting) > 2 * processes:
                    yield _received(checker, waiting.popleft().result())
            while waiting:
                yield _received(checker, waiting.popleft().result())
    except BrokenProcessPool as error:
        # Killed from outside, most often for want of memory: nothing that it was doing is known.
        raise FinetoothError(say("check.process_ended"), help="--processes 1") from error
    finally:
        _inherited = None
        if before is None:
            del os.environ["TOKENIZERS_PARALLELISM"]
        else:
            os.environ["TOKENIZERS_PARALLELISM"] = before


def report_of(facts: Sequence[SetupFacts], totals: Sequence[Counts], rules: Sequence[Rule]) -> Report:
    """Run the rules that need all records, and make findings of what was counted."""
    parts = [_part(one, counts, rules) for one, counts in zip(facts, totals, strict=True)]
    return Report(num_records=max((counts.num_records for counts in totals), default=0), parts=tuple(parts))


def _part(facts: SetupFacts, counts: Counts, rules: Sequence[Rule]) -> SetupReport:
    by_code = {rule.code: rule for rule in rules}
    findings = [
        _finding(facts, by_code[code], group, counts.num_records) for (code, _, _), group in counts.groups.items()
    ]
    not_run = dict(counts.not_run)
    for rule in rules:
        if rule.scope == "record":
            continue
        if rule.scope == "set-up":
            hits = rule.run(facts)
        elif rule.code in counts.tallies:
            hits = counts.tallies[rule.code].hits(facts)
        else:
            continue
        for hit in hits:
            if isinstance(hit, NotRun):
                not_run[rule.code, hit.key] = hit
            else:
                group = Group(hit, severity_of(rule, hit), count=hit.values.get("count", 1))
                place = Place(record=-1, where=hit.where or facts.tokenizer.name)
                group.places += hit.values.get("places") or [place]
                group.views += hit.values.get("views") or []
                findings.append(_finding(facts, rule, group, counts.num_records if "count" in hit.values else 1))
    return SetupReport(
        model=facts.setup.model,
        labels_way=facts.way,
        data="train",
        num_records=counts.num_records,
        findings=tuple(_in_order(findings)),
        endings={branch: counts.endings[branch] for branch in BRANCHES if branch in counts.endings},
        not_run=tuple(sorted((code, say(hit.key, **hit.values)) for (code, _), hit in not_run.items())),
        unchecked=facts.tokenizer.unchecked,
    )


def _finding(facts: SetupFacts, rule: Rule, group: Group, total: int) -> Finding:
    from finetooth.types import Cause

    hit = group.hit
    values = {**hit.values, "count": group.count, "total": total}
    because = hit.because
    cause = None
    if because is not None:
        cause = Cause(code=because.code, text=say(because.key, **because.values), evidence=dict(because.evidence))
    return Finding(
        code=rule.code,
        name=rule.name,
        severity=group.severity,
        model=facts.setup.model,
        labels_way=facts.way,
        count=group.count,
        share=group.count / total if total else 0.0,
        message=say(hit.key, **values),
        help=say(hit.help, **values) if hit.help else None,
        cause=cause,
        places=tuple(group.places[:PLACES]),
        views=tuple(group.views[:PLACES]),
        reproduction="\n".join(hit.reproduction) or None,
        fixable=hit.fixable,
        folded_under=hit.folded_under,
        hashes=tuple(group.hashes),
    )


def _in_order(findings: Sequence[Finding]) -> Iterator[Finding]:
    """Yield the worst first, and after each finding those that follow from it."""
    codes = {finding.code for finding in findings}
    # What a finding would be folded under was not found here: then it stands by itself.
    standing = [f if f.folded_under in codes else replace(f, folded_under=None) for f in findings]
    ranked = sorted(standing, key=lambda f: (-SEVERITIES.index(f.severity), -f.count, f.code))
    for finding in ranked:
        if finding.folded_under is None:
            yield finding
    for finding in ranked:
        if finding.folded_under is not None:
            yield finding


def check(
    data: Any,
    *,
    model: Any = None,
    labels: str | Sequence[str] = "finetooth",
    eval_data: Any = None,
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
    template: str | None = None,
    loader: str = "auto",
    data_config: DataConfig | None = None,
    processes: int = 1,
    **options: Any,
) -> Report:
    """Check data against one or several set-ups.

    Args:
        data: A path, pattern or hub id (or several), rows in memory (a `datasets.Dataset`, a list of mappings), a live
            `Trainer`, or a `DataLoader`. Of the last two the labels are those that the collator gives.
        model: A directory, hub id or loaded tokenizer, or several. A Trainer brings its own.
        labels: A way of making labels, or several; see `finetooth.labels`.
        eval_data: Evaluation data, checked as a part of its own.
        select: Codes, beginnings of codes (`LAB`) or names of the rules to run; all where none is named.
        ignore: Rules not to run, named likewise.
        template: A built-in chat template's name, or a .jinja file.
        loader: `auto`, `tokenizers` or `transformers`.
        data_config: How files are read.
        processes: How many processes share the work.
        **options: Fields of `finetooth.config.LabelsConfig`, such as `train_on` or `response_template`.

    Returns:
        What was found. `report.raise_for_errors()` makes a test of it.

    Raises:
        FinetoothError: The data, a tokenizer, a template or an option is wrong.
    """
    setups = setups_for(data, model=model, labels=labels, template=template, loader=loader, **options)
    rules = select_rules(tuple(select), tuple(ignore))
    parts: list[SetupReport] = []
    num_records = 0
    for name, source in (("train", data), ("eval", eval_data)):
        if source is None:
            continue
        report = check_records(open_any(source, data_config or DataConfig()), setups, rules, processes=processes)
        parts += [replace(part, data=name) for part in report.parts]
        num_records += report.num_records
    return Report(num_records=num_records, parts=tuple(parts))
