"""From what the user names to records: files, patterns, standard input, hub data sets, and rows in memory."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from finetooth.config import DataConfig
from finetooth.errors import DataError
from finetooth.messages import say
from finetooth.records import bytestream, hub, jsonstream, tables
from finetooth.records.shapes import record_of
from finetooth.records.wording import closest, excerpt, listed
from finetooth.types import Record

Source = str | os.PathLike[str]
RowAt = tuple[Mapping[str, Any], str]

STDIN = "-"
STDIN_WHERE = "<stdin>"
SUFFIXES = {".jsonl": "lines", ".ndjson": "lines", ".json": "json", ".csv": "csv", ".tsv": "tsv", ".parquet": "parquet"}
COMPRESSIONS = (".gz", ".zst")


def read_records(
    sources: Source | Iterable[Source],
    config: DataConfig | None = None,
    *,
    on_broken: Callable[[DataError], None] | None = None,
) -> Iterator[Record]:
    """Yield the records of all sources, one after another, in bounded memory.

        for record in read_records(["train.jsonl", "more/*.parquet"], config.data):
            ...

    Args:
        sources: Paths, patterns, `-` for standard input, `owner/name` or `hf://datasets/…` for the hub.
        config: How records are read; `None` takes the defaults.
        on_broken: With `config.skip_broken`, called with the error of each row that is left out. Rows can be left
            out alone where the next one can be found: a stream that is cut or damaged is an error in any case.

    Raises:
        DataError: A source cannot be found or read, a row is broken, or there is no record at all.
        MissingExtraError: The format needs an optional dependency.
    """
    config = DataConfig() if config is None else config
    given = [sources] if isinstance(sources, str | os.PathLike) else list(sources)
    # All names are looked up before the first row is read: a typing error in the last should not cost an hour.
    resolved = [name for source in given for name in _resolved(os.fspath(source))]
    broken = _Broken(is_skipping=config.skip_broken, on_broken=on_broken)
    index = 0
    for name in resolved:
        num_seen = index + broken.count
        for record in _records(_rows(name, config, broken), config, broken, index):
            yield record
            index += 1
        if index + broken.count == num_seen:
            broken(_no_records(STDIN_WHERE if name == STDIN else name))
    if index == 0:
        raise broken.all_broken() if broken.count else _no_records(", ".join(resolved) or "data")


def records_of(
    rows: Iterable[Mapping[str, Any]],
    config: DataConfig | None = None,
    *,
    where: str = "<memory>",
    on_broken: Callable[[DataError], None] | None = None,
) -> Iterator[Record]:
    """Yield the records of rows in memory: a list of dicts, a `datasets.Dataset`.

    Args:
        rows: The rows.
        config: How records are read; `None` takes the defaults.
        where: What stands before `[row]` in the records' places.
        on_broken: As of `read_records`.

    Raises:
        DataError: A row is broken, or there is none.
    """
    config = DataConfig() if config is None else config
    broken = _Broken(is_skipping=config.skip_broken, on_broken=on_broken)
    index = 0
    for record in _records(((row, f"{where}[{i}]") for i, row in enumerate(rows)), config, broken, 0):
        yield record
        index += 1
    if index == 0:
        raise broken.all_broken() if broken.count else _no_records(where)


class _Broken:
    """What is done about a broken row: it stops the run, or it is counted."""

    def __init__(self, *, is_skipping: bool, on_broken: Callable[[DataError], None] | None) -> None:
        self._is_skipping = is_skipping
        self._on_broken = on_broken
        self._first: DataError | None = None
        self.count = 0

    def __call__(self, error: DataError) -> None:
        if not self._is_skipping:
            raise error
        # The traceback would keep the row alive, of each of a million broken ones, if the callback keeps the errors.
        error.__traceback__ = None
        self.count += 1
        self._first = self._first or error
        if self._on_broken is not None:
            self._on_broken(error)

    def all_broken(self) -> DataError:
        """Return the error for data of which nothing is left."""
        assert self._first is not None
        what = say("records.all_broken", count=self.count, first=self._first.what)
        return DataError(what, where=self._first.where, help=self._first.help)


def _records(rows: Iterable[RowAt], config: DataConfig, broken: _Broken, index: int) -> Iterator[Record]:
    for row, where in rows:
        try:
            record = record_of(row, index=index, where=where, config=config)
        except DataError as caught:
            broken(caught)
            continue
        index += 1
        yield record


def _no_records(where: str) -> DataError:
    return DataError(say("records.no_records"), where=where, help=say("records.no_records_help"))


def _rows(name: str, config: DataConfig, broken: _Broken) -> Iterator[RowAt]:
    if name == STDIN:
        yield from _text_rows(bytestream.stdin_chunks(), STDIN_WHERE, "", config, broken)
    elif not os.path.exists(name):
        yield from hub.hub_rows(name, config)
    elif (kind := _kind(name)) == "parquet":
        with bytestream.reading(name):
            yield from tables.parquet_rows(name)
    else:
        yield from _text_rows(bytestream.file_chunks(name), name, kind, config, broken)


def _text_rows(chunks: Iterator[bytes], where: str, kind: str, config: DataConfig, broken: _Broken) -> Iterator[RowAt]:
    chunks = bytestream.utf8(bytestream.decompressed(chunks, where), where, config.encoding)
    if kind in ("csv", "tsv"):
        return tables.csv_rows(chunks, where, broken, delimiter="," if kind == "csv" else "\t")
    if kind == "":
        head, chunks = bytestream.with_head(chunks, 1, lambda chunk: not chunk.isspace())
        start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
        if start and start[:1] not in (b"{", b"["):
            raise DataError(
                say("records.unknown_format", start=excerpt(start[:200].decode("utf-8", "replace"), width=40)),
                where=where,
                help=say("records.unknown_format_help", suffixes=listed(SUFFIXES)),
            )
    return jsonstream.json_rows(chunks, where, broken, is_lines=kind == "lines")


def _kind(path: str) -> str:
    """Return the format that a path's name promises; `""` where only the content can tell."""
    name = path.lower()
    for suffix in COMPRESSIONS:
        name = name.removesuffix(suffix)
    return SUFFIXES.get(os.path.splitext(name)[1], "")


