"""Rows of JSON text: one a line, the elements of one array, or values one after another.

The array is read element by element, so a file of a gigabyte needs no more memory than its longest row.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from finetooth.errors import DataError
from finetooth.messages import say
from finetooth.records import bytestream
from finetooth.records.wording import describe, excerpt

Broken = Callable[[DataError], None]
"""What is told of a row that cannot be read: it raises, or it counts and returns."""
RowAt = tuple[dict[str, Any], str]
"""A row and its place."""

ROW_COLUMNS = frozenset(
    {"messages", "conversations", "prompt", "completion", "history", "tools", "input_ids", "labels"}
)
"""Columns whose value is a list: a file that holds `{"messages": [{…}]}` is a row, and no list of rows."""

_SPACE = " \t\r\n"
_WRAPPED = re.compile(r'[ \t\r\n]*\{[ \t\r\n]*"([^"\\]*)"[ \t\r\n]*:[ \t\r\n]*\[[ \t\r\n]*[{\]]')
_ARRAY_OF_OBJECTS = re.compile(r"[ \t\r\n]*\[[ \t\r\n]*(?:[{\]]|\Z)")
_SNIFFED_BYTES = 4096
_NUMBER_CHARS = 32
"""A number that ends nearer to the end of the buffer than this may go on in the next chunk."""
_REASONS = (
    # What json says (Lib/json/decoder.py, 3.11 to 3.14), and our sentence for it.
    ("Expecting property name", "json_name"),
    ("Illegal trailing comma", "json_trailing_comma"),
    ("Expecting ':'", "json_colon"),
    ("Expecting ','", "json_comma"),
    ("Expecting value", "json_value"),
    ("Unterminated string", "json_string"),
    ("Invalid control character", "json_control"),
    ("Invalid \\", "json_escape"),
    ("Extra data", "json_extra"),
)


def json_rows(chunks: Iterator[bytes], where: str, broken: Broken, *, is_lines: bool) -> Iterator[RowAt]:
    """Yield the rows of JSON text, its arrangement told by how it begins.

    Args:
        chunks: UTF-8 text.
        where: The file.
        broken: What is told of a broken row.
        is_lines: Whether the name promises one row a line; then only an array is taken for anything else.
    """
    head, chunks = bytestream.with_head(chunks, _SNIFFED_BYTES, lambda chunk: not chunk.isspace())
    text = _start(head)
    if _ARRAY_OF_OBJECTS.match(text) if is_lines else text.startswith("["):
        yield from _array_rows(JsonCursor(bytestream.text_chunks(chunks, where), where), broken)
        return
    if not is_lines and text.startswith("{"):
        wrapped = _WRAPPED.match(text)
        if wrapped is not None and wrapped[1] not in ROW_COLUMNS:
            yield from _wrapped_rows(JsonCursor(bytestream.text_chunks(chunks, where), where), broken)
            return
        head, chunks = bytestream.with_head(chunks, 0, lambda chunk: b"\n" in chunk)
        if _is_begun(head):
            yield from _value_rows(JsonCursor(bytestream.text_chunks(chunks, where), where), broken)
            return
    yield from _line_rows(chunks, where, broken)


def _start(head: bytes) -> str:
    """Return the first characters, without byte-order mark and leading space."""
    return head.lstrip(b"\xef\xbb\xbf \t\r\n")[:_SNIFFED_BYTES].decode("utf-8", "replace")


def _is_begun(head: bytes) -> bool:
    """Return whether the first line is JSON so far and not at its end, as where an object is printed over lines."""
    line = head.lstrip(b"\xef\xbb\xbf \t\r\n").partition(b"\n")[0].decode("utf-8", "replace").rstrip()
    try:
        json.loads(line)
    except json.JSONDecodeError as caught:
        return caught.pos >= len(line)
    except (ValueError, RecursionError):
        return False
    return False


def _line_rows(chunks: Iterator[bytes], where: str, broken: Broken) -> Iterator[RowAt]:
    for number, text, error in bytestream.lines(chunks, where):
        if not text or text.isspace():
            continue
        place = f"{where}:{number}"
        row: Any = None
        if error is None:
            # The error is made here and raised outside `except`: as its context, json's error would keep the line.
            try:
                row = json.loads(text)
            except (ValueError, RecursionError) as caught:
                error = json_error(caught, text, place, file=where)
        if error is None and type(row) is not dict:
            error = _not_an_object(row, place)
        if error is not None:
            broken(error)
            continue
        yield row, place


class JsonCursor:
    """A position in JSON text that comes in chunks."""

    def __init__(self, chunks: Iterator[str], where: str) -> None:
        self._chunks = chunks
        self.where = where
        self._buffer = ""
        self._position = 0
        self._is_ended = False
        self._lines_before = 0
        self._columns_before = 0
        self._decode = json.JSONDecoder().raw_decode
        self._fill(1)
        if self._buffer.startswith("\ufeff"):
            self._position = 1

    @property
    def line(self) -> int:
        """The number of the line that the position is on, from 1."""
        return self._line_and_column(self._position)[0]

    def peek(self) -> str:
        """Go to the next character that is no space and return it, or `""` at the end."""
        while True:
            buffer, position = self._buffer, self._position
            while position < len(buffer) and buffer[position] in _SPACE:
                position += 1
            self._position = position
            if position < len(buffer):
                return buffer[position]
            if self._is_ended:
                return ""
            self._fill(1)

    def take(self, character: str, key: str) -> None:
        """Go past a character that has to come next.

        Raises:
            DataError: Another comes, or none; `key` says what was due.
        """
        found = self.peek()
        if found != character:
            raise self.error(key)
        self._position += 1

    def value(self) -> Any:
        """Return the value that begins at the position, and go past it.

        Raises:
            DataError: It is no JSON.
        """
        wanted_chars = bytestream.CHUNK_BYTES
        while True:
            error = None
            try:
                value, end = self._decode(self._buffer, self._position)
                is_short = type(value) in (int, float) and len(self._buffer) - end < _NUMBER_CHARS
            except json.JSONDecodeError as caught:
                # What is cut by the end of the buffer fails near it, a string apart, which fails where it begins.
                is_string = caught.msg.startswith("Unterminated string")
                is_short = is_string or len(self._buffer) - caught.pos < _NUMBER_CHARS
                error = self._json_error(caught)
            except (ValueError, RecursionError) as caught:
                is_short = False
                error = self._json_error(caught)
            if is_short and not self._is_ended:
                # Twice as much each time: a long value is parsed a few times, not once a chunk.
                self._fill(wanted_chars)
                wanted_chars *= 2
                continue
            if error is not None:
                raise error
            self._position = end
            return value

    def error(self, key: str, **values: Any) -> DataError:
        """Return an error at the position; `key` says what is wrong, where it is not the end."""
        is_end = self.peek() == ""
        return self._error(say("records.json_end" if is_end else f"records.{key}", **values), self._position, is_end)

    def _json_error(self, caught: Exception) -> DataError:
        position = caught.pos if isinstance(caught, json.JSONDecodeError) else self._position
        is_end = self._is_ended and position >= len(self._buffer.rstrip())
        return self._error(_reason(caught, is_end=is_end), position, is_end)

    def _error(self, reason: str, position: int, is_end: bool) -> DataError:
        line, column = self._line_and_column(position)
        # Where the next row begins cannot be known: such an error cannot be skipped.
        remedy = say("records.fetch_again") if is_end else say("records.correct_line", line=line)
        return _invalid_json(reason, column, self._excerpt(position), f"{self.where}:{line}", remedy)

    def _excerpt(self, position: int) -> str:
        start = max(0, position - 200)
        return excerpt(self._buffer[start : position + 200], at=position - start)

    def _line_and_column(self, position: int) -> tuple[int, int]:
        newlines = self._buffer.count("\n", 0, position)
        if newlines == 0:
            return self._lines_before + 1, self._columns_before + position + 1
        return self._lines_before + newlines + 1, position - self._buffer.rindex("\n", 0, position)

    def _fill(self, wanted_chars: int) -> None:
        """Drop what the position has passed, and read on."""
        line, column = self._line_and_column(self._position)
        self._lines_before, self._columns_before = line - 1, column - 1
        parts = [self._buffer[self._position :]]
        self._position = 0
        while wanted_chars > 0:
            chunk = next(self._chunks, None)
            if chunk is None:
                self._is_ended = True
                break
            parts.append(chunk)
            wanted_chars -= len(chunk)
        self._buffer = "".join(parts)


def _array_rows(cursor: JsonCursor, broken: Broken, *, is_whole: bool = True) -> Iterator[RowAt]:
    where = cursor.where
    cursor.take("[", "json_value")
    index = 0
    if cursor.peek() == "]":
        cursor.take("]", "json_comma")
    else:
        while True:
            row = cursor.value()
            place = f"{where}[{index}]"
            index += 1
            if type(row) is dict:
                yield row, place
            else:
                broken(_not_an_object(row, place))
            if cursor.peek() == "]":
                cursor.take("]", "json_comma")
                break
            cursor.take(",", "json_comma")
            if cursor.peek() == "]":
                raise cursor.error("json_trailing_comma")
    if is_whole and cursor.peek():
        raise cursor.error("json_extra")


def _wrapped_rows(cursor: JsonCursor, broken: Broken) -> Iterator[RowAt]:
    """Yield the rows of `{"data": [{…}, …]}`, which reads as an array."""
    cursor.take("{", "json_value")
    name = cursor.peek() and cursor.value()
    cursor.take(":", "json_colon")
    yield from _array_rows(cursor, broken, is_whole=False)
    if cursor.peek() == ",":
        raise cursor.error("json_further_keys", name=excerpt(str(name), width=40))
    cursor.take("}", "json_comma")
    if cursor.peek():
        raise cursor.error("json_extra")


def _value_rows(cursor: JsonCursor, broken: Broken) -> Iterator[RowAt]:
    """Yield objects that follow each other, each over as many lines as it likes."""
    while cursor.peek():
        place = f"{cursor.where}:{cursor.line}"
        row = cursor.value()
        if type(row) is dict:
            yield row, place
        else:
            broken(_not_an_object(row, place))


def json_error(caught: Exception, text: str, where: str, *, file: str | None = None) -> DataError:
    """Return our error for one of the json module's, about a text of one line, of a file or of a value."""
    position = caught.pos if isinstance(caught, json.JSONDecodeError) else 0
    nul = text.find("\0")
    if nul >= 0:
        return nul_error(nul, where, file)
    reason = _reason(caught, is_end=position >= len(text.rstrip()))
    remedy = say("records.python_repr_help" if text.startswith("{'") else "records.correct_or_skip")
    return _invalid_json(reason, position + 1, excerpt(text, at=position), where, remedy)


def nul_error(index: int, where: str, file: str | None) -> DataError:
    """Return the error for a NUL at an index of a line of a file."""
    remedy = say("records.correct_or_skip") if file is None else f"tr -d '\\000' < {file} > {file}.clean"
    return DataError(say("records.nul", column=index + 1), where=where, help=remedy)


def _reason(caught: Exception, *, is_end: bool) -> str:
    if isinstance(caught, RecursionError):
        return say("records.json_deep")
    message = caught.msg if isinstance(caught, json.JSONDecodeError) else str(caught)
    for start, key in _REASONS:
        if message.startswith(start):
            return say("records.json_end" if is_end and key != "json_string" else f"records.{key}")
    return message


def _invalid_json(reason: str, column: int, shown: str, where: str, remedy: str) -> DataError:
    what = say("records.invalid_json", column=column, reason=reason)
    return DataError(f"{what}: `{shown}`" if shown else what, where=where, help=remedy)


def _not_an_object(row: Any, where: str) -> DataError:
    return DataError(
        say("records.not_an_object", found=describe(row)), where=where, help=say("records.correct_or_skip")
    )
