"""A sweep as tables and figures: what each candidate costs, and what it gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from finetooth.charts import Chart, Series
from finetooth.documents import Block, Document, Figure, Heading, Paragraph, Row, Table
from finetooth.documents.blocks import Line
from finetooth.documents.naming import without_common_ends
from finetooth.merging.sweeping.lines import Sweep
from finetooth.messages import say

_RATES = ("stop_rate", "leak_rate", "style_rate", "in_length_rate")


def document_of(sweep: Sweep) -> Document:
    """Return a sweep as a document, in the language in force."""
    return Document(
        title=say("sweeping.title", keys=", ".join(sweep.keys)), tool="finetooth merge", blocks=tuple(blocks_of(sweep))
    )


def blocks_of(sweep: Sweep, *, first_figure: int = 1) -> Iterator[Block]:
    """Yield the table and the figures of a sweep.

    Args:
        sweep: The sweep.
        first_figure: The number of its first figure, in a document that has others before it.
    """
    yield Heading(text=say("sweeping.title", keys=", ".join(sweep.keys)))
    yield _table(sweep)
    best = say("sweeping.best_is", name=sweep.best, by=say(f"sweeping.by_{sweep.best_by}"), place=f"{sweep.directory}")
    yield Paragraph(line=[(best, "heading")], tone="good")
    yield from _figures(sweep, first_figure)


def _table(sweep: Sweep) -> Table:
    lines = [*sweep.inputs, *sweep.candidates]
    data = list(dict.fromkeys(name for line in lines for name in line["losses"]))
    rates = [name for name in _RATES if any(line.get(name) is not None for line in lines)]
    head = [*(say("sweeping.loss_on", name=name) for name in data), *(say(f"sweeping.{name}") for name in rates)]
    lowest = {name: min(line["losses"][name] for line in sweep.candidates) for name in data} if sweep.candidates else {}
    rows = []
    inputs = [str(line["name"]) for line in sweep.inputs]
    names = dict(zip(inputs, without_common_ends(inputs), strict=True))
    for line in lines:
        is_best = line["kind"] == "candidate" and line["name"] == sweep.best
        name = say("sweeping.input_name", name=names[line["name"]]) if line["kind"] == "input" else line["name"]
        label: Line = [(name, "heading" if is_best else "quiet"), (" ★" if is_best else "", "good")]
        cells: list[Line] = [
            [(f"{line['losses'][name]:.4f}", "good" if _is_lowest(line, name, lowest) else "")] for name in data
        ]
        rows.append(Row(label=label, cells=[*cells, *(_rate(line, name) for name in rates)]))
    return Table(corner=say("sweeping.model"), head=head, rows=rows)


def _is_lowest(line: Mapping[str, Any], name: str, lowest: Mapping[str, float]) -> bool:
    return bool(line["kind"] == "candidate" and line["losses"][name] == lowest.get(name))


def _rate(line: Mapping[str, Any], name: str) -> Line:
    value = line.get(name)
    if value is None:
        return [("?", "quiet")]
    is_bad = value > 0 if name == "leak_rate" else value < 1 if name == "stop_rate" else False
    return [(f"{value:.0%}", "bad" if is_bad else "")]


def _figures(sweep: Sweep, number: int) -> Iterator[Figure]:
    """Yield loss and rates over the one parameter that is swept, or loss against rates where there are several."""
    if len(sweep.keys) == 1:
        (key,) = sweep.keys
        charts = [_over(sweep.candidates, key)]
        charts.append(_rates_over(sweep.candidates, key))
    else:
        charts = [_trade_off(sweep.candidates)]
    for chart in charts:
        if chart.drawn:
            name = say("comparing.figure", number=number)
            yield Figure(number=number, chart=chart, caption=say("sweeping.caption"), name=name)
            number += 1


def _sorted(lines: Sequence[Mapping[str, Any]], key: str) -> list[Mapping[str, Any]]:
    return sorted((line for line in lines if key in line["point"]), key=lambda line: float(line["point"][key]))


def _over(lines: Sequence[Mapping[str, Any]], key: str) -> Chart:
    data = list(dict.fromkeys(name for line in lines for name in line["losses"]))
    series = [
        Series(
            name=say("sweeping.loss_on", name=name),
            points=[(line["point"][key], line["losses"][name]) for line in _sorted(lines, key)],
            color=number,
        )
        for number, name in enumerate(data)
    ]
    return Chart(title=say("sweeping.figure_loss"), x_label=key, series=series)


def _rates_over(lines: Sequence[Mapping[str, Any]], key: str) -> Chart:
    series = [
        Series(
            name=say(f"sweeping.{name}"),
            points=[(line["point"][key], line[name]) for line in _sorted(lines, key) if line.get(name) is not None],
            color=number,
        )
        for number, name in enumerate(_RATES)
    ]
    return Chart(title=say("sweeping.figure_rates"), x_label=key, series=series, share=True)


def _trade_off(lines: Sequence[Mapping[str, Any]]) -> Chart:
    series = [
        Series(
            name=say(f"sweeping.{name}"),
            points=sorted((line["loss"], line[name]) for line in lines if line.get(name) is not None),
            color=number,
        )
        for number, name in enumerate(_RATES)
    ]
    return Chart(title=say("sweeping.figure_trade_off"), x_label=say("sweeping.loss"), series=series, share=True)
