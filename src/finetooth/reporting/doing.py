"""What was done: set-ups and what they share, what is new, an example of the training data, versions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from finetooth.comparing.comparison import FINAL, Comparison
from finetooth.comparing.differences import UNKNOWN, settings_that_differ, versions_that_differ
from finetooth.comparing.entry import Entry
from finetooth.comparing.labels import common_examples
from finetooth.comparing.pages import differences_table, setting_row
from finetooth.documents import Block, Code, List, Paragraph, Row, Table, Tokens
from finetooth.documents.blocks import Line
from finetooth.examples import Example
from finetooth.formats.wording import num_records
from finetooth.messages import say
from finetooth.reporting.citing import Citations, library_lines
from finetooth.reporting.inspected import file_name, record_of
from finetooth.types import IGNORE_INDEX

if TYPE_CHECKING:
    from finetooth.reporting.progress import ProgressReport

COLLATOR_VERSION = "0.19.1"
"""The last TRL before 0.20, which removed DataCollatorForCompletionOnlyLM."""

_COMMON = (
    "model.path",
    "train.method",
    "labels.way",
    "labels.response_template",
    "labels.train_on",
    "train.epochs",
    "train.max_steps",
    "train.batch_size",
    "train.learning_rate",
    "train.scheduler",
    "train.warmup_steps",
    "train.optimizer",
    "train.seed",
    "train.precision",
    "lora.r",
    "lora.alpha",
    "tokenizer.path",
    "tokenizer.template",
)
"""The settings that a reader asks for, where all runs share them."""

_TEXT_CHARS = 1200
"""Characters of an example's text that are printed; what is longer is cut in its middle."""
_IDS = 400
"""Ids of it that are printed, likewise."""
_PER_LINE = 16


# Set-ups -----------------------------------------------------------------------------------------------------------


def setups(report: ProgressReport, citations: Citations) -> Iterator[Block]:
    """Yield what was trained on what, what all runs share, and where they differ."""
    runs = report.runs
    for group in _by_data(runs):
        yield Paragraph(line=[(_trained(group), "")])
    collated = [entry for entry in runs if entry.settings.get("labels.way") == "completion-collator"]
    if collated:
        source = library_lines("trl", "trainer/utils.py", "DataCollatorForCompletionOnlyLM", COLLATOR_VERSION)
        yield Paragraph(line=[(say("reporting.collator", cite=citations.cite(source)), "")])
    if len(runs) > 1:
        yield Paragraph(line=[(say("reporting.setups_differ"), "strong")])
        yield differences_table(Comparison(entries=runs))
    shared = _shared(runs)
    if shared:
        yield Paragraph(line=[(say("reporting.setups_share" if len(runs) > 1 else "reporting.settings"), "strong")])
        yield Table(
            corner=say("comparing.setting"),
            head=[say("reporting.all_runs") if len(runs) > 1 else runs[0].name],
            rows=[setting_row(key, [value]) for key, value in shared.items()],
        )
    for one in report.inspected:
        names = say("comparing.comma").join(one.names)
        key = "reporting.inspected" if runs else "reporting.inspected_alone"
        yield Paragraph(line=[(say(key, data=file_name(one.data), names=names), "")])


def _by_data(runs: Sequence[Entry]) -> list[list[Entry]]:
    groups: dict[tuple[str | None, tuple[str, ...]], list[Entry]] = {}
    for entry in runs:
        groups.setdefault((entry.data.hash, entry.data.sources), []).append(entry)
    return list(groups.values())


def _trained(group: Sequence[Entry]) -> str:
    """Return which runs were trained on what."""
    names = say("comparing.comma").join(entry.name for entry in group)
    data = group[0].data
    if not data.sources:
        return say("reporting.trained_on_unknown", names=names)
    sources = say("comparing.comma").join(file_name(source) for source in data.sources)
    records = "" if data.num_records is None else num_records(data.num_records)
    return say("reporting.trained_on", names=names, sources=sources, records=records or "?")


def _shared(runs: Sequence[Entry]) -> dict[str, Any]:
    """Return the settings that all runs know and share, and that are set."""
    found = {}
    for key in _COMMON:
        values = [entry.settings.get(key, UNKNOWN) for entry in runs]
        if values and all(value == values[0] for value in values) and values[0] not in (UNKNOWN, None, "", ()):
            value = values[0]
            if key.startswith("lora.") and runs[0].settings.get("train.method") != "lora":
                continue
            found[key] = file_name(value) if key.endswith(".path") and isinstance(value, str) else value
    return found


# What is new -------------------------------------------------------------------------------------------------------


