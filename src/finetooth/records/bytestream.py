"""The bytes of a file or of standard input: decompressed, turned into UTF-8 and cut into lines.

Everything is a generator of chunks, so that memory holds one chunk, or one line where that is longer.
"""

from __future__ import annotations

import codecs
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from itertools import chain
from typing import Any

from finetooth.errors import ConfigError, DataError, MissingExtraError
from finetooth.messages import say

CHUNK_BYTES = 1 << 16
_INFLATED_BYTES = 1 << 20
"""The most that one step of gzip gives, whatever the ratio."""
_ZST_INPUT_BYTES = 1 << 12
"""What one step of zstandard is fed: its output has no limit of its own, and four bytes can stand for 128 KiB."""

_GZIP_MAGIC = b"\x1f\x8b"  # RFC 1952, section 2.3.1
_ZST_MAGIC = b"\x28\xb5\x2f\xfd"  # RFC 8878, section 3.1.1
_UTF16_BOMS = {
    # UTF-32 first: its little-endian mark begins with that of UTF-16.
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}

Line = tuple[int, str, DataError | None]
"""A line's number from 1, its text without the newline, and why it could not be decoded, or `None`."""


def need(module: str, purpose: str) -> Any:
    """Import a module of the extra `data`.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        return import_module(module)
    except ImportError as caught:
        raise MissingExtraError(
            say("records.missing_extra", purpose=purpose, module=module.partition(".")[0]),
            help='pip install "finetooth[data]"',
        ) from caught


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Turn the operating system's refusals into errors about a file."""
    try:
        yield
    except PermissionError:
        raise DataError(say("records.unreadable"), where=path, help=f"chmod u+r {path}") from None
    except OSError as caught:
        raise DataError(
            say("records.os_error", reason=caught.strerror or str(caught)), where=path, help=f"ls -l {path}"
        ) from caught


def file_chunks(path: str) -> Iterator[bytes]:
    """Yield the bytes of a file."""
    with reading(path), open(path, "rb", buffering=0) as stream:
        while chunk := stream.read(CHUNK_BYTES):
            yield chunk


def stdin_chunks() -> Iterator[bytes]:
    """Yield the bytes of standard input as they come."""
    if sys.stdin is None:  # so under pythonw, and where a parent closed it
        raise DataError(say("records.no_stdin"), where="<stdin>", help=say("records.no_stdin_help"))
    stream: Any = sys.stdin.buffer  # a BufferedReader, or what a test or a notebook put in its place
    while chunk := stream.read1(CHUNK_BYTES):
        yield chunk


def with_head(
    chunks: Iterator[bytes], size_bytes: int, enough: Callable[[bytes], bool] | None = None
) -> tuple[bytes, Iterator[bytes]]:
    """Return the first bytes, and the whole stream, those included.

    Args:
        chunks: The stream.
        size_bytes: How many are read at least, where there are as many: a pipe may give them one by one.
        enough: Whether a chunk ends the reading. It sees each chunk alone: testing all that was read would make
            a long first line quadratic.
    """
    parts: list[bytes] = []
    is_enough = enough is None
    for chunk in chunks:
        parts.append(chunk)
        size_bytes -= len(chunk)
        is_enough = is_enough or (enough is not None and enough(chunk))
        if size_bytes <= 0 and is_enough:
            break
    head = b"".join(parts)
    return head, chain([head] if head else [], chunks)


def decompressed(chunks: Iterator[bytes], where: str) -> Iterator[bytes]:
    """Return the bytes behind gzip or zstandard, told by their first bytes, or the bytes themselves."""
    head, chunks = with_head(chunks, 4)
    if head.startswith(_GZIP_MAGIC):
        return _gunzipped(chunks, where)
    if head.startswith(_ZST_MAGIC):
        return _unzstd(chunks, where)
    suffix = where.lower().rpartition(".")[2]
    if head and suffix in ("gz", "zst"):
        raise DataError(
            say("records.not_compressed", suffix=suffix, head=head[:4].hex(" ")),
            where=where,
            help=f"mv {where} {where[: -len(suffix) - 1]}",
        )
    return chunks


