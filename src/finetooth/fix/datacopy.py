"""Write a data set anew with the edits of its rows: lines that no edit touches stay byte for byte as they are.

A JSONL file is copied line by line, and of an edited line only the values change that the edit means. Data in another
form (parquet, CSV, an array, compressed, of the hub) comes out as JSONL with the same columns.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from finetooth.fix.columns import with_changes
from finetooth.fix.difference import Hunks
from finetooth.fix.jsontext import set_value
from finetooth.fix.rowpass import EditedRow
from finetooth.types import Record

_PLACE = re.compile(r"(?P<source>.*?)(?::(?P<line>\d+)|\[(?P<row>\d+)\])", re.DOTALL)
_LINES = (".jsonl", ".ndjson")
_ENDINGS = re.compile(r"(\.(jsonl|ndjson|json|csv|tsv|parquet|gz|zst))+\Z", re.IGNORECASE)


@dataclass(slots=True)
class DataFile:
    """One source of the data, and the file that is written for it."""

    source: str
    name: str
    """Of the file in the folder that is written."""
    is_lines: bool
    """Whether it is a JSONL file whose lines can be kept."""
    num_changed: int = 0


@dataclass(slots=True)
class DataCopy:
    """A folder with the data set as it was edited.

    Args:
        directory: Made where it is absent.
        differences: The file that the differences are written to, as unified hunks.
    """

    directory: Path
    differences: Path
    encoding: str = "utf-8"
    """Of the sources; lines of another are not kept, since what is written is UTF-8."""
    files: list[DataFile] = field(default_factory=list)
    num_rows: int = 0

    @property
    def num_changed(self) -> int:
        """How many lines differ."""
        return sum(file.num_changed for file in self.files)

    @property
    def paths(self) -> list[Path]:
        """The files that were written."""
        return [self.directory / file.name for file in self.files]

    def write(self, rows: Iterable[EditedRow]) -> None:
        """Write all rows."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with self.differences.open("w", encoding="utf-8", newline="\n") as hunks:
            current: _Writer | None = None
            for row in rows:
                source, line = place_of(row.record)
                if current is None or current.file.source != source:
                    if current is not None:
                        current.finish()
                    current = _Writer(self._file(source, line), self.directory, hunks)
                current.add(row, line)
                self.num_rows += not row.is_dropped
            if current is not None:
                current.finish()

    def _file(self, source: str, line: int | None) -> DataFile:
        stem = _ENDINGS.sub("", re.sub(r"[/\\:]+", "-", source) if not os.path.exists(source) else Path(source).name)
        taken = {file.name for file in self.files}
        names = (f"{stem}{'' if number == 1 else f'-{number}'}.jsonl" for number in range(1, len(taken) + 2))
        name = next(name for name in names if name not in taken)
        is_utf8 = self.encoding.lower().replace("_", "-") in ("utf-8", "utf8", "utf-8-sig")
        is_lines = is_utf8 and line is not None and source.lower().endswith(_LINES) and os.path.isfile(source)
        file = DataFile(source=source, name=name, is_lines=is_lines)
        self.files.append(file)
        return file


def place_of(record: Record) -> tuple[str, int | None]:
    """Return the source of a record and its line, from 1; `None` where its place is a row's number."""
    match = _PLACE.fullmatch(record.where)
    if match is None:
        return record.where, None
    return match["source"], None if match["line"] is None else int(match["line"])


class _Writer:
    """Writes the file of one source."""

    def __init__(self, file: DataFile, directory: Path, differences: IO[str]) -> None:
        self.file = file
        self.out = (directory / file.name).open("w", encoding="utf-8", errors="surrogateescape", newline="")
        self.lines = _lines(Path(file.source)) if file.is_lines else None
        self.read = 0
        """Lines, or rows, of the source so far."""
        self.hunks = Hunks(differences, file.source, file.source if file.is_lines else f"data/{file.name}")

    def add(self, row: EditedRow, line: int | None) -> None:
        """Write a row, and before it the lines that no record was made of."""
        if self.lines is not None and line is not None:
            while self.read < line - 1:
                self._copy(next(self.lines))
            before = next(self.lines)
        else:
            before = json.dumps(row.record.row, ensure_ascii=False, default=str) + "\n"
        self.read += 1
        after = before
        if row.is_dropped:
            after = ""
        elif row.changes and self.lines is not None:
            for path, value in row.changes.items():
                after = set_value(after, path, value)
        elif row.changes:
            after = json.dumps(with_changes(row.record.row, row.changes), ensure_ascii=False, default=str) + "\n"
        self.file.num_changed += after != before
        self.hunks.add(before, after)
        self.out.write(after)

    def _copy(self, line: str) -> None:
        self.read += 1
        self.hunks.add(line, line)
        self.out.write(line)

    def finish(self) -> None:
        """Write the lines that are left, and close the file."""
        for line in self.lines or ():
            self._copy(line)
        self.out.flush()
        os.fsync(self.out.fileno())
        self.out.close()


def _lines(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        for number, line in enumerate(file):
            # A line that is no UTF-8 was skipped by the reader; it is kept as it is.
            text = line.decode("utf-8", "surrogateescape")
            yield text.removeprefix("\ufeff") if number == 0 else text
