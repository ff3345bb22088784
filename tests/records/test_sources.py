from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from finetooth.config import DataConfig
from finetooth.errors import DataError
from finetooth.messages import set_language
from finetooth.records import read_records, records_of
from tests.records.files import LINES, failure, places, read, texts, write


def test_sources_follow_each_other_and_are_numbered_together(tmp_path: Path) -> None:
    first = write(tmp_path / "b.jsonl", LINES)
    second = write(tmp_path / "a.json", '[{"text": "x"}]')
    records = read([first, second, str(first)])
    assert texts(records) == ["a", "お嬢様", "c", "x", "a", "お嬢様", "c"]
    assert [record.index for record in records] == list(range(7))
    assert places(records[2:5], tmp_path) == ["b.jsonl:3", "a.json[0]", "b.jsonl:1"]


def test_one_source_needs_no_list(tmp_path: Path) -> None:
    path = write(tmp_path / "data.jsonl", LINES)
    assert len(list(read_records(str(path)))) == len(list(read_records(path))) == 3


def test_places_are_named_as_the_user_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "sub" / "data.jsonl", LINES)
    monkeypatch.chdir(tmp_path)
    assert read("sub/data.jsonl")[0].where == "sub/data.jsonl:1"
    assert read("./sub/*.jsonl")[0].where == "./sub/data.jsonl:1"


def test_patterns(tmp_path: Path) -> None:
    for name in ("2.jsonl", "1.jsonl", "deep/er/3.jsonl", "other.csv"):
        write(tmp_path / name, f'{{"text": "{name}"}}')
    assert texts(read(f"{tmp_path}/[12].jsonl")) == ["1.jsonl", "2.jsonl"]
    assert texts(read(f"{tmp_path}/**/*.jsonl")) == ["1.jsonl", "2.jsonl", "deep/er/3.jsonl"]
    assert places(read(f"{tmp_path}/?.jsonl"), tmp_path) == ["1.jsonl:1", "2.jsonl:1"]


def test_a_file_whose_name_looks_like_a_pattern(tmp_path: Path) -> None:
    assert texts(read(write(tmp_path / "data[1].jsonl", LINES))) == ["a", "お嬢様", "c"]


def test_a_pattern_that_matches_nothing(tmp_path: Path) -> None:
    error = failure(f"{tmp_path}/*.jsonl")
    assert str(error) == f"no file matches `{tmp_path}/*.jsonl`\n --> {tmp_path}/*.jsonl\nhelp: ls {tmp_path}"


@pytest.mark.parametrize(
    ("asked", "remedy"),
    [
        ("trian.jsonl", "did you mean `{folder}/train.jsonl`?"),
        ("Train.JSONL", "did you mean `{folder}/train.jsonl`?"),
        ("zzz.csv", "ls {folder}"),
        ("none/train.jsonl", "the folder `{folder}/none` does not exist either: check the path"),
    ],
)
def test_a_file_that_does_not_exist(tmp_path: Path, asked: str, remedy: str) -> None:
    write(tmp_path / "train.jsonl", LINES)
    path = f"{tmp_path}/{asked}"
    assert str(failure(path)) == f"no file `{path}`\n --> {path}\nhelp: {remedy.format(folder=tmp_path)}"


def test_a_relative_path_with_one_slash_is_no_hub_id_where_it_ends_like_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "data" / "train.jsonl", LINES)
    monkeypatch.chdir(tmp_path)
    assert failure("data/trian.jsonl").help == "did you mean `data/train.jsonl`?"


def test_every_name_is_looked_up_before_the_first_row_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "data.jsonl", LINES)
    with pytest.raises(DataError, match="no file"):
        next(read_records([path, tmp_path / "missing.jsonl"]))


@pytest.mark.parametrize(
    ("names", "pattern"),
    [
        (["a.parquet", "b.parquet", "c.json"], "*.parquet"),
        (["a.jsonl.gz", "dataset_info.txt"], "*.jsonl.gz"),
        ([], "*.jsonl"),
    ],
)
def test_a_directory(tmp_path: Path, names: list[str], pattern: str) -> None:
    for name in names:
        write(tmp_path / name, "x")
    error = failure(tmp_path)
    assert error.what == f"`{tmp_path}` is a directory, not a file of records"
    assert error.help == f"name its files: `{tmp_path / pattern}`"


def test_a_directory_that_datasets_saved(tmp_path: Path) -> None:
    import datasets

    datasets.disable_progress_bars()
    folder = tmp_path / "saved"
    datasets.Dataset.from_list([{"text": "a"}]).save_to_disk(folder)
    remedy = failure(folder).help
    assert remedy is not None
    program = remedy.removeprefix('python -c "').removesuffix('"')
    exec(program, {})  # the remedy does what it says
    assert texts(read(f"{folder}.parquet")) == ["a"]


