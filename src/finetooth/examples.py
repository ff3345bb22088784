"""`Example`: a row as it was learned from, with all that shows it again without its tokenizer: examples.jsonl of a run.

A line is that of `inspect --format json`, with `pieces` (the vocabulary's string of each id), `special` (the ids that
are matched as a whole) and `ending` (how the last answer ends).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from finetooth.counting import label_each
from finetooth.labels import Setup, make_labeller
from finetooth.rules.endings import ending_of
from finetooth.rules.facts import SetupFacts
from finetooth.rules.row import Row
from finetooth.types import IGNORE_INDEX, Encoded, Record, Side, Span
from finetooth.view.jsonlines import to_json
from finetooth.view.pieces import readable_piece

MAX_EXAMPLES = 3
"""Rows of a run that are kept."""
MAX_TOKENS = 20_000
"""Longer rows are passed over: they are for reading."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminator:
    """How the last answer of an example ends."""

    branch: str
    """See `finetooth.rules.endings.Branch`."""
    cause: str
    first_token: int
    """Half-open tokens of the terminator, or where it should stand."""
    end_token: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPieces:
    """The pieces of an example, where its tokenizer is not at hand."""

    name: str
    pieces: Mapping[int, str]
    special: frozenset[int]

    def piece(self, token_id: int) -> str:
        """Return the vocabulary's string for an id."""
        return self.pieces.get(token_id, str(token_id))

    def piece_bytes(self, token_id: int) -> bytes | None:
        """Return `None`: the bytes are not kept."""
        return None

    def is_special(self, token_id: int) -> bool:
        """Return whether an id is matched as a whole."""
        return token_id in self.special


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One row, as one set-up encodes it."""

    encoded: Encoded
    pieces: StoredPieces
    terminator: Terminator

    @property
    def side(self) -> Side:
        """The row as the views take it."""
        return Side(encoded=self.encoded, pieces=self.pieces)

    def to_json(self) -> dict[str, Any]:
        """Return a line of examples.jsonl."""
        return {
            **to_json(self.encoded),
            "pieces": {str(number): piece for number, piece in sorted(self.pieces.pieces.items())},
            "special": sorted(self.pieces.special),
            "ending": {
                "branch": self.terminator.branch,
                "cause": self.terminator.cause,
                "first_token": self.terminator.first_token,
                "end_token": self.terminator.end_token,
            },
        }

    @classmethod
    def from_json(cls, line: Mapping[str, Any]) -> Example:
        """Return the example of a line.

        Raises:
            KeyError, TypeError, ValueError: The line is none of examples.jsonl.
        """
        ending = line["ending"]
        if not len(line["input_ids"]) == len(line["labels"]) == len(line["offsets"]):
            raise ValueError("input_ids, labels and offsets are not parallel")
        return cls(
            encoded=Encoded(
                record_index=int(line["record"]),
                where=str(line["where"]),
                model=str(line["model"]),
                loader=str(line["loader"]),
                labels_way=str(line["labels_way"]),
                text=str(line["text"]),
                input_ids=[int(one) for one in line["input_ids"]],
                labels=[int(one) for one in line["labels"]],
                offsets=[(int(start), int(end)) for start, end in line["offsets"]],
                spans=tuple(Span(**span) for span in line["spans"]),
                dropped=line["dropped"],
            ),
            pieces=StoredPieces(
                name=str(line["model"]),
                pieces={int(number): str(piece) for number, piece in line["pieces"].items()},
                special=frozenset(map(int, line["special"])),
            ),
            terminator=Terminator(
                branch=str(ending["branch"]),
                cause=str(ending["cause"]),
                first_token=int(ending["first_token"]),
                end_token=int(ending["end_token"]),
            ),
        )


def examples_of(setup: Setup, records: Iterable[Record], limit: int = MAX_EXAMPLES) -> Iterator[Example]:
    """Yield the first rows of a data set that are learned from."""
    facts = SetupFacts(setup)
    labeller = make_labeller(setup)
    found = (
        example_of(Row(facts, record, encoded))
        for one in records
        for record, encoded in label_each(labeller, [one], lambda error: None)
        if encoded.dropped is None and len(encoded.input_ids) <= MAX_TOKENS
    )
    yield from islice(found, limit)


def example_of(row: Row) -> Example:
    """Return the example of a row."""
    ending = ending_of(row)
    tokenizer = row.facts.tokenizer
    known = {*row.input_ids, *(label for label in row.labels if label != IGNORE_INDEX)}
    return Example(
        encoded=row.encoded,
        pieces=StoredPieces(
            name=row.encoded.model,
            pieces={one: readable_piece(tokenizer, one) for one in known},
            special=frozenset(one for one in known if tokenizer.is_special(one)),
        ),
        terminator=Terminator(
            branch=ending.branch, cause=ending.cause, first_token=ending.first_token, end_token=ending.end_token
        ),
    )
