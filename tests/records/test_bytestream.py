from __future__ import annotations

import gzip
import io
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from finetooth.errors import ConfigError, DataError, MissingExtraError
from finetooth.records import bytestream
from tests.records.files import LINES, failure, places, read, texts, write

TEXTS = ["a", "お嬢様", "c"]


def one_by_one(content: bytes) -> Iterator[bytes]:
    """A pipe at its slowest."""
    return (content[i : i + 1] for i in range(len(content)))


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress, bytes])
def test_chunks_of_one_byte_read_as_the_whole(compress: type[bytes]) -> None:
    content = LINES.encode()
    assert b"".join(bytestream.decompressed(one_by_one(compress(content)), "x")) == content


@pytest.mark.parametrize("name", ["data.jsonl", "data.jsonl.gz", "data"])
def test_compression_is_told_by_content(tmp_path: Path, name: str) -> None:
    records = read(write(tmp_path / name, gzip.compress(LINES.encode())))
    assert texts(records) == TEXTS
    assert places(records, tmp_path) == [f"{name}:1", f"{name}:2", f"{name}:3"]


def test_several_gzip_members_and_padding_are_one_stream(tmp_path: Path) -> None:
    first, rest = LINES.encode()[:20], LINES.encode()[20:]
    path = write(tmp_path / "data.jsonl.gz", gzip.compress(first) + gzip.compress(rest) + b"\0" * 512)
    assert texts(read(path)) == TEXTS


def test_several_zst_frames_are_one_stream(tmp_path: Path) -> None:
    first, rest = LINES.encode()[:20], LINES.encode()[20:]
    path = write(tmp_path / "data.jsonl.zst", zstandard.compress(first) + zstandard.compress(rest))
    assert texts(read(path)) == TEXTS


def test_gzip_gives_its_output_in_bounded_pieces() -> None:
    bomb = gzip.compress(bytes(64 << 20))
    sizes = [len(piece) for piece in bytestream.decompressed(iter([bomb]), "x")]
    assert sum(sizes) == 64 << 20
    assert max(sizes) <= 1 << 20


def test_zst_gives_its_output_in_bounded_pieces() -> None:
    bomb = zstandard.compress(bytes(512 << 20))
    assert len(bomb) > 3 * 4096
    sizes = [len(piece) for piece in bytestream.decompressed(iter([bomb]), "x")]
    assert sum(sizes) == 512 << 20
    assert max(sizes) <= 128 << 20


@pytest.mark.parametrize(("suffix", "compress"), [("gz", gzip.compress), ("zst", zstandard.compress)])
@pytest.mark.parametrize("lost", [1, 9, 200])
def test_a_cut_stream_is_an_error_after_the_rows_before(
    tmp_path: Path, suffix: str, compress: type[bytes], lost: int
) -> None:
    whole = compress("".join(f'{{"text": "{i * 7919 % 1000}"}}\n' for i in range(3000)).encode())
    path = write(tmp_path / f"data.jsonl.{suffix}", whole[:-lost])
    # skip_broken skips rows: what is missing here cannot be counted.
    error = failure(path, skip_broken=True)
    assert "stream ends early, after" in error.what
    assert error.where == str(path)


