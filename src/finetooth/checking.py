"""Check a data set against its set-ups: run every rule over every record, and count what they find.

report = finetooth.check("train.jsonl", model="my-model", labels="trl")
report.raise_for_errors()
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any

from finetooth.config import DataConfig
from finetooth.counting import PLACES, Checker, Counts, Group, OnBroken, severity_of
from finetooth.formats.report import MERGE
from finetooth.inspection import open_any, setups_for
from finetooth.labels import Setup
from finetooth.messages import LANGUAGES, say, speaking
from finetooth.rules import NotRun, Rule, select_rules
from finetooth.rules.endings import BRANCHES, Branch, Prediction, predict
from finetooth.rules.facts import SetupFacts
from finetooth.rules.merge_facts import MergeFacts
from finetooth.types import SEVERITIES, Finding, Place, Record, Severity
from finetooth.workers import in_process, in_processes

_BATCH = 256
FEW = 2048
"""Records that one process checks sooner than several are started."""


class FindingsError(AssertionError):
    """A check found what it should not; `findings` holds them."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        lines = [f"{f.severity} {f.code} {f.name} ({f.count} records, {f.model}): {f.message}" for f in findings]
        super().__init__("\n".join(lines))
        self.findings = tuple(findings)


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupReport:
    """What was found in one set-up."""

    model: str
    labels_way: str
    data: str
    """Which data: `train`, or `eval`; `merge` for a merge, which has none."""
    num_records: int
    findings: tuple[Finding, ...]
    """The worst first; those that follow from another come after it, with `folded_under`."""
    endings: dict[Branch, int]
    """Records by how their last answer ends."""
    not_run: tuple[tuple[str, str], ...]
    """Rules that could not be run: code and reason."""
    unchecked: str | None = None
    """Why transformers may load the tokenizer otherwise, where that was not checked."""
    num_models: int = 1
    """How many models a merge has."""

    @property
    def prediction(self) -> dict[Prediction, float]:
        """How the trained model will end its answers, from the labels alone: shares of records."""
        return predict(self.endings)


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

    def _repr_html_(self) -> str:
        from finetooth.formats.html import fragment

        return fragment(self)

    def worst(self) -> Severity | None:
        """Return the worst severity found; `None` where nothing was."""
        severities = [finding.severity for finding in self.findings]
        return max(severities, key=SEVERITIES.index, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What rules counted over all records, from which reports are made."""

    facts: Sequence[SetupFacts]
    totals: Sequence[Counts]
    rules: Sequence[Rule]

    def report(self) -> Report:
        """Return the report, its sentences in the language in force."""
        return report_of(self.facts, self.totals, self.rules)


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
    """Run rules over all records in every set-up; the arguments are those of `count_records`."""
    counted = count_records(
        records,
        setups,
        rules,
        on_broken=on_broken,
        keep_hashes=keep_hashes,
        processes=processes,
        on_progress=on_progress,
    )
    return counted.report()


def count_records(
    records: Iterable[Record],
    setups: Sequence[Setup],
    rules: Sequence[Rule],
    *,
    on_broken: OnBroken | None = None,
    keep_hashes: bool = False,
    processes: int = 1,
    on_progress: Callable[[int], None] | None = None,
) -> Counted:
    """Run rules over all records in every set-up, and count what they find.

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
        results = in_processes(checker, batches, processes, skip=on_broken is not None)
    else:
        results = in_process(checker, batches, skip=on_broken is not None)
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
    return Counted(facts=checker.facts, totals=totals, rules=rules)


def _batches(peeked: list[Record], source: Iterator[Record]) -> Iterator[list[Record]]:
    chained = chain(peeked, source)
    while batch := list(islice(chained, _BATCH)):
        yield batch


def report_of(facts: Sequence[SetupFacts], totals: Sequence[Counts], rules: Sequence[Rule]) -> Report:
    """Run the rules that need all records, and make findings of what was counted."""
    parts = [_part(one, counts, rules) for one, counts in zip(facts, totals, strict=True)]
    return Report(num_records=max((counts.num_records for counts in totals), default=0), parts=tuple(parts))


def _part(facts: SetupFacts, counts: Counts, rules: Sequence[Rule]) -> SetupReport:
    by_code = {rule.code: rule for rule in rules}
    names = facts.setup.model, facts.way
    findings = [
        _finding(names, by_code[code], group, counts.num_records) for (code, _, _), group in counts.groups.items()
    ]
    not_run = dict(counts.not_run)
    for rule in rules:
        if rule.scope in ("record", "merge"):
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
                findings.append(_finding(names, rule, group, counts.num_records if "count" in hit.values else 1))
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


def check_merge(facts: MergeFacts, rules: Sequence[Rule]) -> SetupReport:
    """Run the rules about merges over one; no data and no labels take part."""
    findings: list[Finding] = []
    not_run: set[tuple[str, str]] = set()
    for rule in rules:
        if rule.scope != "merge":
            continue
        for hit in rule.run(facts):
            if isinstance(hit, NotRun):
                not_run.add((rule.code, say(hit.key, **hit.values)))
                continue
            group = Group(hit, severity_of(rule, hit), count=1)
            group.places.append(Place(record=-1, where=hit.where or facts.where))
            findings.append(_finding((facts.name, MERGE), rule, group, 1))
    loaded = [one.setup for one in facts.inputs if one.setup is not None]
    return SetupReport(
        model=facts.name,
        labels_way=MERGE,
        data=MERGE,
        num_records=0,
        findings=tuple(_in_order(findings)),
        endings={},
        not_run=tuple(sorted(not_run)),
        unchecked=next((one.tokenizer.unchecked for one in loaded if one.tokenizer.unchecked), None),
        num_models=len(facts.inputs),
    )


def _finding(names: tuple[str, str], rule: Rule, group: Group, total: int) -> Finding:
    """Return a finding of a set-up that is named by model and way of making labels."""
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
        model=names[0],
        labels_way=names[1],
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


def findings_json(report: Callable[[], Report]) -> dict[str, Any]:
    """Return what a check found as plain JSON: the lines of `check --format json`, and of data how answers end.

    Each finding has under `said` its sentences in the other languages, by language: who reads them later may speak one.

    Args:
        report: Gives the report in the language in force.
    """
    from finetooth.formats import jsonlines

    with speaking("en"):
        english = report()
    lines = [json.loads(line) for line in "".join(jsonlines.render(english)).splitlines()]
    for language in (one for one in LANGUAGES if one != "en" and lines):
        with speaking(language):
            others = [json.loads(line) for line in "".join(jsonlines.render(report())).splitlines()]
        for line, other in zip(lines, others, strict=True):
            cause = None if other["cause"] is None else other["cause"]["text"]
            line.setdefault("said", {})[language] = {"message": other["message"], "cause": cause}
    first, data = english.parts[0], {}
    if first.data != MERGE:
        data = {
            "num_records": first.num_records,
            "endings": dict(first.endings),
            "prediction": dict(first.prediction),
        }
    not_run = [{"code": code, "reason": reason} for code, reason in first.not_run]
    return {**data, "findings": lines, "not_run": not_run}