@pytest.mark.parametrize("name", ["data.txt", "data"])
def test_a_format_that_is_not_known(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, "Once upon a time")
    error = failure(path)
    assert error.what == "no known format: the content begins with `Once upon a time`, and the name says nothing"
    assert error.help == "name the file by its format: `.jsonl`, `.ndjson`, `.json`, `.csv`, `.tsv`, `.parquet`"


@pytest.mark.parametrize("content", ["", "\n \n", "[]", '{"data": []}', "\ufeff"])
@pytest.mark.parametrize("name", ["data.json", "data.jsonl"])
def test_a_file_without_records(tmp_path: Path, content: str, name: str) -> None:
    if name == "data.jsonl" and content.startswith("{"):
        return
    path = write(tmp_path / name, content)
    assert failure(path).what == "no records"
    assert failure(path, skip_broken=True).where == str(path)


def test_an_empty_file_among_others(tmp_path: Path) -> None:
    full, empty = write(tmp_path / "full.jsonl", LINES), write(tmp_path / "empty.jsonl", "")
    assert failure([full, empty]).where == str(empty)
    assert len(read([full, empty], skip_broken=True)) == 3


def test_no_sources_at_all() -> None:
    assert failure([]).what == "no records"


BROKEN = '{"text": "a"}\n{"text": \n{"texts": "b"}\n5\n{"text": "\\ud83d"}\n{"text": "c"}\n'


def test_the_first_broken_row_stops_the_run(tmp_path: Path) -> None:
    path = write(tmp_path / "data.jsonl", BROKEN)
    seen: list[str | None] = []
    told: list[DataError] = []
    with pytest.raises(DataError) as caught:
        seen.extend(record.text for record in read_records(path, DataConfig(), on_broken=told.append))
    assert seen == ["a"]
    assert caught.value.where == f"{path}:2"
    assert told == []


def test_broken_rows_are_skipped_and_told(tmp_path: Path) -> None:
    path = write(tmp_path / "data.jsonl", BROKEN)
    told: list[DataError] = []
    records = list(read_records(path, DataConfig(skip_broken=True), on_broken=told.append))
    assert [(record.index, record.where, record.text) for record in records] == [
        (0, f"{path}:1", "a"),
        (1, f"{path}:6", "c"),
    ]
    assert [error.where for error in told] == [f"{path}:{line}" for line in (2, 3, 4, 5)]
    # A caller may keep them all: they keep no row alive.
    assert all(error.__traceback__ is None and error.__context__ is None for error in told)


def test_nothing_but_broken_rows(tmp_path: Path) -> None:
    path = write(tmp_path / "data.jsonl", "5\n6\n")
    error = failure(path, skip_broken=True)
    assert error.what == "none of the 2 rows can be read; the first: the row is the number `5`; an object was expected"
    assert error.where == f"{path}:1"


def test_rows_in_memory() -> None:
    rows = [{"text": "a"}, {"text": "b"}]
    records = list(records_of(rows))
    assert [(record.index, record.where, record.text) for record in records] == [
        (0, "<memory>[0]", "a"),
        (1, "<memory>[1]", "b"),
    ]
    assert records[0].row is rows[0]
    assert next(records_of(iter(rows), where="mine")).where == "mine[0]"


def test_a_data_set_in_memory() -> None:
    import datasets

    data = datasets.Dataset.from_list([{"text": "a"}, {"text": "b"}])
    assert texts(list(records_of(data))) == ["a", "b"]
    ids = datasets.Dataset.from_list([{"input_ids": [1, 2], "labels": [-100, 2]}]).with_format("numpy")
    (record,) = records_of(ids)
    assert (record.input_ids, record.labels) == ([1, 2], [-100, 2])


def test_broken_rows_in_memory() -> None:
    rows: list[dict[str, Any]] = [{"text": 1}, {"text": "b"}]
    with pytest.raises(DataError) as caught:
        list(records_of(rows))
    assert caught.value.where == "<memory>[0]"
    told: list[DataError] = []
    (record,) = records_of(rows, DataConfig(skip_broken=True), on_broken=told.append)
    assert (record.index, record.where, len(told)) == (0, "<memory>[1]", 1)
    with pytest.raises(DataError, match="no records"):
        list(records_of([]))
    with pytest.raises(DataError, match="none of the 1 rows can be read"):
        list(records_of(rows[:1], DataConfig(skip_broken=True)))


def test_errors_are_told_in_japanese(tmp_path: Path) -> None:
    set_language("ja")
    path = write(tmp_path / "data.jsonl", '{"text": 5}')
    assert str(failure(path)) == (
        f"`text` には文字列が必要です（実際: 数値 `5`）\n --> {path}:1\n"
        "help: `text` を文字列にするか、その行を飛ばしてください: `--set data.skip_broken=true`"
    )
