"""The table of supervised labels by tokenizer: one record as each run learned from it, differing ids marked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from finetooth.comparing.entry import Entry
from finetooth.documents import Block, Heading, Paragraph, Row, Table, Tokens
from finetooth.documents.blocks import Line
from finetooth.documents.naming import without_common_folders
from finetooth.examples import Example
from finetooth.messages import say
from finetooth.rules.endings import BRANCHES
from finetooth.types import IGNORE_INDEX, InspectedRecord, Record

NUM_FIRST = 3
"""First labels that are shown."""
NUM_BEFORE = 4
"""Labels that are shown before those of the terminator."""


def label_blocks(entries: Sequence[Entry]) -> Iterator[Block]:
    """Yield the table, and the record token by token; the record is the first that all runs keep."""
    known = [entry for entry in entries if entry.examples]
    if not known:
        return
    examples = common_examples(known)
    yield Heading(text=say("comparing.labels"))
    if len({(one.encoded.record_index, one.encoded.where) for one in examples}) > 1:
        yield Paragraph(line=[(say("comparing.other_records"), "")], tone="warning")
    names = [entry.name for entry in known]
    yield label_table(names, examples)
    yield Paragraph(line=[(say("comparing.differing_marked"), "")], tone="quiet")
    record = Record(index=examples[0].encoded.record_index, where=examples[0].encoded.where, shape="encoded", row={})
    inspected = InspectedRecord(record=record, sides=[one.side for one in examples])
    yield Tokens(inspected=inspected, summary=say("comparing.token_by_token"))


def label_table(names: Sequence[str], examples: Sequence[Example]) -> Table:
    """Return the labels of one record, as each of some set-ups makes them, differing ids marked.

    Args:
        names: What the set-ups are called.
        examples: The record as each has it.
    """
    return Table(corner=say("comparing.labels_of"), head=names, rows=list(_rows(examples)))


def common_examples(entries: Sequence[Entry]) -> list[Example]:
    """Return an example of each entry, of the same record where all keep one."""
    first = entries[0].examples
    for one in first:
        record = one.encoded.record_index
        found = [
            next((other for other in entry.examples if other.encoded.record_index == record), None) for entry in entries
        ]
        if all(found):
            return [example for example in found if example is not None]
    return [entry.examples[0] for entry in entries]


def _rows(examples: Sequence[Example]) -> Iterator[Row]:
    wheres = without_common_folders([one.encoded.where for one in examples])
    models = without_common_folders([one.encoded.model for one in examples])
    yield _row(say("comparing.record"), [[(where, "")] for where in wheres])
    yield _row(say("comparing.tokenizer"), [[(model, "")] for model in models])
    yield _row(say("comparing.way"), [[(one.encoded.labels_way, "")] for one in examples])
    yield _row(say("comparing.supervised"), [_counts(one) for one in examples])
    yield _row(say("comparing.first_labels"), _marked([_first(one) for one in examples]))
    yield _row(say("comparing.last_labels"), _marked([_last(one) for one in examples]))
    yield _row(say("comparing.terminator"), [_terminator(one) for one in examples])


def _row(label: str, cells: Sequence[Line]) -> Row:
    return Row(label=[(label, "quiet")], cells=cells)


def _counts(example: Example) -> Line:
    labels = example.encoded.labels
    learned = len(labels) - labels.count(IGNORE_INDEX)
    return [(say("comparing.tokens_of", learned=f"{learned:,}", total=f"{len(labels):,}"), "")]


_Label = tuple[int, str]
"""An id and its piece."""


def _first(example: Example) -> list[_Label]:
    learned = [label for label in example.encoded.labels if label != IGNORE_INDEX]
    return [(label, example.pieces.piece(label)) for label in learned[:NUM_FIRST]]


def _last(example: Example) -> list[_Label]:
    """Return the labels of the end of the last answer: a few of its text, then those of its terminator."""
    end, labels = example.terminator, example.encoded.labels
    before = [label for label in labels[: end.first_token] if label != IGNORE_INDEX][-NUM_BEFORE:]
    after = [label for label in labels[end.first_token : end.end_token] if label != IGNORE_INDEX]
    return [(label, example.pieces.piece(label)) for label in (*before, *after)]


def _marked(lists: Sequence[Sequence[_Label]]) -> list[Line]:
    """Return lists of labels as cells, what not all of them hold marked."""
    common = set(lists[0]).intersection(*map(set, lists[1:])) if lists else set()
    cells: list[Line] = []
    for labels in lists:
        line: list[tuple[str, str]] = []
        for label, piece in labels:
            style = "" if (label, piece) in common else "differs"
            line += [(f"{label}", style), (f" {piece}  ", "quiet")]
        cells.append(line or [(say("comparing.no_label"), "bad")])
    return cells


def _terminator(example: Example) -> Line:
    end, encoded = example.terminator, example.encoded
    words = say(f"formats.ending_{end.branch.replace('-', '_')}") if end.branch in BRANCHES else end.branch
    masked = [
        f"{token_id} {example.pieces.piece(token_id)}"
        for token_id, label in zip(
            encoded.input_ids[end.first_token : end.end_token],
            encoded.labels[end.first_token : end.end_token],
            strict=True,
        )
        if label == IGNORE_INDEX
    ]
    line: list[tuple[str, str]] = [(words, "good" if end.branch == "stops" else "bad")]
    if masked:
        line.append((f" · {say('comparing.masked', tokens=', '.join(masked))}", "quiet"))
    if end.cause:
        line.append((f" · {end.cause}", "quiet"))
    return line
