"""The loss of a report: its definition as a formula, and what computed it in each run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from finetooth.comparing.entry import Entry
from finetooth.documents import Block, Formula, List, Paragraph, Reference, Row, Table
from finetooth.documents.blocks import Line
from finetooth.documents.formula import (
    Term,
    bracketed,
    fraction,
    log,
    name,
    negative,
    number,
    row,
    sign,
    sub,
    total,
)
from finetooth.messages import say
from finetooth.reporting.citing import Citations, library_lines, own_lines
from finetooth.types import IGNORE_INDEX

if TYPE_CHECKING:
    from finetooth.reporting.progress import ProgressReport

_OWN = "finetooth.loss.observed_loss"
_PLAIN = ("loss/loss_utils.py", "ForCausalLMLoss")
_SMOOTHED = ("trainer_pt_utils.py", "LabelSmoother")
_SMOOTHING_PAPER = Reference(
    text="Szegedy et al., “Rethinking the inception architecture for computer vision”, section 7, arXiv:1512.00567",
    url="https://arxiv.org/abs/1512.00567",
)


def loss(report: ProgressReport, citations: Citations) -> Iterator[Block]:
    """Yield the definition of the loss, and which code computed it."""
    if not report.runs:
        return
    yield Paragraph(line=[(say("reporting.loss_is"), "")])
    yield Formula(term=_cross_entropy(), number=1)
    yield List(items=[[(said, "")] for said in _symbols()])
    smoothed = [entry for entry in report.runs if _smoothing(entry)]
    if smoothed:
        yield Paragraph(line=[(say("reporting.loss_smoothed", cite=citations.cite(_SMOOTHING_PAPER)), "")])
        yield Formula(term=_smoothed(), number=2)
    yield Table(
        corner=say("reporting.computed"),
        head=[entry.name for entry in report.runs],
        rows=[
            _row("loss_function", [_function(entry, citations) for entry in report.runs]),
            _row("loss_same_as", [_same_as(entry, citations) for entry in report.runs]),
            _row("loss_smoothing", [_smoothing_cell(entry) for entry in report.runs]),
            _row("loss_packing", [_packing(entry) for entry in report.runs]),
        ],
    )
    if not smoothed:
        smoother = citations.cite(library_lines("transformers", *_SMOOTHED, citations.package("transformers")))
        yield Paragraph(line=[(say("reporting.loss_no_smoother", cite=smoother), "")], tone="quiet")


def _cross_entropy() -> Term:
    """Return L = -(1/N) sum over i, t with y[i, t] != -100 of log p(y[i, t] | x[i, <t])."""
    place = row(name("i"), sign(","), name("t"))
    label = sub(name("y"), place)
    before = sub(name("x"), row(name("i"), sign(","), sign("<"), name("t")))
    chance = row(sub(name("p"), name("θ")), bracketed(label, sign("|"), before))
    supervised = row(place, sign(":"), label, sign("≠"), number(f"−{abs(IGNORE_INDEX)}"))
    return row(name("L"), sign("="), negative(fraction(number(1), name("N"))), total(log(chance), over=supervised))


def _smoothed() -> Term:
    """Return L' = (1 - eps) L + eps / (N V) * the sum over supervised places and all words of -log p."""
    place = row(name("i"), sign(","), name("t"))
    before = sub(name("x"), row(name("i"), sign(","), sign("<"), name("t")))
    chance = row(sub(name("p"), name("θ")), bracketed(name("v"), sign("|"), before))
    share = fraction(name("ε"), row(name("N"), name("V")))
    spread = total(total(log(chance), over=name("v")), over=place)
    kept = row(bracketed(number(1), sign("-"), name("ε")), name("L"))
    return row(sub(name("L"), name("ε")), sign("="), kept, sign("-"), share, spread)


def _symbols() -> Iterator[str]:
    for symbol in ("places", "labels", "count"):
        yield say(f"reporting.loss_{symbol}")


def _smoothing(entry: Entry) -> float:
    return float(entry.settings.get("train.label_smoothing") or 0.0)


def _row(label: str, cells: list[Line]) -> Row:
    return Row(label=[(say(f"reporting.{label}"), "quiet")], cells=cells)


def _function(entry: Entry, citations: Citations) -> Line:
    """Return what computed the loss of a run."""
    if entry.kind == "finetooth":
        function = str((entry.loss or {}).get("function") or _OWN)
        source = own_lines(function, entry.versions.get("finetooth", "?"))
        return [(f"finetooth {function.rpartition('.')[2]}", ""), (f" {citations.cite(source)}", "quiet")]
    file, function = _SMOOTHED if _smoothing(entry) else _PLAIN
    mark = citations.cite(library_lines("transformers", file, function, entry.versions.get("transformers")))
    return [(f"transformers {function}", ""), (f" {mark}", "quiet")]


def _same_as(entry: Entry, citations: Citations) -> Line:
    """Return what a run's own loss equals, by the test that holds it."""
    if entry.kind != "finetooth":
        return [("—", "quiet")]
    file, function = _SMOOTHED if _smoothing(entry) else _PLAIN
    mark = citations.cite(library_lines("transformers", file, function, entry.versions.get("transformers")))
    return [(f"transformers {function}", ""), (f" {mark}", "quiet")]


def _smoothing_cell(entry: Entry) -> Line:
    if entry.settings.get("train.label_smoothing") is None:
        return [("?", "quiet")]
    return [(f"{_smoothing(entry):g}", "")]


def _packing(entry: Entry) -> Line:
    packing = (entry.loss or {}).get("packing")
    return [("?", "quiet")] if packing is None else [(say(f"reporting.packing_{packing}"), "")]
