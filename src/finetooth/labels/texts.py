"""The texts that collators are given: a row's own text, or the conversation or pair rendered to one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from finetooth.errors import FinetoothError, LabelsError
from finetooth.labels.cutting import cut
from finetooth.labels.setup import Labeller, Setup
from finetooth.messages import say
from finetooth.template import conversation_text
from finetooth.types import Encoded, Record, Rendered


def rendered_texts(setup: Setup, records: Sequence[Record], *, roles: bool) -> list[Rendered]:
    """Return the text of each record, with the spans that its roles should have."""
    rendered = []
    for record in records:
        if record.input_ids is not None:
            raise LabelsError(say("labels.encoded_row"), where=record.where, help="--labels as-is")
        if record.messages is not None and not roles and setup.template is not None:
            try:
                rendered.append(Rendered(text=conversation_text(setup.template, record), spans=()))
            except FinetoothError as error:
                raise error.at(record.where) from error
        else:
            rendered.append(setup.render(record))
    return rendered


def encode_texts(
    setup: Setup, records: Sequence[Record], rendered: Sequence[Rendered], *, add_special_tokens: bool = True
) -> list[Any]:
    """Encode texts whole; an error names the place of the record whose text it is."""
    texts = [one.text for one in rendered]
    try:
        return setup.tokenizer.encode(texts, add_special_tokens=add_special_tokens)
    except FinetoothError:
        for record, text in zip(records, texts, strict=True):
            try:
                setup.tokenizer.encode([text], add_special_tokens=add_special_tokens)
            except FinetoothError as error:
                raise error.at(record.where) from error
        raise


def collating(setup: Setup, labels_of: Callable[[list[int]], tuple[list[int], list[str]]], *, roles: bool) -> Labeller:
    """Return a labeller that encodes texts with special tokens, cuts them, and asks a collator for their labels.

    Args:
        setup: The set-up.
        labels_of: The collator: of a row's ids, its labels and what a reader has to know. It sees what is left of a row
            that was cut, as collators do.
        roles: Whether the spans of what is not supervised are wanted as well.
    """
    max_length = setup.max_length()

    def label(records: Sequence[Record]) -> list[Encoded]:
        rendered = rendered_texts(setup, records, roles=roles)
        results = []
        for record, one, encoding in zip(records, rendered, encode_texts(setup, records, rendered), strict=True):
            whole = encoding.ids
            input_ids, _, offsets = cut(setup, max_length, whole, whole, encoding.offsets)
            labels, notes = labels_of(input_ids)
            results.append(
                setup.encoded(
                    record,
                    text=one.text,
                    input_ids=input_ids,
                    labels=labels,
                    offsets=offsets,
                    spans=one.spans,
                    num_cut=len(whole) - len(input_ids),
                    notes=notes,
                )
            )
        return results

    return label
