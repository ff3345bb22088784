from __future__ import annotations

import gzip
import json
from pathlib import Path

from finetooth.config import DataConfig
from finetooth.fix.columns import Changes
from finetooth.fix.datacopy import DataCopy
from finetooth.fix.rowpass import EditedRow
from finetooth.records import read_records


def copied(folder: Path, *sources: Path, drop: set[int] | None = None, data: DataConfig | None = None) -> DataCopy:
    """Copy data with the text of every row that holds `old` changed to `new`."""
    config = data or DataConfig()
    copy = DataCopy(directory=folder / "data", differences=folder / "data.diff", encoding=config.encoding)

    def rows() -> list[EditedRow]:
        edited = []
        for record in read_records([str(source) for source in sources], config):
            text = record.text or ""
            changes: Changes = {("text",): "new"} if text == "old" else {}
            edited.append(EditedRow(record=record, changes=changes, is_dropped=record.index in (drop or set())))
        return edited

    copy.write(rows())
    return copy


def test_lines_stay_byte_for_byte(tmp_path: Path) -> None:
    source = tmp_path / "train.jsonl"
    lines = ['{"text":"a\\u3042", "n": 1.0}\r\n', "\n", ' {"text": "old",  "n":2}\n', '{"n": 3, "text": "é"}']
    source.write_bytes("".join(lines).encode())
    copy = copied(tmp_path, source)
    written = copy.paths[0].read_bytes().decode()
    assert written == "".join(lines).replace('"old"', '"new"')
    assert copy.differences.read_text() == (
        f'--- {source}\n+++ {source}\n@@ -3 +3 @@\n- {{"text": "old",  "n":2}}\n+ {{"text": "new",  "n":2}}\n'
    )


def test_a_dropped_row(tmp_path: Path) -> None:
    source = tmp_path / "train.jsonl"
    source.write_text('{"text": "a"}\n{"text": "b"}\n{"text": "old"}\n')
    copy = copied(tmp_path, source, drop={1})
    assert copy.paths[0].read_text() == '{"text": "a"}\n{"text": "new"}\n'
    assert "@@ -2 +1,0 @@\n" in copy.differences.read_text()
    assert "@@ -3 +2 @@\n" in copy.differences.read_text()
    assert (copy.num_rows, copy.num_changed) == (2, 2)


def test_other_forms_come_out_as_jsonl(tmp_path: Path) -> None:
    rows = [{"text": "a", "n": 1}, {"text": "old", "n": 2}]
    array, packed, table = tmp_path / "a.json", tmp_path / "b.jsonl.gz", tmp_path / "c.csv"
    array.write_text(json.dumps(rows, indent=2))
    packed.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    table.write_text("text,n\na,1\nold,2\n")
    copy = copied(tmp_path, array, packed, table)
    assert [path.name for path in copy.paths] == ["a.jsonl", "b.jsonl", "c.jsonl"]
    for path in copy.paths:
        texts = [json.loads(line)["text"] for line in path.read_text().splitlines()]
        assert texts == ["a", "new"]
    assert not any(file.is_lines for file in copy.files)
    assert copy.differences.read_text().count("@@ -2 +2 @@\n") == 3


def test_files_of_one_name_are_kept_apart(tmp_path: Path) -> None:
    sources = [tmp_path / folder / "train.jsonl" for folder in ("a", "b")]
    for number, source in enumerate(sources):
        source.parent.mkdir()
        source.write_text(json.dumps({"text": str(number)}) + "\n")
    copy = copied(tmp_path, *sources)
    assert [path.name for path in copy.paths] == ["train.jsonl", "train-2.jsonl"]
    assert [path.read_text() for path in copy.paths] == [source.read_text() for source in sources]


def test_another_encoding_comes_out_as_utf8(tmp_path: Path) -> None:
    source = tmp_path / "train.jsonl"
    source.write_bytes('{"text": "紅茶"}\n'.encode("shift_jis"))
    copy = copied(tmp_path, source, data=DataConfig(encoding="shift_jis"))
    assert copy.paths[0].read_text(encoding="utf-8") == '{"text": "紅茶"}\n'


def test_rows_that_were_skipped_are_kept_as_they_are(tmp_path: Path) -> None:
    source = tmp_path / "train.jsonl"
    source.write_bytes(b'{"text": "a"}\n{"text": \n\xff\xfe\n{"text": "old"}\n{broken\n')
    copy = copied(tmp_path, source, data=DataConfig(skip_broken=True))
    assert copy.paths[0].read_bytes() == source.read_bytes().replace(b"old", b"new")
