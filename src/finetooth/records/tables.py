"""Rows of tables: CSV, TSV and parquet."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Any

from finetooth.errors import DataError
from finetooth.messages import say
from finetooth.records import bytestream
from finetooth.records.jsonstream import Broken, RowAt, nul_error
from finetooth.records.wording import listed

CSV_FIELD_CHARS = 1 << 27
"""The longest field of CSV. The csv module's own limit, 131,072, is less than a long conversation; none at all
would let an unclosed quote take the rest of the file into memory."""
PARQUET_BATCH_ROWS = 128
"""Rows turned into Python objects at a time; a row of ids is thousands of them."""
_PARQUET_MAGIC = b"PAR1"  # https://parquet.apache.org/docs/file-format/


def csv_rows(chunks: Iterator[bytes], where: str, broken: Broken, *, delimiter: str) -> Iterator[RowAt]:
    """Yield the rows of CSV as RFC 4180 has it, every value a string; `where` is the line at which the row starts.

    Args:
        chunks: UTF-8 text.
        where: The file.
        broken: What is told of a broken row.
        delimiter: The character between two fields.
    """
    # The limit is the process's, and may have been raised by someone else.
    csv.field_size_limit(max(csv.field_size_limit(), CSV_FIELD_CHARS))
    damaged: list[DataError] = []
    reader = csv.reader(_text(chunks, where, damaged), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    while True:
        place = f"{where}:{reader.line_num + 1}"
        damaged.clear()
        error = None
        fields: list[str] = []
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as caught:
            error = DataError(
                say("records.invalid_csv", reason=str(caught)), where=place, help=say("records.csv_quote_help")
            )
        if damaged:
            error = damaged[0]
        if header is None:
            if error is not None:
                raise error
            if fields:
                header = _header(fields, place)
            continue
        if error is None and not fields:
            continue
        if error is None and len(fields) != len(header):
            error = DataError(
                say("records.csv_width", found=len(fields), due=len(header)),
                where=place,
                help=say("records.csv_quote_help"),
            )
        if error is not None:
            broken(error)
            continue
        yield dict(zip(header, fields, strict=True)), place


def _text(chunks: Iterator[bytes], where: str, damaged: list[DataError]) -> Iterator[str]:
    for number, text, error in bytestream.lines(chunks, where):
        if error is not None:
            damaged.append(error)
        elif "\0" in text:
            damaged.append(nul_error(text.index("\0"), f"{where}:{number}", where))
        yield text + "\n"


def _header(fields: list[str], place: str) -> list[str]:
    repeated = sorted({name for name in fields if fields.count(name) > 1})
    if repeated:
        raise DataError(
            say("records.csv_repeated", columns=listed(repeated)), where=place, help=say("records.csv_repeated_help")
        )
    return fields


def parquet_rows(path: str) -> Iterator[RowAt]:
    """Yield the rows of a parquet file, batch by batch; `where` counts rows from 0."""
    with open(path, "rb") as stream:
        head = stream.read(4)
    if not head:
        return
    if head != _PARQUET_MAGIC:
        raise DataError(
            say("records.not_parquet", reason=say("records.no_parquet_magic", head=head.hex(" "))),
            where=path,
            help=say("records.fetch_again"),
        )
    parquet = bytestream.need("pyarrow.parquet", say("records.purpose_parquet"))
    index = 0
    try:
        # Without pre_buffer a row group is read piece by piece; with it, whole.
        with parquet.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file:
            for batch in file.iter_batches(batch_size=PARQUET_BATCH_ROWS):
                rows: list[dict[str, Any]] = batch.to_pylist()
                for row in rows:
                    yield row, f"{path}[{index}]"
                    index += 1
    except (OSError, ValueError, NotImplementedError) as caught:  # pyarrow's errors derive from these
        raise DataError(
            say("records.not_parquet", reason=str(caught).partition("\n")[0]),
            where=f"{path}[{index}]" if index else path,
            help=say("records.fetch_again"),
        ) from caught
