r"""Formulas, each written once and shown three ways: as MathML, as LaTeX, and in plain characters.

A formula is built by small functions from others, so that its three forms cannot tell different things:

    loss = name("L")
    formula = row(loss, sign("="), negative(fraction(number(1), name("N"))), total(name("x"), over=name("t")))

Names and words are untrusted: each becomes text in all three. No LaTeX here holds a backslash before a sign of
punctuation: where a formula stands in Markdown, that would be taken for an escape.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

from finetooth.view.visible import harmless

_GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "varepsilon", "η": "eta", "θ": "theta",
    "λ": "lambda", "ℓ": "ell", "μ": "mu", "π": "pi", "σ": "sigma", "τ": "tau", "φ": "varphi", "ω": "omega",
    "Δ": "Delta", "Θ": "Theta", "Σ": "Sigma",
}  # fmt: skip
_SIGNS = {
    "=": "=", "+": "+", ",": ",", ":": ":", "-": "-", "−": "-", "/": "/", "<": r"\lt ", ">": r"\gt ",
    "|": r"\mid ", "∈": r"\in ", "∉": r"\notin ", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "·": r"\cdot ",
    "×": r"\times ", "…": r"\ldots ", "→": r"\to ", "∖": r"\setminus ", "≈": r"\approx ", "∑": r"\sum ",
}  # fmt: skip
_CLOSE = frozenset(",:/…")
"""Signs that stand close to what is before them in plain characters."""
_WIDE_FORMS = {ord(char): chr(ord(char) + 0xFEE0) for char in "\\{}$&#^_~%<>`*[]|"}
"""What TeX, Markdown or HTML would act on, as the full-width letter that none of them does."""
_SUBSCRIPTS = dict(zip("0123456789+-=()aeijkmnoprtuvx", "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₐₑᵢⱼₖₘₙₒₚᵣₜᵤᵥₓ", strict=True))
_SUPERSCRIPTS = dict(zip("0123456789+-=()in", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁱⁿ", strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """A formula, or a part of one; the functions of this module make it."""

    mathml: str
    """Elements of MathML, with nothing around them."""
    latex: str
    plain: str
    is_compound: bool = False
    """Whether it wants brackets in plain characters where it stands over or under something."""


def name(text: str) -> Term:
    """Return a variable, `x` or `θ`, or a name of several letters, which stands upright: `log`."""
    text = harmless(text)
    if text in _GREEK:
        return Term(mathml=f"<mi>{text}</mi>", latex=rf"\{_GREEK[text]} ", plain=text)
    if len(text) == 1 and text.isascii() and text.isalpha():
        return Term(mathml=f"<mi>{text}</mi>", latex=text, plain=text)
    return Term(mathml=f"<mi>{html.escape(text)}</mi>", latex=rf"\mathrm{{{_tex_text(text)}}}", plain=text)


def words(text: str) -> Term:
    """Return words within a formula, upright."""
    text = harmless(text)
    return Term(mathml=f"<mtext>{html.escape(text)}</mtext>", latex=rf"\text{{{_tex_text(text)}}}", plain=text)


def number(value: float | str) -> Term:
    """Return a number as it is to be read: `1`, `0.5`, `1e-8`."""
    text = f"{value:g}" if isinstance(value, int | float) else harmless(value)
    return Term(mathml=f"<mn>{html.escape(text)}</mn>", latex=_tex_text(text), plain=text)


def sign(text: str) -> Term:
    """Return an operator or a relation.

    Raises:
        KeyError: It is none of those that are known here.
    """
    latex = _SIGNS[text]
    shown = "−" if text == "-" else text
    plain = f"{shown} " if shown in ",:" else shown if shown in _CLOSE else f" {shown} "
    return Term(mathml=f"<mo>{html.escape(shown)}</mo>", latex=latex, plain=plain, is_compound=True)


def row(*terms: Term) -> Term:
    """Return terms one after the other."""
    plain = " ".join("".join(term.plain for term in terms).split()) if terms else ""
    return Term(
        mathml=f"<mrow>{_mathml(terms)}</mrow>",
        latex="".join(term.latex for term in terms),
        plain=plain,
        is_compound=len(terms) > 1,
    )


def negative(term: Term) -> Term:
    """Return a term with a minus before it."""
    return Term(
        mathml=f'<mo form="prefix">−</mo>{term.mathml}',
        latex=f"-{term.latex}",
        plain=f"−{term.plain}",
        is_compound=True,
    )


def sub(base: Term, index: Term) -> Term:
    """Return a term with an index below it."""
    return Term(
        mathml=f"<msub>{_one(base)}{_one(index)}</msub>",
        latex=f"{_group(base)}_{{{index.latex}}}",
        plain=base.plain + _small(index, _SUBSCRIPTS, "_"),
    )


def power(base: Term, exponent: Term) -> Term:
    """Return a term raised to another."""
    return Term(
        mathml=f"<msup>{_one(base)}{_one(exponent)}</msup>",
        latex=f"{_group(base)}^{{{exponent.latex}}}",
        plain=_bracketed(base) + _small(exponent, _SUPERSCRIPTS, "^"),
    )


def fraction(top: Term, bottom: Term) -> Term:
    """Return a fraction."""
    return Term(
        mathml=f"<mfrac>{_one(top)}{_one(bottom)}</mfrac>",
        latex=rf"\frac{{{top.latex}}}{{{bottom.latex}}}",
        plain=f"{_bracketed(top)}/{_bracketed(bottom)} ",
    )


def total(term: Term, *, over: Term, up_to: Term | None = None) -> Term:
    """Return a sum of a term over an index (`t`, `t ∈ S`, `t = 1`), up to something where that is given."""
    tag, above = ("munder", "") if up_to is None else ("munderover", _one(up_to))
    upper = "" if up_to is None else f"^{{{up_to.latex}}}"
    plain = f"∑_({_close(over)}{'' if up_to is None else f'…{_close(up_to)}'})"
    return Term(
        mathml=f'<{tag}><mo movablelimits="false">∑</mo>{_one(over)}{above}</{tag}>{term.mathml}',
        latex=rf"\sum_{{{over.latex}}}{upper}{term.latex}",
        plain=f"{plain} {term.plain}",
        is_compound=True,
    )


def bracketed(*terms: Term) -> Term:
    """Return terms in round brackets, which grow with them."""
    inner = row(*terms)
    return Term(
        mathml=f"<mrow><mo>(</mo>{_mathml(terms)}<mo>)</mo></mrow>",
        latex=rf"\left({inner.latex}\right)",
        plain=f"({inner.plain})",
    )


def applied(function: Term, *arguments: Term) -> Term:
    """Return a function of its arguments: `f(x, y)`."""
    parts: list[Term] = []
    for argument in arguments:
        parts += [sign(","), argument] if parts else [argument]
    inside = bracketed(*parts)
    return Term(
        # The operator is U+2061, "function application": nothing to see, and read aloud.
        mathml=f"<mrow>{function.mathml}<mo>&#x2061;</mo>{inside.mathml}</mrow>",
        latex=f"{function.latex}{inside.latex}",
        plain=f"{function.plain}{inside.plain}",
    )


def log(term: Term) -> Term:
    """Return the logarithm of a term."""
    return Term(
        mathml=f'<mrow><mi>log</mi><mo>&#x2061;</mo><mspace width="0.17em"/>{term.mathml}</mrow>',
        latex=rf"\log {term.latex}",
        plain=f"log {term.plain}",
        is_compound=True,
    )


def _mathml(terms: Sequence[Term]) -> str:
    return "".join(term.mathml for term in terms)


def _one(term: Term) -> str:
    return f"<mrow>{term.mathml}</mrow>"


def _group(term: Term) -> str:
    return f"{{{term.latex}}}"


def _bracketed(term: Term) -> str:
    return f"({term.plain.strip()})" if term.is_compound else term.plain.strip()


def _close(term: Term) -> str:
    return "".join(term.plain.split())


def _small(term: Term, forms: dict[str, str], mark: str) -> str:
    """Return an index or exponent in small characters where they can be read, and behind a mark where not."""
    plain = _close(term)
    is_word = len(plain) > 1 and any(map(str.isalpha, plain))
    if not is_word and all(char in forms for char in plain):
        return "".join(forms[char] for char in plain)
    return f"{mark}({plain})" if len(plain) > 1 else f"{mark}{plain}"


def _tex_text(text: str) -> str:
    return text.translate(_WIDE_FORMS)
