"""Answers held against a persona's sheet: their length, their style, what they contradict, what leaks out of them.

report = finetooth.check_persona([{"messages": [...]}, ...], persona="persona.yaml")
report.share("style"), report.contradictions
"""

from __future__ import annotations

import heapq
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetooth.errors import DataError
from finetooth.messages import say
from finetooth.personas.building import turns_of
from finetooth.personas.prompt import text_of
from finetooth.personas.reading import load_persona
from finetooth.personas.sheet import Length, Persona
from finetooth.probing.judging import TERMINATORS
from finetooth.probing.report import wilson
from finetooth.records import read_records, records_of
from finetooth.types import Record

MAX_KEPT = 20
"""Answers and contradictions that are kept; however many are measured, no more is."""

MEASURES = ("sentences", "characters", "style", "consistent", "unleaked")
"""What is measured of an answer, each with a share of answers that are right."""

_END = re.compile(r"(?:[。．！？!?…]|\.(?=\s|$|[」』）)\"'”’]))+[」』）)\"'”’]*")
_ABBREVIATION = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|St|Jr|Sr|vs|etc|e\.g|i\.e)\.$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """An answer to be measured."""

    where: str
    question: str
    """The words that it answers; empty where they are not known."""
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Contradiction:
    """A stretch of an answer that a fact's pattern forbids."""

    fact: str
    group: str
    pattern: str
    where: str
    stretch: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredAnswer:
    """An answer, measured."""

    spoken: Spoken
    num_characters: int
    num_sentences: int
    right: Mapping[str, bool]
    """By measure, for those that the sheet asks for."""
    styles: tuple[bool, ...]
    """For each style pattern, whether it matches."""
    contradictions: tuple[Contradiction, ...]
    leaked: str | None
    """The literal terminator that stands in it."""

    @property
    def num_faults(self) -> int:
        """How many measures it fails; a contradiction and a leak weigh more than any length or style."""
        return sum(
            (10 if name in ("consistent", "unleaked") else 1) for name, is_right in self.right.items() if not is_right
        )