def _gunzipped(chunks: Iterator[bytes], where: str) -> Iterator[bytes]:
    decoder = zlib.decompressobj(wbits=31)
    size_bytes = 0
    for chunk in chunks:
        more = True
        while more:
            if decoder.eof:
                chunk = chunk.lstrip(b"\0")  # members may be padded with zeros
                if not chunk:
                    break
                decoder = zlib.decompressobj(wbits=31)  # gzip files may be concatenated
            try:
                piece = decoder.decompress(chunk, _INFLATED_BYTES)
            except zlib.error as caught:
                raise _damaged("gzip", str(caught), where) from caught
            if piece:
                size_bytes += len(piece)
                yield piece
            chunk = decoder.unused_data if decoder.eof else decoder.unconsumed_tail
            # Output can be pending after the last byte of input was taken.
            more = bool(chunk) or len(piece) == _INFLATED_BYTES
    if not decoder.eof:
        raise _cut("gzip", size_bytes, where)


def _unzstd(chunks: Iterator[bytes], where: str) -> Iterator[bytes]:
    zstandard = need("zstandard", say("records.purpose_zst"))
    # Windows up to 2 GiB, which `zstd --long=31` writes; the default refuses those above 128 MiB.
    decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 31)
    # Not stream_reader: on a cut file it ends like on a whole one.
    decoder = decompressor.decompressobj()
    size_bytes = 0
    for chunk in chunks:
        for start in range(0, len(chunk), _ZST_INPUT_BYTES):
            block = chunk[start : start + _ZST_INPUT_BYTES]
            while block:
                if decoder.eof:
                    decoder = decompressor.decompressobj()  # frames may be concatenated
                try:
                    piece = decoder.decompress(block)
                except zstandard.ZstdError as caught:
                    raise _damaged("zstandard", str(caught), where) from caught
                if piece:
                    size_bytes += len(piece)
                    yield piece
                block = decoder.unused_data if decoder.eof else b""
    if not decoder.eof:
        raise _cut("zstandard", size_bytes, where)


def _damaged(kind: str, reason: str, where: str) -> DataError:
    return DataError(
        say("records.damaged_stream", kind=kind, reason=reason), where=where, help=say("records.fetch_again")
    )


def _cut(kind: str, size_bytes: int, where: str) -> DataError:
    return DataError(
        say("records.cut_stream", kind=kind, size_bytes=size_bytes), where=where, help=say("records.fetch_again")
    )


def utf8(chunks: Iterator[bytes], where: str, encoding: str) -> Iterator[bytes]:
    """Return the same text as UTF-8; where it should be UTF-8 already, tell UTF-16 and UTF-32 by their first bytes.

    A byte-order mark of UTF-8 stays, so that offsets are those of the file: `lines` and `JsonCursor` drop it.

    Raises:
        ConfigError: `encoding` names no encoding of text.
    """
    try:
        name = codecs.lookup(encoding).name
        with suppress(UnicodeError):
            b"-".decode(encoding)  # which refuses zip, base64 and the like; for no bytes at all it would not look
    except LookupError:
        raise ConfigError(
            say("records.unknown_encoding", encoding=encoding),
            where="data.encoding",
            help="--set data.encoding=utf-8",
        ) from None
    if name not in ("utf-8", "utf-8-sig"):
        return _transcoded(chunks, where, name)
    head, chunks = with_head(chunks, 4)
    for mark, found in _UTF16_BOMS.items():
        if head.startswith(mark):
            raise DataError(
                say("records.other_encoding_mark", encoding=found.upper(), mark=mark.hex(" ")),
                where=where,
                help=f"--set data.encoding={found}",
            )
    # Two characters of ASCII in UTF-16 without a mark.
    unmarked = {"x0x0": "utf-16-le", "0x0x": "utf-16-be"}.get("".join("x" if byte else "0" for byte in head[:4]))
    if unmarked is not None:
        raise DataError(
            say("records.other_encoding_nul", encoding=unmarked.upper(), offset=head.index(0)),
            where=where,
            help=f"--set data.encoding={unmarked}",
        )
    return chunks