def _resolved(source: str) -> list[str]:
    """Return the names that a source stands for: files, `-`, or a hub data set.

    Raises:
        DataError: It is a directory, matches nothing, or does not exist.
    """
    if source == STDIN:
        return [source]
    path = os.path.expanduser(source)
    if os.path.isdir(path):
        raise _directory(path)
    if os.path.exists(path):  # before patterns: a name may hold brackets
        return [path]
    if source.startswith("hf://"):
        if not hub.is_hub_id(source):
            raise DataError(
                say("records.hub_address", source=source), where=source, help=say("records.hub_address_help")
            )
        return [source]
    if glob.has_magic(path):
        found = sorted(match for match in glob.glob(path, recursive=True) if not os.path.isdir(match))
        if not found:
            raise DataError(
                say("records.no_match", pattern=source), where=source, help=f"ls {os.path.dirname(path) or '.'}"
            )
        return found
    if _kind(path) == "" and hub.is_hub_id(source):
        return [source]
    raise _missing(path)


def _missing(path: str) -> DataError:
    folder, name = os.path.split(path)
    try:
        siblings = os.listdir(folder or ".")
    except OSError:
        remedy = say("records.missing_folder", folder=folder)
    else:
        best = closest(name, siblings)
        if best is not None:
            remedy = say("records.did_you_mean", name=os.path.join(folder, best))
        else:
            remedy = f"ls {folder or '.'}"
    return DataError(say("records.missing", path=path), where=path, help=remedy)


def _directory(path: str) -> DataError:
    folder = Path(path)
    if (folder / "state.json").is_file() and any(folder.glob("*.arrow")):
        # What Dataset.save_to_disk writes.
        target = f"{path.rstrip('/')}.parquet"
        remedy = f'python -c "import datasets; datasets.load_from_disk({path!r}).to_parquet({target!r})"'
        return DataError(say("records.directory", path=path), where=path, help=remedy)
    endings = sorted(
        "".join(file.suffixes[-2:]) if file.suffix.lower() in COMPRESSIONS else file.suffix
        for file in folder.iterdir()
        if _kind(file.name)
    )
    ending = max(endings, key=endings.count) if endings else ".jsonl"
    return DataError(
        say("records.directory", path=path),
        where=path,
        help=say("records.directory_help", pattern=folder / f"*{ending}"),
    )
