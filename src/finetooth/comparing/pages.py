"""A comparison as a document: what must be known first, then settings, curves, labels, endings, answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from finetooth.charts import Chart, Series
from finetooth.comparing.answers import answer_table
from finetooth.comparing.comparison import Comparison
from finetooth.comparing.differences import UNKNOWN, groups_of_data
from finetooth.comparing.entry import Entry, points_of
from finetooth.comparing.labels import label_blocks
from finetooth.documents import Block, Document, Figure, Heading, Paragraph, Row, Table
from finetooth.documents.blocks import Line
from finetooth.documents.naming import without_common_folders
from finetooth.formats.wording import num_records, severity_word, share_of
from finetooth.merging.sweeping.pages import blocks_of as sweep_blocks
from finetooth.messages import say
from finetooth.probing.report import RATES

_UNTOLD = "—"


def document_of(comparison: Comparison) -> Document:
    """Return a comparison as a document, in the language in force."""
    return Document(
        title=say("comparing.title", names=say("comparing.comma").join(entry.name for entry in comparison.entries)),
        tool="finetooth compare",
        blocks=tuple(_blocks(comparison)),
    )


def excerpt_of(comparison: Comparison) -> Document:
    """Return the part of a comparison that tells what the curves hide: losses, endings, answers."""
    entries = comparison.entries
    blocks = (
        *in_short(entries),
        *(figure for figure in curve_figures(entries) if figure.number == 1),
        *ending_blocks(entries),
        *answer_table(entries, comparison.num_samples),
    )
    return replace(document_of(comparison), blocks=blocks)


def _blocks(comparison: Comparison) -> Iterator[Block]:
    entries = comparison.entries
    yield from warnings_of(comparison)
    yield from in_short(entries)
    yield Heading(text=say("comparing.differences"))
    yield differences_table(comparison)
    figures = curve_figures(entries)
    if figures:
        yield Heading(text=say("comparing.curves"))
        yield from figures
        yield final_table(entries)
    yield from label_blocks(entries)
    if any(entry.kind != "merge" for entry in entries):
        yield from finding_blocks(entries)
    yield from ending_blocks(entries)
    number = len(figures) + 1
    for entry in entries:
        if entry.sweep is not None:
            blocks = list(sweep_blocks(entry.sweep, first_figure=number))
            number += sum(isinstance(block, Figure) for block in blocks)
            yield from blocks
    yield from answer_table(entries, comparison.num_samples)


# What must be known first ------------------------------------------------------------------------------------------


def warnings_of(comparison: Comparison) -> Iterator[Block]:
    """Yield what a reader has to know before anything else."""
    entries = comparison.entries
    if comparison.has_different_data:
        told = say("comparing.semicolon").join(
            say(
                "comparing.trained_on",
                names=_names(group),
                sources=say("comparing.comma").join(group[0].data.sources) or _UNTOLD,
                records=num_records(group[0].data.num_records or 0),
            )
            for group in groups_of_data(entries)
        )
        yield _warning(say("comparing.different_data", told=told))
    unknown = [entry for entry in entries if entry.data.hash is None and entry.kind != "merge"]
    if unknown and len(entries) > 1:
        yield _warning(say("comparing.unknown_data", names=_names(unknown)))
    for entry in entries:
        if entry.state != "finished" and entry.kind != "merge":
            yield _warning(say(f"comparing.is_{entry.state}", name=entry.name, reached=_reached(entry)))
    if comparison.was_asked_otherwise:
        yield _warning(say("comparing.asked_otherwise"))
    for entry in entries:
        for remark in entry.remarks:
            yield _warning(say("comparing.remark", name=entry.name, remark=remark))


def _warning(text: str) -> Paragraph:
    return Paragraph(line=[(text, "")], tone="warning")


def _names(entries: Sequence[Entry]) -> str:
    return say("comparing.comma").join(entry.name for entry in entries)


def _reached(entry: Entry) -> str:
    if entry.epoch is not None and entry.total is not None:
        return say("comparing.epoch_of", epoch=f"{entry.epoch:.3g}", total=f"{entry.total:g}")
    return say("comparing.at_step", step=f"{entry.step:,}")


def in_short(entries: Sequence[Entry]) -> Iterator[Block]:
    """Say in a sentence what the curves hide, or that there is nothing of the kind."""
    losses = [loss for entry in entries if (loss := entry.final("loss")) is not None]
    ways = {max(counts, key=lambda one: counts[one]) for entry in entries if (counts := entry.outcomes)}
    measured = [entry for entry in entries if entry.outcomes]
    if len(losses) < 2 or len(measured) < 2:
        return
    low, high = min(losses), max(losses)
    said = say("comparing.in_short", low=f"{low:.2f}", high=f"{high:.2f}", spread=f"{high - low:.2f}")
    said += say("comparing.ends_alike") if len(ways) == 1 else say("comparing.ends_otherwise", count=len(ways))
    wrong = [entry for entry in entries if entry.as_predicted is False]
    right = [entry for entry in entries if entry.as_predicted]
    if wrong:
        said += say("comparing.predicted_wrong", names=_names(wrong))
    elif right:
        said += say("comparing.predicted_right", count=len(right))
    yield Paragraph(line=[(said, "heading")], tone="good" if len(ways) == 1 and not wrong else "warning")


# Settings ----------------------------------------------------------------------------------------------------------


def differences_table(comparison: Comparison) -> Table:
    """Return how far runs came, what they were trained on, and the settings and versions that differ."""
    entries = comparison.entries
    rows = [
        _row(say("comparing.state"), [_state(entry) for entry in entries]),
        _row(say("comparing.data"), [_data(entry) for entry in entries]),
    ]
    rows += [setting_row(one.key, one.values) for one in comparison.settings]
    rows += [setting_row(say("comparing.version", package=one.key), one.values) for one in comparison.versions]
    if not comparison.settings:
        rows.append(_row(say("comparing.settings"), [[(say("comparing.no_difference"), "quiet")] for _ in entries]))
    return Table(corner=say("comparing.setting"), head=[entry.name for entry in entries], rows=rows)


def _row(label: str, cells: Sequence[Line]) -> Row:
    return Row(label=[(label, "quiet")], cells=cells)


def _state(entry: Entry) -> Line:
    word = say(f"comparing.state_{entry.state}")
    if entry.kind == "merge":
        word = say("comparing.merged") if entry.state == "finished" else word
        return [(word, "" if entry.state == "finished" else "bad")]
    return [(word, "" if entry.state == "finished" else "bad"), (f" · {_reached(entry)}", "quiet")]


def _data(entry: Entry) -> Line:
    if entry.data.num_records is None:
        return [(_UNTOLD, "quiet")]
    return [(num_records(entry.data.num_records), ""), (f" · {(entry.data.hash or '')[:8]}", "quiet")]


def setting_row(key: str, values: Sequence[Any]) -> Row:
    """Return a setting as each of some runs had it.

    Args:
        key: Its name.
        values: A value for each run; `UNKNOWN` where it is not known.
    """
    texts = without_common_folders([value if isinstance(value, str) else "" for value in values])
    cells = [_value(text or value) for text, value in zip(texts, values, strict=True)]
    if key == "tokenizer.path":
        own: Line = [(say("comparing.models_own"), "quiet")]
        cells = [own if value is None else cell for value, cell in zip(values, cells, strict=True)]
    return _row(key, cells)


def _value(value: Any) -> Line:
    if value is UNKNOWN:
        return [("?", "quiet")]
    if value is None or value == () or value == []:
        return [(_UNTOLD, "quiet")]
    if isinstance(value, bool):
        return [("true" if value else "false", "")]
    if isinstance(value, float):
        return [(f"{value:g}", "")]
    return [(", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value), "")]


# Curves ------------------------------------------------------------------------------------------------------------


def curve_figures(entries: Sequence[Entry]) -> list[Figure]:
    """Return the curves of some entries as numbered figures; those of which nothing is logged are left out."""
    by: Literal["epoch", "step"] = (
        "epoch" if all(entry.curve("loss", by="epoch") for entry in entries if entry.metrics) else "step"
    )
    wanted = (
        ("loss", "metrics", "loss", "eval_loss", False),
        ("eos_loss", "metrics", "eos_loss", "eval_eos_loss", False),
        ("p_eos", "metrics", "p_eos_end", "p_eos_inside", True),
        ("stop_rate", "probes", "stop_rate", "leak_rate", True),
    )
    found: list[Figure] = []
    for name, source, first, second, share in wanted:
        series = []
        for number, entry in enumerate(entries):
            lines: Sequence[Mapping[str, Any]] = getattr(entry, source)
            for value, dashed in ((first, False), (second, True)):
                points = points_of(lines, value, by=by)
                if points:
                    label = say(f"comparing.curve_{value}", name=entry.name)
                    series.append(Series(name=label, points=points, color=number, dashed=dashed))
        if not series:
            continue
        x_label = say(f"comparing.by_{by}")
        chart = Chart(title=say(f"comparing.figure_{name}"), x_label=x_label, series=series, share=share)
        number = len(found) + 1
        caption = [say(f"comparing.caption_{name}")]
        if chart.is_log:
            caption.append(say("comparing.log_scale"))
        found.append(
            Figure(
                number=number,
                chart=chart,
                caption=say("comparing.semicolon").join(caption),
                dashes=say(f"comparing.dashed_{name}") if any(one.dashed for one in series) else "",
                name=say("comparing.figure", number=number),
            )
        )
    return found


def final_table(entries: Sequence[Entry]) -> Table:
    """Return the metrics as they came out."""
    from finetooth.comparing.comparison import FINAL

    rows = []
    for name in FINAL:
        values = [entry.final(name) for entry in entries]
        if any(value is not None for value in values):
            cells = [[(_UNTOLD if value is None else f"{value:.4f}", "")] for value in values]
            rows.append(_row(say(f"comparing.final_{name}"), cells))
    return Table(corner=say("comparing.final"), head=[entry.name for entry in entries], rows=rows)


# Findings ----------------------------------------------------------------------------------------------------------


def finding_blocks(entries: Sequence[Entry]) -> Iterator[Block]:
    """Yield what a check found: a row for each rule, those that follow from another left out."""
    found: dict[tuple[str, str], list[Line]] = {}
    for index, entry in enumerate(entries):
        for finding in (entry.findings or {}).get("findings", []):
            if finding.get("folded_under"):
                continue
            key = (str(finding.get("code")), str(finding.get("name")))
            cells = found.setdefault(key, [[(_UNTOLD, "quiet")] for _ in entries])
            severity = finding.get("severity")
            style = {"error": "bad", "warning": "bad"}.get(str(severity), "")
            cause = (finding.get("cause") or {}).get("code")
            told = f" {share_of(float(finding.get('share') or 0))}" + (f" · {cause}" if cause else "")
            cells[index] = [(severity_word(severity) if severity in _SEVERITIES else "?", style), (told, "quiet")]
    yield Heading(text=say("comparing.findings"))
    if not found:
        checked = any(entry.findings is not None for entry in entries)
        said = say("comparing.nothing_found" if checked else "comparing.not_checked")
        yield Paragraph(line=[(said, "")], tone="quiet")
        return
    for index, entry in enumerate(entries):
        if entry.findings is None:
            for cells in found.values():
                cells[index] = [("?", "quiet")]
    yield Table(
        corner=say("comparing.rule"),
        head=[entry.name for entry in entries],
        rows=[Row(label=[(f"{code} ", "heading"), (name, "")], cells=cells) for (code, name), cells in found.items()],
    )


_SEVERITIES = ("info", "warning", "error")


# Endings -----------------------------------------------------------------------------------------------------------


def ending_blocks(entries: Sequence[Entry]) -> Iterator[Block]:
    """Yield how answers end: what the labels predict, and what the probe measured."""
    yield Heading(text=say("comparing.endings"))
    if not any(entry.predicted or entry.probe for entry in entries):
        yield Paragraph(line=[(say("comparing.not_probed"), "")], tone="quiet")
        return
    rows = [
        _row(say("comparing.predicted"), [_predicted(entry) for entry in entries]),
        _row(say("comparing.measured"), [_measured(entry) for entry in entries]),
        _row(say("comparing.verdict"), [_verdict(entry) for entry in entries]),
    ]
    for name in RATES:
        counts = [(entry.probe or {}).get("counts", {}).get(name) for entry in entries]
        if name in ("stop", "leak", "runaway") or any(counts):
            rows.append(_row(say(f"comparing.rate_{name}"), [_rate(entry, name) for entry in entries]))
    rows.append(_row(say("comparing.mean_chars"), [_mean_chars(entry) for entry in entries]))
    yield Table(corner="", head=[entry.name for entry in entries], rows=rows)
    yield Paragraph(line=[(say("comparing.interval"), "")], tone="quiet")


def _predicted(entry: Entry) -> Line:
    if entry.predicted is None:
        return [("?", "quiet")]
    name, share = entry.predicted
    line = [(say(f"comparing.outcome_{name.replace('-', '_')}"), ""), (f" {share_of(share)}", "quiet")]
    return [*line, (f" {say('comparing.other_template')}", "bad")] if entry.is_asked_otherwise else line


def _measured(entry: Entry) -> Line:
    counts = entry.outcomes
    if not counts or not sum(counts.values()):
        return [("?", "quiet")]
    name = max(counts, key=lambda one: counts[one])
    return [
        (say(f"comparing.outcome_{name.replace('-', '_')}"), "good" if name == "stops" else "bad"),
        (f" {counts[name]} / {sum(counts.values())}", "quiet"),
    ]


def _verdict(entry: Entry) -> Line:
    if entry.as_predicted is None:
        return [("?", "quiet")]
    return [(f"✓ {say('comparing.yes')}", "good")] if entry.as_predicted else [(f"✗ {say('comparing.no')}", "bad")]


def _rate(entry: Entry, name: str) -> Line:
    probe = entry.probe or {}
    count, total = probe.get("counts", {}).get(name), probe.get("num_prompts")
    if count is None or not total:
        return [("?", "quiet")]
    low, high = probe.get("intervals", {}).get(f"{name}_rate", (0.0, 1.0))
    is_bad = count < total if name == "stop" else count > 0
    return [(f"{count} / {total}", "bad" if is_bad else "good"), (f" [{low:.0%}, {high:.0%}]", "quiet")]


def _mean_chars(entry: Entry) -> Line:
    value = (entry.probe or {}).get("mean_chars")
    return [("?" if value is None else f"{value:.0f}", "quiet" if value is None else "")]
