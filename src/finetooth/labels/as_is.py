"""The labels that rows hold already: caches of other trainers, and what a live Trainer's collator gives.

The truest view, since nothing is made again. The text is rebuilt from the ids, piece by piece, so that every token has
its characters even where the tokenizer would now cut the text otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence

from finetooth.errors import LabelsError
from finetooth.labels.cutting import cut
from finetooth.labels.setup import Labeller, Setup
from finetooth.messages import say
from finetooth.tokenizer import Tokenizer
from finetooth.types import IGNORE_INDEX, Encoded, Record, Span


def labeller(setup: Setup, *, roles: bool = True) -> Labeller:
    """Return what takes the labels of rows as they are."""
    max_length = setup.max_length()

    def label(records: Sequence[Record]) -> list[Encoded]:
        return [_label(setup, record, max_length, roles) for record in records]

    return label


def _label(setup: Setup, record: Record, max_length: int | None, roles: bool) -> Encoded:
    if record.input_ids is None:
        raise LabelsError(
            say("labels.not_encoded", columns=", ".join(map(str, record.row))),
            where=record.where,
            help="--labels finetooth",
        )
    notes = []
    input_ids, labels = record.input_ids, record.labels
    if labels is None:
        labels, columns = _masked(record, input_ids)
        notes.append(
            say("labels.from_masks", columns=", ".join(columns)) if columns else say("labels.no_labels_column")
        )
    if record.attention_mask is not None and 0 in record.attention_mask:
        # Padding is no part of the row; what a collator made of it is seen in its labels alone.
        seen = [i for i, attended in enumerate(record.attention_mask) if attended]
        kept = slice(seen[0], seen[-1] + 1) if seen else slice(0)
        input_ids, labels = input_ids[kept], labels[kept]
    size, largest = setup.tokenizer.backend.get_vocab_size(with_added_tokens=True), max(input_ids, default=0)
    if largest >= size:
        notes.append(say("labels.ids_beyond", largest=largest, size=size))
    text, offsets = text_of(setup.tokenizer, input_ids)
    whole = len(input_ids)
    input_ids, labels, offsets = cut(setup, max_length, input_ids, labels, offsets)
    spans: tuple[Span, ...] = ()
    if roles:
        rendered = setup.renderer.render_text(text)
        spans = tuple(span for span in rendered.spans if span.role != "unknown")
    return setup.encoded(
        record,
        text=text,
        input_ids=list(input_ids),
        labels=list(labels),
        offsets=offsets,
        spans=spans,
        num_cut=whole - len(input_ids),
        notes=notes,
    )


def _masked(record: Record, input_ids: Sequence[int]) -> tuple[list[int], list[str]]:
    """Return labels by the mask columns that SFTTrainer's preparation leaves, and the columns that were read."""
    labels, columns = list(input_ids), []
    for column in ("completion_mask", "assistant_masks"):
        mask = record.row.get(column)
        if isinstance(mask, Sequence) and len(mask) == len(input_ids):
            columns.append(column)
            labels = [label if kept else IGNORE_INDEX for label, kept in zip(labels, mask, strict=True)]
    return labels, columns


def text_of(tokenizer: Tokenizer, input_ids: Sequence[int]) -> tuple[str, list[tuple[int, int]]]:
    """Rebuild a text from ids, with the character range of each.

    Where the tokenizer tells the bytes of every piece, the bytes are joined and decoded, and a token that holds part of
    a character has the range of that character. Elsewhere each id is decoded by itself.
    """
    pieces = [tokenizer.piece_bytes(token_id) for token_id in input_ids]
    if any(piece is None for piece in pieces):
        texts = [
            tokenizer.decode_one(token_id) if piece is None else None
            for token_id, piece in zip(input_ids, pieces, strict=True)
        ]
        pieces = [
            piece if piece is not None else (text or "").encode("utf-8", "replace")
            for piece, text in zip(pieces, texts, strict=True)
        ]
    joined = b"".join(piece or b"" for piece in pieces)
    text, starts = _decode(joined)
    offsets = []
    position = 0
    for piece in pieces:
        end = position + len(piece or b"")
        offsets.append(
            (starts[position], starts[end - 1] + 1) if end > position else (starts[position], starts[position])
        )
        position = end
    return text, offsets


def _decode(data: bytes) -> tuple[str, list[int]]:
    """Decode UTF-8, and return the character that each byte belongs to, and one past the last for the end."""
    text: list[str] = []
    owner: list[int] = []
    position = 0
    while position < len(data):
        try:
            valid = data[position:].decode("utf-8")
            length = len(data)
        except UnicodeDecodeError as error:
            valid = data[position : position + error.start].decode("utf-8")
            length = position + error.end
        for character in valid:
            owner.extend([len(text)] * len(character.encode("utf-8")))
            text.append(character)
        broken = length - position - len(valid.encode("utf-8"))
        if broken:
            owner.extend([len(text)] * broken)
            text.append("\N{REPLACEMENT CHARACTER}")
        position = length
    owner.append(len(text))
    return "".join(text), owner
