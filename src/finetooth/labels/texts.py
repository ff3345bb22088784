"""The texts that collators are given: a row's own text, or the conversation or pair rendered to one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from finetooth.errors import FinetoothError, LabelsError
from finetooth.labels.setup import Setup
from finetooth.messages import say
from finetooth.template import conversation_text
from finetooth.types import Record, Rendered


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
