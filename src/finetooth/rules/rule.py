"""What a rule is made of: the decorators, and the `Hit` that a rule yields.

    @rule("LAB010", "split-character", severity="warning")
    def split_character(row: Row) -> Iterator[Hit]:
        \"\"\"Find characters of which only some tokens are supervised.

        ## What it does
        ...
        \"\"\"
        for ... in ...:
            yield Hit("rules_lab.split_character", first_token=first, end_token=end)

A rule is one file, `<code>_<name>.py`, with one object that is a `Rule`; `finetooth.rules.all_rules()` finds it. Its
docstring is its documentation, in sections: What it does, Why it is bad, Example, Fix, Fix safety, Sources. The
Japanese one stands in `messages/ja/rule_docs_<stage>.toml` under the code.

What it takes says how often it runs:

- `@setup_rule`: a function of `SetupFacts`, run once a set-up;
- `@rule`: a function of `Row`, run for every record;
- `dataset_rule(...)`: a class with `add(row)`, `merge(other)` and `hits(facts)`: it counts over records, in several
  processes at once, and judges at the end;
- `@merge_rule`: a function of `MergeFacts`, run once a merge, before it is begun.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from finetooth.rules.facts import SetupFacts
from finetooth.rules.merge_facts import MergeFacts
from finetooth.rules.row import Row
from finetooth.types import Severity

Scope = Literal["set-up", "record", "data set", "merge"]
FixSafety = Literal["safe", "unsafe"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Because:
    """A cause that a rule has tested and found to hold."""

    code: str
    """The code of the rule whose matter it is (`TOK003`), or a word (`pad-is-eos`). Hits are counted apart by it."""
    key: str
    """The message, `area.name`."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """What fills the message's placeholders, as the first hit has it."""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    """What was seen, in plain JSON."""


@dataclass(frozen=True, slots=True)
class Hit:
    """What a rule saw, once. Hits of one code, cause and message are counted together as one `Finding`."""

    key: str
    """The message, `area.name`: what is so."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """What fills the placeholders of `key` and `help`, as the first hit has it."""
    help: str | None = None
    """The message of the remedy."""
    because: Because | None = None
    start: int | None = None
    """Half-open characters of the row's text; derived from the tokens where those alone are given."""
    end: int | None = None
    first_token: int | None = None
    """Half-open tokens; derived from the characters where those alone are given."""
    end_token: int | None = None
    severity: Severity | None = None
    """Another severity than the rule's own."""
    fixable: bool = False
    """Whether `finetooth fix` can mend it."""
    folded_under: str | None = None
    """The code of the finding that this one follows from, where that one was found in the same set-up."""
    reproduction: tuple[str, ...] = ()
    """Lines of Python that show it; `tokenizer` and `text` are bound by the two lines that are put in front."""
    where: str | None = None
    """The file that a hit of a set-up stands in."""


@dataclass(frozen=True, slots=True)
class NotRun:
    """Yielded in place of a hit where a rule could not be run."""

    key: str
    """The message, `area.name`: why."""
    values: Mapping[str, Any] = field(default_factory=dict)


class Tally(Protocol):
    """What a rule of the data set counts."""

    def add(self, row: Row) -> None:
        """Take a record into account."""

    def merge(self, other: Any) -> None:
        """Take in what another process counted over later records."""

    def hits(self, facts: SetupFacts) -> Iterator[Hit | NotRun]:
        """Judge, once all records are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule, and what is to know of it without running it."""

    code: str
    name: str
    """Reads well after "allow"."""
    severity: Severity
    """The severity of its findings, unless a hit says otherwise."""
    scope: Scope
    run: Any
    """The function, or the class of a tally."""
    documentation: str
    fix: FixSafety | None = None
    """Whether `finetooth fix` can mend it, and whether without asking."""
    never_exceeds: Severity | None = None
    """The worst severity that a hit may raise it to."""


def _decorator(
    scope: Scope, code: str, name: str, severity: Severity, fix: FixSafety | None, never_exceeds: Severity | None
) -> Callable[[Any], Rule]:
    import inspect

    return lambda run: Rule(
        code=code,
        name=name,
        severity=severity,
        scope=scope,
        run=run,
        documentation=inspect.cleandoc(run.__doc__ or ""),
        fix=fix,
        never_exceeds=never_exceeds,
    )


def rule(
    code: str,
    name: str,
    *,
    severity: Severity,
    fix: FixSafety | None = None,
    never_exceeds: Severity | None = None,
) -> Callable[[Callable[[Row], Iterator[Hit | NotRun]]], Rule]:
    """Make a rule of a generator that is run for every record."""
    return _decorator("record", code, name, severity, fix, never_exceeds)


def setup_rule(
    code: str,
    name: str,
    *,
    severity: Severity,
    fix: FixSafety | None = None,
    never_exceeds: Severity | None = None,
) -> Callable[[Callable[[SetupFacts], Iterator[Hit | NotRun]]], Rule]:
    """Make a rule of a generator that is run once for every set-up."""
    return _decorator("set-up", code, name, severity, fix, never_exceeds)


def dataset_rule(
    code: str,
    name: str,
    *,
    severity: Severity,
    fix: FixSafety | None = None,
    never_exceeds: Severity | None = None,
) -> Callable[[type[Tally]], Rule]:
    """Make a rule of a class that counts over all records of a set-up; see `Tally`."""
    return _decorator("data set", code, name, severity, fix, never_exceeds)


def merge_rule(
    code: str,
    name: str,
    *,
    severity: Severity,
    never_exceeds: Severity | None = None,
) -> Callable[[Callable[[MergeFacts], Iterator[Hit | NotRun]]], Rule]:
    """Make a rule of a generator that is run once for every merge."""
    return _decorator("merge", code, name, severity, None, never_exceeds)
