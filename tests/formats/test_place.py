from __future__ import annotations

from pathlib import Path

import pytest

from finetooth.formats.place import FilePlace, file_place
from finetooth.types import Place


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.parquet").touch()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").touch()
    return tmp_path


def at(where: str, record: int = 0) -> tuple[str | None, int | None, bool]:
    found = file_place(Place(record=record, where=where))
    return found.path, found.line, found.is_row


def test_a_line(folder: Path) -> None:
    assert at("a/train.jsonl:7") == ("a/train.jsonl", 7, False)
    assert at("./train.jsonl:7") == ("train.jsonl", 7, False)
    assert at(f"{folder}/train.jsonl:7") == ("train.jsonl", 7, False)
    assert at("/elsewhere/train.jsonl:7") == ("/elsewhere/train.jsonl", 7, False)
    assert at("C:train:3.jsonl:7") == ("C:train:3.jsonl", 7, False)


def test_a_row() -> None:
    assert at("data.parquet[7]") == ("data.parquet", None, True)
    assert at("owner/name[7]") == (None, None, True)
    assert at("hf://datasets/owner/name[7]") == (None, None, True)
    assert at("<memory>[7]") == (None, None, True)


def test_what_is_no_file() -> None:
    assert at("<stdin>:7") == (None, 7, False)
    assert at("train.jsonl") == (None, None, False)
    assert at("a\0b:1") == (None, 1, False)


def test_a_setup() -> None:
    assert at("model/config.json", record=-1) == ("model/config.json", None, False)
    assert at("model", record=-1) == (None, None, False)
    assert at("owner/name", record=-1) == (None, None, False)


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        ("a b/お嬢様#1.jsonl", "a%20b/%E3%81%8A%E5%AC%A2%E6%A7%98%231.jsonl"),
        ("/abs/x.jsonl", "file:///abs/x.jsonl"),
        ("x\udcff.jsonl", "x%FF.jsonl"),
        ("http:evil", "http%3Aevil"),
        (None, None),
    ],
)
def test_uri(path: str | None, uri: str | None) -> None:
    assert FilePlace(path=path, line=None, is_row=False).uri == uri