@pytest.mark.parametrize(
    ("suffix", "compress"),
    [("gz", gzip.compress), ("zst", zstandard.ZstdCompressor(write_checksum=True).compress)],
)
def test_a_damaged_stream_is_an_error(tmp_path: Path, suffix: str, compress: type[bytes]) -> None:
    whole = bytearray(compress(LINES.encode() * 50))
    whole[len(whole) // 2] ^= 0xFF
    whole[len(whole) // 2 + 1] ^= 0xFF
    error = failure(write(tmp_path / f"data.jsonl.{suffix}", bytes(whole)))
    assert error.help == "fetch or write the file again"


def test_a_name_that_promises_compression(tmp_path: Path) -> None:
    path = write(tmp_path / "data.jsonl.gz", LINES)
    error = failure(path)
    assert error.what == "the name ends in .gz, the content begins with `7b 22 74 65` and is not compressed so"
    assert error.help == f"mv {path} {tmp_path / 'data.jsonl'}"


def test_zst_without_zstandard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "data.jsonl.zst", zstandard.compress(LINES.encode()))
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(MissingExtraError) as caught:
        read(path)
    assert caught.value.what == "reading .zst files needs zstandard, which is not installed"
    assert caught.value.help == 'pip install "finetooth[data]"'


@pytest.mark.parametrize("name", ["data.jsonl", "data.json", "data.csv"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-8"])
def test_a_byte_order_mark_is_no_text(tmp_path: Path, name: str, encoding: str) -> None:
    content = {"data.jsonl": LINES, "data.json": '[{"text": "a"}]', "data.csv": "text,n\na,1\n"}[name]
    path = write(tmp_path / name, content.encode("utf-8-sig"))
    assert read(path, encoding=encoding)[0].text == "a"


@pytest.mark.parametrize(
    ("encoding", "remedy", "offset"),
    [("utf-16", "utf-16", 0), ("utf-32", "utf-32", 0), ("utf-16-le", "utf-16-le", 1), ("utf-16-be", "utf-16-be", 0)],
)
@pytest.mark.parametrize("name", ["data.jsonl", "data.json", "data.csv"])
def test_utf16_and_utf32_are_named_and_the_remedy_works(
    tmp_path: Path, name: str, encoding: str, remedy: str, offset: int
) -> None:
    content = {"data.jsonl": LINES, "data.json": '[{"text": "a"}]', "data.csv": "text,n\na,1\n"}[name]
    path = write(tmp_path / name, content.encode(encoding))
    error = failure(path)
    assert f"at byte {offset}, where UTF-8 was expected" in error.what
    assert error.where == str(path)
    assert error.help == f"--set data.encoding={remedy}"
    assert read(path, encoding=remedy)[0].text == "a"


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("latin-1", "un café très serré"),
        ("cp1252", "“un café très serré”"),
        ("cp932", "わたくしはお嬢様ですわ。そう、１番の！"),
        ("euc-jp", "わたくしはお嬢様ですわ。そう、１番の！"),
    ],
)
@pytest.mark.parametrize("name", ["data.jsonl", "data.json", "data.csv"])
def test_other_encodings_are_named_and_the_remedy_works(tmp_path: Path, name: str, encoding: str, text: str) -> None:
    content = {
        "data.jsonl": f'{{"text": "a"}}\n{{"text": "{text}"}}\n',
        "data.json": f'[{{"text": "a"}}, {{"text": "{text}"}}]',
        "data.csv": f'text,n\na,1\n"{text}",2\n',
    }[name].encode(encoding)
    path = write(tmp_path / name, content)
    offset = next(i for i, byte in enumerate(content) if byte > 0x7F)
    error = failure(path)
    assert error.what == f"the text is not UTF-8 at byte {offset}"
    assert error.help == f"--set data.encoding={encoding}"
    assert error.where == str(path) + {"data.jsonl": ":2", "data.json": "", "data.csv": ":3"}[name]
    assert texts(read(path, encoding=encoding)) == ["a", text]


def test_the_offset_counts_the_byte_order_mark_and_all_chunks(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbf" + b'{"text": "a"}\n' * 20_000 + b'{"text": "\xe9"}\n'
    error = failure(write(tmp_path / "data.jsonl", content))
    assert error.what == f"the text is not UTF-8 at byte {content.index(0xE9)}"
    assert error.where is not None and error.where.endswith(":20001")
    content = b"[" + b'{"text": "a"},' * 20_000 + b'{"text": "\xe9"}]'
    error = failure(write(tmp_path / "data.json", content))
    assert error.what == f"the text is not UTF-8 at byte {content.index(0xE9)}"


def test_another_encoding_that_does_not_fit(tmp_path: Path) -> None:
    path = write(tmp_path / "data.jsonl", b'{"text": "a"}\n' * 10_000 + b'{"text": "\xff\xff"}\n')
    error = failure(path, encoding="euc-jp")
    assert error.what == f"the text is not euc_jp at byte {path.read_bytes().index(0xFF)}"
    error = failure(write(tmp_path / "plain.jsonl", LINES), encoding="utf-16")
    assert error.what == "the text is not utf-16 at byte 0"
    assert error.help == "--set data.encoding=utf-8"


@pytest.mark.parametrize("name", ["data.jsonl", "data.json"])
def test_a_text_that_ends_inside_a_character(tmp_path: Path, name: str) -> None:
    content = '[{"text": "お'.encode()[:-1]
    error = failure(write(tmp_path / name, content))
    assert error.what == f"the text ends inside a character that begins at byte {content.index(0xE3)}"
    assert error.help == "fetch or write the file again"


@pytest.mark.parametrize("encoding", ["utf-9", "zip"])
def test_an_encoding_that_is_none(tmp_path: Path, encoding: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(write(tmp_path / "data.jsonl", LINES), encoding=encoding)
    assert str(caught.value) == (f"unknown encoding `{encoding}`\n --> data.encoding\nhelp: --set data.encoding=utf-8")


def test_lines_end_at_newlines_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "data.jsonl", '{"text": "a\u2028b\x85c"}\r\n\n  \n{"text": "d"}')
    records = read(path)
    assert texts(records) == ["a\u2028b\x85c", "d"]
    assert places(records, tmp_path) == ["data.jsonl:1", "data.jsonl:4"]


def test_a_line_across_many_chunks_is_put_together() -> None:
    content = b"x" * 300 + b"\n" + "お".encode() * 100
    pieces = [content[i : i + 7] for i in range(0, len(content), 7)]
    assert [line[:2] for line in bytestream.lines(iter(pieces), "f")] == [(1, "x" * 300), (2, "お" * 100)]


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "data.jsonl", LINES)

    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(DataError) as caught:
        list(bytestream.file_chunks(str(path)))
    assert caught.value.what == "the file may not be read"
    assert caught.value.help == f"chmod u+r {path}"


def test_a_file_whose_reading_fails(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        list(bytestream.file_chunks(str(tmp_path)))
    assert caught.value.what == "the file cannot be read: Is a directory"


def test_standard_input_that_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(DataError, match="standard input is closed"):
        read("-")


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress, bytes])
@pytest.mark.parametrize(
    ("content", "where"),
    [(LINES, ["<stdin>:1", "<stdin>:2", "<stdin>:3"]), (f"\n [{','.join(LINES.split(chr(10)))[:-1]}]", ["<stdin>[0]"])],
)
def test_standard_input(monkeypatch: pytest.MonkeyPatch, compress: type[bytes], content: str, where: list[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(compress(content.encode()))))
    records = read("-")
    assert texts(records) == TEXTS
    assert [record.where for record in records][: len(where)] == where