@dataclass(slots=True, kw_only=True)
class PersonaReport:
    """What was measured over some answers."""

    persona: Persona
    num_answers: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    """Answers that are right, by measure; a measure that the sheet does not ask for is absent."""
    num_characters: int = 0
    num_sentences: int = 0
    style_counts: list[int] = field(default_factory=list)
    """Answers that each style pattern matches, in the order of the sheet."""
    num_contradictions: int = 0
    contradictions: list[Contradiction] = field(default_factory=list)
    """The first ones."""
    _worst: list[tuple[int, int, MeasuredAnswer]] = field(default_factory=list)

    def add(self, answer: MeasuredAnswer) -> None:
        """Take in an answer."""
        self.num_answers += 1
        for name, is_right in answer.right.items():
            self.counts[name] = self.counts.get(name, 0) + is_right
        self.num_characters += answer.num_characters
        self.num_sentences += answer.num_sentences
        self.style_counts = self.style_counts or [0] * len(answer.styles)
        self.style_counts = [count + hit for count, hit in zip(self.style_counts, answer.styles, strict=True)]
        self.num_contradictions += len(answer.contradictions)
        self.contradictions += answer.contradictions[: MAX_KEPT - len(self.contradictions)]
        if answer.num_faults:
            entry = (answer.num_faults, -self.num_answers, answer)
            push = heapq.heappush if len(self._worst) < MAX_KEPT else heapq.heappushpop
            push(self._worst, entry)

    @property
    def worst(self) -> list[MeasuredAnswer]:
        """The answers with the most faults, the worst first; those of one number in the order of the data."""
        return [answer for _, _, answer in sorted(self._worst, key=lambda entry: (-entry[0], -entry[1]))]

    def share(self, name: str) -> float:
        """Return the share of answers that are right by a measure of `MEASURES`; 1 of what is not measured."""
        return self.counts[name] / self.num_answers if name in self.counts else 1.0

    def interval(self, name: str) -> tuple[float, float]:
        """Return the 95% Wilson interval of a share."""
        return wilson(self.counts[name], self.num_answers)

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain JSON."""
        total = max(1, self.num_answers)
        return {
            "persona": self.persona.name,
            "num_answers": self.num_answers,
            "mean_characters": self.num_characters / total,
            "mean_sentences": self.num_sentences / total,
            "measures": {
                name: {"count": count, "share": self.share(name), "interval": list(self.interval(name))}
                for name, count in self.counts.items()
            },
            "style": [
                {"pattern": pattern, "count": count, "share": count / total, "interval": list(wilson(count, total))}
                for pattern, count in zip(self.persona.style_patterns, self.style_counts, strict=False)
            ],
            "num_contradictions": self.num_contradictions,
            "contradictions": [
                {
                    "fact": one.fact,
                    "group": one.group,
                    "pattern": one.pattern,
                    "where": one.where,
                    "stretch": one.stretch,
                }
                for one in self.contradictions
            ],
            "worst": [
                {
                    "where": answer.spoken.where,
                    "question": answer.spoken.question,
                    "text": answer.spoken.text,
                    "characters": answer.num_characters,
                    "sentences": answer.num_sentences,
                    "wrong": [name for name, is_right in answer.right.items() if not is_right],
                    "leaked": answer.leaked,
                }
                for answer in self.worst
            ],
        }


class AnswerMeasure:
    """Measures answers by a sheet.

    Args:
        persona: The sheet.
        terminators: The literals that end a turn; those of the model that answered, where it is known.
    """

    def __init__(self, persona: Persona, terminators: Sequence[str] = TERMINATORS) -> None:
        self._length = persona.length
        self._styles = [re.compile(pattern) for pattern in persona.style_patterns]
        self._forbidden = [
            (group, fact.text, re.compile(pattern))
            for group, fact in persona.grouped_facts
            for pattern in fact.contradicted_by
        ]
        self._terminators = sorted(terminators, key=len, reverse=True)

    def __call__(self, spoken: Spoken) -> MeasuredAnswer:
        """Return an answer, measured."""
        text = spoken.text.strip()
        sentences = num_sentences(text)
        styles = tuple(pattern.search(text) is not None for pattern in self._styles)
        contradictions = tuple(
            Contradiction(
                fact=fact, group=group, pattern=pattern.pattern, where=spoken.where, stretch=found.group() or text
            )
            for group, fact, pattern in self._forbidden
            if (found := pattern.search(text)) is not None
        )
        leaked = next((literal for literal in self._terminators if literal in text), None)
        right: dict[str, bool] = {}
        if self._length.sentences is not None:
            right["sentences"] = sentences == self._length.sentences
        span = asked_characters(self._length)
        if span is not None:
            right["characters"] = span[0] <= len(text) and (span[1] is None or len(text) <= span[1])
        if styles:
            right["style"] = any(styles)
        if self._forbidden:
            right["consistent"] = not contradictions
        right["unleaked"] = leaked is None
        return MeasuredAnswer(
            spoken=spoken,
            num_characters=len(text),
            num_sentences=sentences,
            right=right,
            styles=styles,
            contradictions=contradictions,
            leaked=leaked,
        )


def asked_characters(length: Length) -> tuple[int, int | None] | None:
    """Return the fewest and the most characters that are right; half to one and a half times what is asked for alone.

    `None` where no number of characters is asked for; no upper limit where only the lower one is given.
    """
    if length.min_characters is None and length.max_characters is None:
        return None if length.characters is None else (-(-length.characters // 2), length.characters * 3 // 2)
    return length.min_characters or 1, length.max_characters


def num_sentences(text: str) -> int:
    """Return how many sentences a text has: stretches that end in a full stop, a question or an exclamation mark.

    Words after the last of them are one more. A stop within a number or after an abbreviation ends none.
    """
    count = start = 0
    for match in _END.finditer(text):
        if any(char.isalnum() for char in text[start : match.start()]) and not _ABBREVIATION.search(
            text, start, match.end()
        ):
            count += 1
            start = match.end()
    return count + any(char.isalnum() for char in text[start:])


def answers_of(records: Iterable[Record]) -> Iterator[Spoken]:
    """Yield every turn of an assistant in some records.

    Raises:
        DataError: A record has no turns.
    """
    for record in records:
        question, number = "", 0
        for turn in turns_of(record):
            if turn.get("role") == "assistant":
                number += 1
                where = f"{record.where} #{number}" if number > 1 else record.where
                yield Spoken(where=where, question=question, text=text_of(turn))
            elif turn.get("role") == "user":
                question = text_of(turn)


def answers_of_probe(path: Path) -> Iterator[Spoken]:
    """Yield the samples of a probe.json.

    Raises:
        DataError: The file cannot be read, or holds no samples.
    """
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        samples = report["samples"]
        spoken = [
            Spoken(
                where=f"{path}: {one.get('where', number)}",
                question=str(one.get("question", "")),
                text=str(one["text"]),
            )
            for number, one in enumerate(samples)
        ]
    except OSError as error:
        raise DataError(
            say("probing.unreadable", reason=(error.strerror or str(error)).lower()), where=str(path)
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            say("personas.no_probe"), where=str(path), help="finetooth probe DIR --data DATA -o probe.json"
        ) from error
    yield from spoken


def check_answers(
    answers: Iterable[Spoken], persona: Persona, *, terminators: Sequence[str] = TERMINATORS
) -> PersonaReport:
    """Return what is measured over answers, read as a stream.

    Raises:
        DataError: There is no answer.
    """
    measure = AnswerMeasure(persona, terminators)
    report = PersonaReport(persona=persona)
    for answer in answers:
        report.add(measure(answer))
    if report.num_answers == 0:
        raise DataError(say("personas.nothing_to_check"), help=say("personas.nothing_to_check_help"))
    return report


def check_persona(rows: Iterable[Mapping[str, Any]] | str | Path, persona: Persona | str | Path) -> PersonaReport:
    """Hold the answers of dialogues against a persona's sheet.

    Args:
        rows: Dialogues in memory, in any shape with turns, or the file that holds them.
        persona: The persona, or the path of its sheet.

    Raises:
        FinetoothError: The sheet is wrong, a row has no turns, or there is no answer.
    """
    sheet = persona if isinstance(persona, Persona) else load_persona(persona)
    records = read_records(str(rows)) if isinstance(rows, str | Path) else records_of(rows)
    return check_answers(answers_of(records), sheet)