def since(report: ProgressReport, citations: Citations) -> Iterator[Block]:
    """Yield what came after the run that the reader knows: new runs and merges, other settings, other figures."""
    if report.since is None:
        return
    entries = list(report.comparison.entries)
    known = next(entry for entry in entries if entry.name == report.since)
    begun = known.begun
    new = [entry for entry in entries if entry is not known and (begun is None or (entry.begun or 0.0) > begun)]
    if not new:
        yield Paragraph(line=[(say("reporting.nothing_new", name=known.name), "")])
        return
    told = {"merge": "reporting.new_merge"}
    items: list[Line] = [
        [(entry.name, "strong"), (f"  {say(told.get(entry.kind, 'reporting.new_run'))}", "quiet")] for entry in new
    ]
    yield Paragraph(line=[(say("reporting.new_since", name=known.name, count=len(new)), "")])
    yield List(items=items)
    trained = [known, *(entry for entry in new if entry.kind != "merge")]
    if len(trained) < 2 or known.kind == "merge":
        return
    rows = [setting_row(one.key, one.values) for one in settings_that_differ(trained)]
    rows += [_moved(name, trained) for name in FINAL if all(entry.final(name) is not None for entry in trained)]
    if rows:
        yield Table(corner=say("reporting.changed"), head=[entry.name for entry in trained], rows=rows)


def _moved(name: str, entries: Sequence[Entry]) -> Row:
    """Return a metric as it came out in each run, and how far from the first."""
    first = entries[0].final(name) or 0.0
    cells: list[Line] = []
    for index, entry in enumerate(entries):
        value = entry.final(name) or 0.0
        moved = f" ({value - first:+.4f})" if index else ""
        cells.append([(f"{value:.4f}", ""), (moved, "quiet")])
    return Row(label=[(say(f"comparing.final_{name}"), "quiet")], cells=cells)


# An example --------------------------------------------------------------------------------------------------------


def example(report: ProgressReport, citations: Citations) -> Iterator[Block]:
    """Yield a record of the training data: its text, its ids, and its labels."""
    known = [entry for entry in report.runs if entry.examples]
    if known:
        examples = common_examples(known)
        yield from _example(examples, [entry.name for entry in known], folded=True)
    elif report.inspected:
        one = report.inspected[0]
        yield from _example(one.examples, one.names, folded=False)


def _example(examples: Sequence[Example], names: Sequence[str], *, folded: bool) -> Iterator[Block]:
    first = examples[0].encoded
    yield Paragraph(line=[(say("reporting.example_is", number=first.record_index, where=file_name(first.where)), "")])
    yield Code(lines=_cut(first.text, _TEXT_CHARS).splitlines() or [""])
    yield Paragraph(line=[(say("reporting.example_ids", name=names[0], count=f"{len(first.input_ids):,}"), "")])
    yield Code(lines=["input_ids:", *_ids(first.input_ids), "labels:", *_ids(first.labels)])
    yield Paragraph(line=[(say("reporting.example_masked"), "")], tone="quiet")
    if folded:
        yield Tokens(inspected=record_of(examples, names), summary=say("comparing.token_by_token"))


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit // 2]}\n…\n{text[-limit // 2 :]}"


def _ids(ids: Sequence[int]) -> list[str]:
    """Return ids in lines; a stretch of -100 is counted, and the middle of what is long is left out."""
    words: list[str] = []
    position = 0
    while position < len(ids):
        end = position
        while end < len(ids) and ids[end] == IGNORE_INDEX:
            end += 1
        if end - position > 1:
            words.append(f"{IGNORE_INDEX} ×{end - position}")
            position = end
        else:
            words.append(str(ids[position]))
            position += 1
    if len(words) > _IDS:
        words = [*words[: _IDS // 2], "…", *words[-_IDS // 2 :]]
    return ["  " + ", ".join(words[start : start + _PER_LINE]) for start in range(0, len(words), _PER_LINE)]


# Versions ----------------------------------------------------------------------------------------------------------


def versions(report: ProgressReport, citations: Citations) -> Iterator[Block]:
    """Yield the versions of what the runs were made with: once where all had the same."""
    runs = [entry for entry in report.runs if entry.versions]
    if not runs:
        return
    differing = {one.key: one.values for one in versions_that_differ(runs)}
    packages = sorted({name for entry in runs for name in entry.versions}, key=lambda name: (name != "finetooth", name))
    if not differing:
        head = [say("reporting.all_runs") if len(runs) > 1 else runs[0].name]
        rows = [_versions(name, [runs[0].versions.get(name)]) for name in packages]
    else:
        head = [entry.name for entry in runs]
        rows = [_versions(name, [entry.versions.get(name) for entry in runs], name in differing) for name in packages]
    yield Table(corner=say("reporting.package"), head=head, rows=rows)


def _versions(name: str, found: Sequence[str | None], differs: bool = False) -> Row:
    style = "differs" if differs else ""
    return Row(label=[(name, "quiet")], cells=[[(one or "—", style)] for one in found])
