"""Sides written out by hand, so that golden files hang on no library's way of cutting text, and how they are read."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from finetooth.types import IGNORE_INDEX, Encoded, InspectedRecord, Record, Side, Span

GOLDEN = Path(__file__).parent / "golden"

SGR = re.compile(r"\x1b\[[0-9;]*m")

Token = tuple[int, str, int, int, bool]
"""id, piece, start, end, supervised."""


class TablePieces:
    """A vocabulary of the pieces that a sample uses; `▁` is a space, and `<0xE5>` a byte."""

    def __init__(self, name: str, table: dict[int, str], special: frozenset[int]) -> None:
        self.name = name
        self._table = table
        self._special = special

    def piece(self, token_id: int) -> str:
        return self._table.get(token_id, f"<{token_id}>")

    def piece_bytes(self, token_id: int) -> bytes | None:
        piece = self.piece(token_id)
        if re.fullmatch(r"<0x[0-9A-F]{2}>", piece):
            return bytes([int(piece[3:5], 16)])
        return piece.replace("▁", " ").encode("utf-8", "surrogatepass")

    def is_special(self, token_id: int) -> bool:
        return token_id in self._special


def make_side(
    text: str,
    tokens: Sequence[Token],
    *,
    model: str = "model",
    special: Sequence[int] = (1, 2),
    spans: Sequence[Span] = (),
    labels: Sequence[int] | None = None,
    labels_way: str = "finetooth",
    dropped: str | None = None,
    notes: Sequence[str] = (),
) -> Side:
    """Return a side from its tokens; `labels` overrules what they say of supervision."""
    encoded = Encoded(
        record_index=0,
        where="rows.jsonl:1",
        model=model,
        loader="tokenizers",
        labels_way=labels_way,
        text=text,
        input_ids=[token[0] for token in tokens],
        labels=list(labels) if labels is not None else [t[0] if t[4] else IGNORE_INDEX for t in tokens],
        offsets=[(token[2], token[3]) for token in tokens],
        spans=tuple(spans),
        dropped=dropped,
        notes=tuple(notes),
    )
    return Side(encoded=encoded, pieces=TablePieces(model, {t[0]: t[1] for t in tokens}, frozenset(special)))


def make_record(*sides: Side, index: int = 0, where: str = "rows.jsonl:1") -> InspectedRecord:
    text = sides[0].encoded.text if sides else ""
    record = Record(index=index, where=where, shape="text", row={"text": text}, text=text)
    return InspectedRecord(record=record, sides=sides)


ANSWER = "<s>[INST] 猫は？ [/INST]\n好きですわ。</s>"
_PROMPT: tuple[Token, ...] = (
    (518, "▁[", 3, 4, False),
    (25580, "INST", 4, 8, False),
    (29962, "]", 8, 9, False),
    (29871, "▁", 9, 10, False),
    (234, "<0xE7>", 10, 11, False),
    (143, "<0x8C>", 10, 11, False),
    (174, "<0xAB>", 10, 11, False),
    (30449, "は", 11, 12, False),
    (30882, "？", 12, 13, False),
    (518, "▁[", 13, 15, False),
    (29914, "/", 15, 16, False),
    (25580, "INST", 16, 20, False),
    (29962, "]", 20, 21, False),
    (13, "<0x0A>", 21, 22, True),
    (31076, "好", 22, 23, True),
    (30538, "き", 23, 24, True),
    (30499, "で", 24, 25, True),
    (30427, "す", 25, 26, True),
    (31068, "わ", 26, 27, True),
    (30267, "。", 27, 28, True),
)
_SPANS = (
    Span(start=10, end=13, role="user", message_index=0, supervised=False),
    Span(start=22, end=32, role="assistant", message_index=1, supervised=True),
)


def three_sides() -> InspectedRecord:
    """Return one answer whose end is in pieces, masked, and supervised: the example that the project began with."""
    split: list[Token] = [
        (1, "▁<s>", 0, 0, False),
        (1, "▁<s>", 0, 3, False),
        (29961, "[", 3, 4, False),
        *_PROMPT[1:],
        (829, "</", 28, 30, True),
        (29879, "s", 30, 31, True),
        (29958, ">", 31, 32, True),
    ]
    whole: list[Token] = [(1, "<s>", 0, 0, False), (1, "<s>", 0, 3, False), *_PROMPT]
    return make_record(
        make_side(ANSWER, split, model="lab/chat-split", spans=_SPANS, labels_way="completion-collator"),
        make_side(
            ANSWER,
            [*whole, (2, "</s>", 28, 32, False)],
            model="lab/chat-masked",
            spans=_SPANS,
            labels_way="completion-collator",
            notes=("the response template was not found",),
        ),
        make_side(
            ANSWER,
            [*whole, (2, "</s>", 28, 32, True)],
            model="lab/chat-whole",
            spans=_SPANS,
            labels_way="completion-collator",
        ),
    )


def one_side() -> InspectedRecord:
    """Return the first of the three sides alone."""
    inspected = three_sides()
    return InspectedRecord(record=inspected.record, sides=inspected.sides[:1])


HOSTILE = (
    "<script>alert(1)</script>\x1b[31m\x00\x9b\u202eevil\u2066 \ud800 </textarea><!-- ]]> \"'&amp; e\u0301\u3000\t\r\n"
    "👩\u200d👧👍\U0001f3fd🇯🇵 \ue000\u00a0\u2028"
)


def hostile(num_sides: int = 1) -> InspectedRecord:
    """Return a record that tries everything in every string that data or a tokenizer can bring."""
    sides = []
    for number in range(num_sides):
        step = number + 1
        cuts = [(start, min(start + step, len(HOSTILE))) for start in range(0, len(HOSTILE), step)]
        tokens = [(100 + start, HOSTILE[start:end], start, end, start % 3 == 0) for start, end in cuts]
        spans = (Span(start=0, end=30, role=HOSTILE, message_index=0, supervised=False),)
        sides.append(
            make_side(HOSTILE, tokens, model=HOSTILE, labels_way=HOSTILE, spans=spans, dropped=HOSTILE, notes=[HOSTILE])
        )
    return make_record(*sides, where=HOSTILE)


def plain(painted: str) -> str:
    """Return a painted text without its colours."""
    return SGR.sub("", painted)


def check_golden(name: str, text: str) -> None:
    """Compare a text with a file of `golden/`; FINETOOTH_GOLDEN=write writes the file instead, to be looked at."""
    path = GOLDEN / name
    text = text if text.endswith("\n") else text + "\n"
    if os.environ.get("FINETOOTH_GOLDEN") == "write":
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text
