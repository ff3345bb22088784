"""Training rows of plain dialogues, under a persona's prompt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from finetooth.errors import DataError, FinetoothError
from finetooth.messages import say
from finetooth.personas.prompt import PersonaPrompt, Prompted
from finetooth.types import Message, Record

FACTS = "facts"
"""The column of the facts that each user's turn was given; readers of records pass it over."""

MAX_REASONS = 12
"""Reasons of refusals that are told apart; what comes after them is counted as others."""


@dataclass(slots=True, kw_only=True)
class BuildReport:
    """What became of the dialogues."""

    num_rows: int = 0
    num_turns: int = 0
    """Turns of users."""
    num_turns_with_facts: int = 0
    num_facts: int = 0
    num_replaced: int = 0
    """System messages of the dialogues' own, which gave way to the persona's."""
    refusals: Counter[str] = field(default_factory=Counter)
    """Rows that were refused, by reason."""
    first_places: dict[str, str] = field(default_factory=dict)
    """Where each reason was met first."""

    @property
    def num_refused(self) -> int:
        """How many dialogues gave no row."""
        return self.refusals.total()

    @property
    def mean_facts(self) -> float:
        """Facts a turn, over all turns of users."""
        return self.num_facts / self.num_turns if self.num_turns else 0.0

    def add(self, prompted: Prompted) -> None:
        """Count a row."""
        self.num_rows += 1
        self.num_turns += len(prompted.facts)
        self.num_turns_with_facts += sum(1 for facts in prompted.facts if facts)
        self.num_facts += sum(map(len, prompted.facts))
        self.num_replaced += prompted.num_replaced

    def refuse(self, error: FinetoothError, where: str) -> None:
        """Count a dialogue that gives no row."""
        reason = error.what
        if reason not in self.refusals and len(self.first_places) >= MAX_REASONS:
            reason = say("personas.other_reasons")
        self.refusals[reason] += 1
        self.first_places.setdefault(reason, where)


def build_rows(
    records: Iterable[Record], prompt: PersonaPrompt, report: BuildReport | None = None
) -> Iterator[dict[str, Any]]:
    """Yield a training row for each dialogue that can be one; the report is filled as they go.

    A row has the persona's system message, the facts that each of the user's turns asks for in front of its words, and
    the answers as they are: `messages`, and beside them `facts`, a list of texts for each of the user's turns.

    Args:
        records: Plain dialogues, in any shape with turns.
        prompt: Builds the messages.
        report: Told of rows and refusals.
    """
    report = BuildReport() if report is None else report
    for record in records:
        try:
            row, prompted = row_of(record, prompt)
        except FinetoothError as error:
            report.refuse(error, record.where)
            continue
        report.add(prompted)
        yield row


def row_of(record: Record, prompt: PersonaPrompt) -> tuple[dict[str, Any], Prompted]:
    """Return the training row of a dialogue, and what it was made of.

    Raises:
        DataError: The record is no dialogue of users and assistants, ends with a user, or has tools.
    """
    turns = turns_of(record)
    if record.tools:
        raise DataError(say("personas.has_tools"), where=record.where)
    prompted = prompt.messages(turns)
    if prompted.messages[-1]["role"] != "assistant":
        raise DataError(say("personas.no_answer"), where=record.where)
    row: dict[str, Any] = {
        "messages": prompted.messages,
        FACTS: [[fact.text for fact in facts] for facts in prompted.facts],
    }
    return row, prompted


def turns_of(record: Record) -> list[Message]:
    """Return the turns of a record; of a prompt and its completion, two, without the white space that joined them.

    Raises:
        DataError: The record is a whole text, or encoded already.
    """
    if record.messages is not None:
        return record.messages
    if record.prompt is None or record.completion is None:
        raise DataError(say("personas.no_dialogue", shape=record.shape), where=record.where)
    return [
        {"role": "user", "content": record.prompt.strip()},
        {"role": "assistant", "content": record.completion.strip()},
    ]
