"""Formulas say the same in MathML, in LaTeX, and in plain characters."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from finetooth.documents import formula as f
from tests.documents.samples import HOSTILE, loss


def test_a_loss_in_three_forms() -> None:
    term = loss()
    assert term.plain == "L = −1/N ∑_(t∈S) log p_θ(xₜ | c)"
    assert term.latex == (r"L=-\frac{1}{N}\sum_{t\in S}\log {p}_{\theta }\left({x}_{t}\mid c\right)")
    parsed = ET.fromstring(f"<math>{term.mathml}</math>")
    assert [element.text for element in parsed.iter() if element.tag in {"mi", "mn"}] == [
        "L", "1", "N", "t", "S", "log", "p", "θ", "x", "t", "c",
    ]  # fmt: skip


def test_what_is_compound_gets_brackets_in_plain_characters() -> None:
    total = f.row(f.name("a"), f.sign("+"), f.name("b"))
    assert f.fraction(total, f.name("c")).plain.strip() == "(a + b)/c"
    assert f.power(total, f.number(2)).plain == "(a + b)²"
    assert f.sub(f.name("x"), f.words("train")).plain == "x_(train)"
    assert f.applied(f.name("KL"), f.name("p"), f.name("q")).plain == "KL(p, q)"
    limits = f.total(f.name("x"), over=f.row(f.name("i"), f.sign("="), f.number(1)), up_to=f.name("n"))
    assert (limits.plain, limits.latex) == ("∑_(i=1…n) x", r"\sum_{i=1}^{n}x")


def test_signs_that_nobody_knows_are_refused() -> None:
    with pytest.raises(KeyError):
        f.sign("<script>")


@pytest.mark.parametrize("make", [f.name, f.words, f.number])
def test_names_are_text_in_every_form(make: object) -> None:
    term = make(HOSTILE)  # type: ignore[operator]
    ET.fromstring(f"<math>{term.mathml}</math>")
    inside = re.sub(r"^\\(text|mathrm)\{(.*)\}$", r"\2", term.latex)
    assert not set(inside) & set("\\{}$&#^_~%<>`*[]|\n\x1b")


def test_no_backslash_stands_before_punctuation() -> None:
    """Markdown would take it for an escape, and the formula would lose it."""
    everything = f.row(
        *(f.sign(sign) for sign in "=+,:-−/<>|∈∉≤≥≠·×…→∖≈∑"), loss(), f.words("a\\,b"), f.power(loss(), loss())
    )
    assert re.search(r"\\[^A-Za-z]", everything.latex) is None
