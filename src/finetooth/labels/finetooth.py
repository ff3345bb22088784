"""finetooth's own labels: the whole text encoded once, and supervised where the model has to write it."""

from __future__ import annotations

from collections.abc import Sequence

from finetooth.encoding import Offsets, encode_rendered
from finetooth.errors import FinetoothError, LabelsError
from finetooth.labels.cutting import cut
from finetooth.labels.setup import Labeller, Setup
from finetooth.messages import say
from finetooth.types import IGNORE_INDEX, Encoded, Record, Rendered


def labeller(setup: Setup, *, roles: bool = True) -> Labeller:
    """Return what labels records by the spans of their rendering."""
    max_length = setup.max_length()

    def label(records: Sequence[Record]) -> list[Encoded]:
        rendered = []
        for record in records:
            if record.input_ids is not None:
                raise LabelsError(say("labels.encoded_row"), where=record.where, help="--labels as-is")
            rendered.append(setup.render(record, roles=roles))
        results = []
        for record, one, (input_ids, labels, offsets) in zip(
            records, rendered, _encode(setup, records, rendered), strict=True
        ):
            notes = list(one.notes)
            if record.text is not None and all(span.role == "unknown" for span in one.spans):
                notes.append(say("labels.roles_unknown"))
            whole = len(input_ids)
            input_ids, labels, offsets = cut(setup, max_length, input_ids, labels, offsets)
            nothing = labels.count(IGNORE_INDEX) == len(labels)
            if nothing and not notes:
                notes.append(say("labels.nothing_supervised"))
            results.append(
                setup.encoded(
                    record,
                    text=one.text,
                    input_ids=input_ids,
                    labels=labels,
                    offsets=offsets,
                    spans=one.spans,
                    num_cut=whole - len(input_ids),
                    notes=notes,
                )
            )
        return results

    return label


def _encode(
    setup: Setup, records: Sequence[Record], rendered: Sequence[Rendered]
) -> list[tuple[list[int], list[int], Offsets]]:
    try:
        return encode_rendered(setup.tokenizer, rendered)
    except FinetoothError:
        # One text of the batch is no text; find which, so that the error names its place.
        for record, one in zip(records, rendered, strict=True):
            try:
                encode_rendered(setup.tokenizer, [one])
            except FinetoothError as error:
                raise error.at(record.where) from error
        raise
