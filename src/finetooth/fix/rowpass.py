"""One pass over the data set: every row with the edits that were made in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from finetooth.config import DataConfig
from finetooth.counting import OnBroken, label_each
from finetooth.errors import FinetoothError
from finetooth.fix.columns import Changes, Path, with_changes
from finetooth.fix.rowedits import Proposal, RowEdit
from finetooth.labels import Labeller, make_labeller
from finetooth.records import record_of
from finetooth.rules import Hit, Rule
from finetooth.rules.facts import SetupFacts
from finetooth.rules.row import Row
from finetooth.types import Record

_BATCH = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class EditedRow:
    """A record, and what is to become of its row."""

    record: Record
    changes: Mapping[Path, str] = field(default_factory=dict)
    is_dropped: bool = False

    @property
    def is_changed(self) -> bool:
        """Whether anything is to become of it."""
        return self.is_dropped or bool(self.changes)


@dataclass(slots=True)
class RowPass:
    """Edits rows in one set-up.

    Args:
        facts: The set-up, with the model's files as they were repaired.
        edits: The edits, in their order.
        rules: The rules in force, by code.
        data: How rows are read.
        unsafe: Whether unsafe edits are made; otherwise they are counted alone.
    """

    facts: SetupFacts
    edits: Sequence[RowEdit]
    rules: Mapping[str, Rule]
    data: DataConfig
    unsafe: bool = False
    made: Counter[str] = field(default_factory=Counter)
    """Rows by the name of the edit that was made in them."""
    offered: Counter[str] = field(default_factory=Counter)
    """Rows by the name of an unsafe edit that was not made in them."""

    def run(self, records: Iterable[Record], on_broken: OnBroken | None = None) -> Iterator[EditedRow]:
        """Yield every record with its edits, in order; records that the set-up refuses come as they are."""
        labeller = make_labeller(self.facts.setup)
        source = iter(records)
        first = True
        while batch := list(islice(source, _BATCH)):
            if first:
                # SFTTrainer decides by its first row for all.
                list(label_each(labeller, batch[:1], _nobody))
                first = False
            labelled = {record.index: encoded for record, encoded in label_each(labeller, batch, on_broken or _nobody)}
            for record in batch:
                encoded = labelled.get(record.index)
                yield (
                    EditedRow(record=record)
                    if encoded is None
                    else self._edited(labeller, Row(self.facts, record, encoded))
                )

    def _edited(self, labeller: Labeller, row: Row) -> EditedRow:
        original, changes = row.record, dict[Path, str]()
        waiting = list(self.edits)
        while waiting:
            # Once more after every edit: one may bring to light what another mends, and nothing is left for a next run.
            for edit in waiting:
                proposal, after = self._proposal(labeller, row, edit)
                if proposal is None:
                    continue
                waiting.remove(edit)
                if edit.safety == "unsafe" and not self.unsafe:
                    self.offered[edit.name] += 1
                    break
                self.made[edit.name] += 1
                if isinstance(proposal, str) or after is None:
                    return EditedRow(record=original, is_dropped=True)
                changes.update(proposal)
                row = after
                break
            else:
                break
        return EditedRow(record=original, changes=changes)

    def _proposal(self, labeller: Labeller, row: Row, edit: RowEdit) -> tuple[Proposal | None, Row | None]:
        """Return the first proposal of an edit that does what it should, and the row with it."""
        rule = self.rules.get(edit.code)
        if rule is None or edit.everywhere is _finds(rule, row):
            return None, None
        for proposal in edit.propose(row, self.data):
            if isinstance(proposal, str):
                return proposal, None
            after = self._relabelled(labeller, row.record, proposal)
            if after is not None and not _finds(rule, after) and edit.accepts(row, after):
                return proposal, after
        return None, None

    def _relabelled(self, labeller: Labeller, record: Record, changes: Changes) -> Row | None:
        """Return the row with changes made in it; `None` where it can then not be read or labelled."""
        try:
            changed = record_of(
                with_changes(record.row, changes), index=record.index, where=record.where, config=self.data
            )
            return Row(self.facts, changed, labeller([changed])[0])
        except FinetoothError:
            return None


def _finds(rule: Rule, row: Row) -> bool:
    return any(isinstance(hit, Hit) for hit in rule.run(row))


def _nobody(error: FinetoothError) -> None:
    """Tell nobody: the checks before and after tell of it."""
