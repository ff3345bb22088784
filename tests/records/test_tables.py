from __future__ import annotations

import csv
import gzip
import io
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from finetooth.errors import MissingExtraError
from tests.records.files import failure, places, read, write


def csv_text(rows: list[list[str]], **options: str) -> str:
    stream = io.StringIO()
    csv.writer(stream, **options).writerows(rows)  # type: ignore[arg-type]
    return stream.getvalue()


@pytest.mark.parametrize(("name", "delimiter"), [("data.csv", ","), ("data.tsv", "\t"), ("data.CSV", ",")])
@pytest.mark.parametrize("lineterminator", ["\n", "\r\n"])
def test_rows_of_tables(tmp_path: Path, name: str, delimiter: str, lineterminator: str) -> None:
    rows = [["prompt", "completion"], ["a, b\tc", 'say "d"'], ["two\nlines", "e"], ["お", ""]]
    path = write(tmp_path / name, csv_text(rows, delimiter=delimiter, lineterminator=lineterminator))
    records = read(path)
    assert [[record.prompt, record.completion] for record in records] == rows[1:]
    assert places(records, tmp_path) == [f"{name}:2", f"{name}:3", f"{name}:5"]


def test_blank_lines_are_no_rows(tmp_path: Path) -> None:
    records = read(write(tmp_path / "data.csv", "\ntext,n\n\na,1\n\n\nb,2"))
    assert [record.text for record in records] == ["a", "b"]
    assert places(records, tmp_path) == ["data.csv:4", "data.csv:7"]


def test_compressed_csv(tmp_path: Path) -> None:
    assert [record.text for record in read(write(tmp_path / "d.csv.gz", gzip.compress(b"text\na\n")))] == ["a"]


def test_a_field_longer_than_the_csv_module_takes(tmp_path: Path) -> None:
    text = "x" * 1_000_000
    assert read(write(tmp_path / "data.csv", f"text\n{text}\n"))[0].text == text


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("a,b,c", "the row has 3 fields, the header 2"),
        ("a", "the row has 1 fields, the header 2"),
        ('a,"b" c', "invalid CSV: ',' expected after '\"'"),
        ("a,\0b", "NUL byte at column 3"),
    ],
)
def test_a_broken_row_of_csv(tmp_path: Path, row: str, what: str) -> None:
    path = write(tmp_path / "data.csv", f"prompt,completion\n1,2\n{row}\n3,4\n")
    error = failure(path)
    assert error.what == what
    assert error.where == f"{path}:3"
    assert [record.prompt for record in read(path, skip_broken=True)] == ["1", "3"]


def test_bytes_that_are_no_utf8_break_their_row_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "data.csv", b'prompt,completion\n"1\n\xe9",2\n3,4\n')
    error = failure(path)
    assert error.what == "the text is not UTF-8 at byte 21"
    assert error.where == f"{path}:3"
    assert [record.prompt for record in read(path, skip_broken=True)] == ["3"]


def test_a_quote_that_is_never_closed(tmp_path: Path) -> None:
    path = write(tmp_path / "data.csv", 'prompt,completion\n1,2\n3,"4\n5,6\n')
    error = failure(path)
    assert error.what == "invalid CSV: unexpected end of data"
    assert error.where == f"{path}:3"


def test_a_column_named_twice(tmp_path: Path) -> None:
    error = failure(write(tmp_path / "data.csv", "text,n,text\na,1,b\n"), skip_broken=True)
    assert error.what == "columns that stand in the header twice: `text`"


def test_a_header_that_is_broken(tmp_path: Path) -> None:
    assert "invalid CSV" in failure(write(tmp_path / "data.csv", '"text" n\na\n'), skip_broken=True).what


def test_a_header_alone_is_no_record(tmp_path: Path) -> None:
    assert failure(write(tmp_path / "data.csv", "text,n\n")).what == "no records"


def test_messages_do_not_fit_into_csv(tmp_path: Path) -> None:
    error = failure(write(tmp_path / "data.csv", 'messages\n"[{""role"": ""user""}]"\n'))
    assert error.what == '`messages` is the string `[{"role": "user"}]`; expected a list of messages'


def test_rows_of_parquet(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    rows = [{"messages": [{"role": "user", "content": f"{i}"}], "n": None} for i in range(1000)]
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=300)
    records = read(path)
    assert [record.row for record in records] == rows
    assert [record.where for record in records] == [f"{path}[{i}]" for i in range(1000)]


def test_keys_that_arrow_adds_stay(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    rows = [
        {"messages": [{"role": "user", "content": "a"}], "text": None},
        {"messages": [{"role": "assistant", "content": "b", "weight": 0}], "text": None},
        {"messages": None, "text": "c"},
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    first, second, third = read(path)
    assert first.messages == [{"role": "user", "content": "a", "weight": None}]
    assert second.messages == [{"role": "assistant", "content": "b", "weight": 0}]
    assert third.text == "c"


@pytest.mark.parametrize("content", [b"hello, world", b"PAR1 and then nothing of the kind"])
def test_a_parquet_file_that_is_none(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path / "data.parquet", content)
    error = failure(path, skip_broken=True)
    assert error.what.startswith("not readable as parquet: ")
    assert error.where == str(path)


def test_a_parquet_file_that_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    pq.write_table(pa.table({"text": ["a"] * 100}), path)
    write(path, path.read_bytes()[:-10])
    assert failure(path).help == "fetch or write the file again"


@pytest.mark.parametrize("empty", ["no bytes", "no rows"])
def test_a_parquet_file_without_rows(tmp_path: Path, empty: str) -> None:
    path = write(tmp_path / "data.parquet", b"")
    if empty == "no rows":
        pq.write_table(pa.table({"text": pa.array([], pa.string())}), path)
    assert failure(path).what == "no records"


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "data.parquet"
    pq.write_table(pa.table({"text": ["a"]}), path)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(MissingExtraError) as caught:
        read(path)
    assert caught.value.what == "reading parquet files needs pyarrow, which is not installed"
    assert caught.value.help == 'pip install "finetooth[data]"'
