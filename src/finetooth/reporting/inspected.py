"""`Inspected`: a data set under several tokenizers, its labels made and checked, beside the runs of a report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from finetooth.checking import count_records, findings_json
from finetooth.config import Config
from finetooth.documents.naming import names_of
from finetooth.errors import DataError
from finetooth.examples import Example, examples_of
from finetooth.inspection import open_records
from finetooth.labels import Setup, make_setup
from finetooth.messages import say
from finetooth.rules import select_rules
from finetooth.types import InspectedRecord, Record, Side


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspected:
    """A data set under several tokenizers."""

    data: str
    names: tuple[str, ...]
    """What the tokenizers are called, as short as tells them apart."""
    examples: tuple[Example, ...]
    """Its first record that is learned from, as each tokenizer has it."""
    findings: tuple[Mapping[str, Any], ...]
    """What a check of all records found with each, as in findings.json."""

    @property
    def record(self) -> InspectedRecord:
        """The record as the views take it, its set-ups by their names."""
        return record_of(self.examples, self.names)


def record_of(examples: Sequence[Example], names: Sequence[str]) -> InspectedRecord:
    """Return a record under several set-ups as the views take it.

    Args:
        examples: The record as each has it.
        names: What the set-ups are called: where their files lay is nobody's concern.
    """
    encodeds = [
        replace(one.encoded, model=name, where=file_name(one.encoded.where))
        for one, name in zip(examples, names, strict=True)
    ]
    record = Record(index=encodeds[0].record_index, where=encodeds[0].where, shape="encoded", row={})
    sides = [Side(encoded=encoded, pieces=one.pieces) for encoded, one in zip(encodeds, examples, strict=True)]
    return InspectedRecord(record=record, sides=sides)


def file_name(source: str) -> str:
    """Return the last part of a path."""
    return source.rstrip("/\\").replace("\\", "/").rpartition("/")[2] or source


def inspect_data(data: str, models: Sequence[str], config: Config) -> Inspected:
    """Make and check the labels of a data set under several tokenizers.

    Args:
        data: What the user typed.
        models: The tokenizers' directories or names.
        config: How records are read, and labels made.

    Raises:
        FinetoothError: The data or a tokenizer cannot be read, or no tokenizer has anything learned of it.
    """
    setups = [make_setup(model, config) for model in models]
    rules = select_rules(config.check.select, config.check.ignore)

    def records() -> Iterator[Record]:
        return open_records([data], config.data)

    return Inspected(
        data=data,
        names=tuple(names_of([Path(model) for model in models])),
        examples=_examples(data, setups, records),
        findings=tuple(findings_json(count_records(records(), [setup], rules).report) for setup in setups),
    )


def _examples(data: str, setups: Sequence[Setup], records: Callable[[], Iterator[Record]]) -> tuple[Example, ...]:
    """Return the first record of which all learn, or else the first of each."""
    found = [{one.encoded.record_index: one for one in examples_of(setup, records())} for setup in setups]
    for setup, examples in zip(setups, found, strict=True):
        if not examples:
            raise DataError(
                say("reporting.nothing_learned", model=setup.model),
                where=f"--inspect {data}",
                help=f"finetooth check {data} --model {setup.model}",
            )
    common = [number for number in found[0] if all(number in examples for examples in found)]
    return tuple(examples[common[0]] if common else next(iter(examples.values())) for examples in found)