def _transcoded(chunks: Iterator[bytes], where: str, encoding: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    offset = 0
    for chunk in chain(chunks, [b""]):
        pending = len(decoder.getstate()[0])
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeError as caught:
            # UTF-16 without a byte-order mark is a UnicodeError that knows no position.
            start = offset - pending + caught.start if isinstance(caught, UnicodeDecodeError) else 0
            guess = "utf-8" if _decodes(chunk, "utf-8") is not None else _guessed_encoding(chunk)
            raise DataError(
                say("records.undecodable", encoding=encoding, offset=start),
                where=where,
                help=f"--set data.encoding={guess}",
            ) from None
        offset += len(chunk)
        if text:
            yield text.encode("utf-8", "surrogatepass")


def lines(chunks: Iterator[bytes], where: str) -> Iterator[Line]:
    """Yield the lines of UTF-8 text, parted by newlines alone: JSON strings may hold U+2028.

    A line that is not UTF-8 comes with its error, its bytes kept as lone surrogates.
    """
    number = 0
    offset = 0
    tail: list[bytes] = []
    for chunk in chain(chunks, [None]):
        if chunk is None:
            pieces = [b"".join(tail)]
            if not pieces[0]:
                return
        else:
            pieces = chunk.split(b"\n")
            tail.append(pieces[0])
            if len(pieces) == 1:
                continue
            pieces[0] = b"".join(tail)
            tail = [pieces.pop()]
        for piece in pieces:
            number += 1
            error = None
            try:
                text = piece.decode("utf-8")
            except UnicodeDecodeError as caught:
                is_cut = chunk is None and caught.reason == "unexpected end of data"
                error = _invalid_utf8(piece[caught.start :], offset + caught.start, f"{where}:{number}", is_cut=is_cut)
                text = piece.decode("utf-8", "surrogateescape")
            if number == 1 and text.startswith("\ufeff"):
                text = text[1:]
            yield number, text, error
            offset += len(piece) + 1


def text_chunks(chunks: Iterator[bytes], where: str) -> Iterator[str]:
    """Yield UTF-8 text as it comes, for readers that do not go by lines."""
    decoder = codecs.getincrementaldecoder("utf-8")("strict")
    offset = 0
    for chunk in chain(chunks, [b""]):
        pending = decoder.getstate()[0]
        error = None
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as caught:
            is_cut = not chunk and caught.reason == "unexpected end of data"
            start = offset - len(pending) + caught.start
            error = _invalid_utf8((pending + chunk)[caught.start :], start, where, is_cut=is_cut)
        if error is not None:
            raise error
        offset += len(chunk)
        if text:
            yield text


def _invalid_utf8(sample: bytes, offset: int, where: str, *, is_cut: bool) -> DataError:
    if is_cut:
        return DataError(say("records.cut_character", offset=offset), where=where, help=say("records.fetch_again"))
    return DataError(
        say("records.undecodable", encoding="UTF-8", offset=offset),
        where=where,
        help=f"--set data.encoding={_guessed_encoding(sample)}",
    )


_JAPANESE = re.compile(r"[\u3000-\u30ff\u3400-\u9fff\uff01-\uff5e]*")
_KANA = re.compile(r"[\u3041-\u30fa]")


def _guessed_encoding(sample: bytes) -> str:
    """Return the encoding that a remedy names for bytes from the first on that is not UTF-8."""
    for encoding in ("cp932", "euc_jp"):
        text = _decodes(sample[:CHUNK_BYTES], encoding)
        if text is not None:
            # Any bytes decode to half-width katakana or rare kanji by accident; running text has full-width kana.
            beyond_ascii = "".join(character for character in text if not character.isascii())
            if _KANA.search(beyond_ascii) and _JAPANESE.fullmatch(beyond_ascii):
                return encoding.replace("_", "-")
    is_c1 = any(0x80 <= byte <= 0x9F for byte in sample[:CHUNK_BYTES])
    return "cp1252" if is_c1 else "latin-1"


def _decodes(sample: bytes, encoding: str) -> str | None:
    """Return the text of a sample, which may end inside a character, or `None` where it is in another encoding."""
    try:
        return codecs.getincrementaldecoder(encoding)("strict").decode(sample)
    except UnicodeError:
        return None
