"""From records to columns of ids and labels, as fast as the tokenizer goes.

The labels are those of `encode_records`, id by id; only the way to them is shorter. For finetooth's own labels the
texts are encoded without character ranges, in a thread of their own while the next ones are rendered, and the edges of
the supervised span are found by walking back from the end over the bytes of the pieces. A row where those bytes are
not the text's (a normalizer changed it, a token stands for no text) is encoded again with its ranges.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from struct import pack
from typing import Any

from finetooth.encoding import encode_rendered
from finetooth.labels import encode_records
from finetooth.labels.setup import Setup
from finetooth.tokenizer import Tokenizer
from finetooth.types import IGNORE_INDEX, Record, Rendered, Span

_BATCH = 512
_SIZE = array("i").itemsize
_IGNORED = array("i", [IGNORE_INDEX]).tobytes()


@dataclass(slots=True)
class Columns:
    """Ids and labels of some records, flat, as 32-bit integers; row k lies in `[ends[k-1], ends[k])`."""

    input_ids: array[int] = field(default_factory=lambda: array("i"))
    labels: array[int] = field(default_factory=lambda: array("i"))
    ends: array[int] = field(default_factory=lambda: array("i"))

    def append(self, input_ids: Sequence[int], labels: Sequence[int]) -> None:
        """Add a row."""
        self.input_ids.extend(input_ids)
        self.labels.extend(labels)
        self.ends.append(len(self.input_ids))

    def append_supervised(self, input_ids: Sequence[int], first_token: int, end_token: int) -> None:
        """Add a row of which `[first_token, end_token)` is supervised."""
        # struct packs a list four times as fast as array.extend takes it; the rest is copying bytes.
        packed = pack(f"{len(input_ids)}i", *input_ids)
        self.input_ids.frombytes(packed)
        self.labels.frombytes(_IGNORED * first_token)
        self.labels.frombytes(packed[_SIZE * first_token : _SIZE * end_token])
        self.labels.frombytes(_IGNORED * (len(input_ids) - end_token))
        self.ends.append(len(self.input_ids))


def encode_columns(setup: Setup, records: Iterable[Record]) -> Iterator[Columns]:
    """Encode records in batches; rows that a trainer drops are left out."""
    if setup.labels.way != "finetooth" or setup.max_length() is not None:
        yield from _by_records(setup, records)
        return
    source = iter(records)
    with ThreadPoolExecutor(1, thread_name_prefix="finetooth-encode") as pool:
        waiting: tuple[list[Rendered], Future[Any]] | None = None
        while batch := list(islice(source, _BATCH)):
            rendered = [setup.render(record, roles=False) for record in batch]
            running = pool.submit(_encode, setup.tokenizer, rendered)
            if waiting is not None:
                yield _columns(setup.tokenizer, waiting[0], waiting[1].result())
            waiting = (rendered, running)
        if waiting is not None:
            yield _columns(setup.tokenizer, waiting[0], waiting[1].result())


def _by_records(setup: Setup, records: Iterable[Record]) -> Iterator[Columns]:
    columns = Columns()
    for encoded in encode_records(setup, records, roles=False):
        if encoded.dropped is None:
            columns.append(encoded.input_ids, encoded.labels)
        if len(columns.ends) == _BATCH:
            yield columns
            columns = Columns()
    if columns.ends:
        yield columns


def _encode(tokenizer: Tokenizer, rendered: Sequence[Rendered]) -> list[Any]:
    plain = [one.text for one in rendered if not one.add_special_tokens]
    if len(plain) == len(rendered):
        return tokenizer.encode_ids(plain, add_special_tokens=False)
    # Rows that want special tokens, or an end-of-sequence id, take the longer way in `_columns`.
    encodings = iter(tokenizer.encode_ids(plain, add_special_tokens=False))
    return [None if one.add_special_tokens else next(encodings) for one in rendered]


def _columns(tokenizer: Tokenizer, rendered: Sequence[Rendered], encodings: Sequence[Any]) -> Columns:
    columns = Columns()
    for one, encoding in zip(rendered, encodings, strict=True):
        supervised = [span for span in one.spans if span.supervised]
        if encoding is not None and len(supervised) == 1 and not one.append_eos:
            input_ids: list[int] = encoding.ids
            edges = supervised_tokens(tokenizer, input_ids, one.text, supervised[0])
            if edges is not None:
                columns.append_supervised(input_ids, *edges)
                continue
        ((ids, labels, _),) = encode_rendered(tokenizer, [one])
        columns.append(ids, labels)
    return columns


def supervised_tokens(tokenizer: Tokenizer, input_ids: Sequence[int], text: str, span: Span) -> tuple[int, int] | None:
    """Find the tokens that overlap a span, from the bytes of the pieces after its start.

    Returns:
        The first token and one past the last, or `None` where the bytes of the pieces are not those of the text, so
        that only the tokenizer itself can tell.
    """
    if span.end <= span.start:
        return 0, 0
    piece_of = tokenizer.piece_table
    tail = text[span.start :].encode("utf-8", "surrogatepass")
    after = len(text[span.end :].encode("utf-8", "surrogatepass")) if span.end < len(text) else 0
    pieces: list[bytes] = []
    length = 0
    index = len(input_ids)
    end_token = index
    while length < len(tail):
        index -= 1
        if index < 0:
            return None
        piece = piece_of[input_ids[index]]
        if not piece:
            return None
        length += len(piece)
        if length <= after:
            end_token = index
        pieces.append(piece)
    first_token = index
    if index > 0:
        # A space mark that the tokenizer put in belongs to the word after it, though no character stands for it: the
        # piece before must be found in the text as well.
        before = piece_of[input_ids[index - 1]]
        if not before:
            return None
        pieces.append(before)
        length += len(before)
    pieces.reverse()
    joined = b"".join(pieces)
    context = text[max(0, span.start - length) : span.start].encode("utf-8", "surrogatepass") + tail
    return (first_token, end_token) if context.endswith(joined) else None
