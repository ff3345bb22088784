"""Files of records that tests write, and what reading them gives or says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from finetooth.config import DataConfig
from finetooth.errors import DataError, FinetoothError
from finetooth.records import read_records
from finetooth.types import Record

ROWS = [{"text": "a"}, {"text": "お嬢様"}, {"text": "c"}]
LINES = "".join(line + "\n" for line in ('{"text": "a"}', '{"text": "お嬢様"}', '{"text": "c"}'))


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(source: str | Path | Sequence[str | Path], **config: Any) -> list[Record]:
    return list(read_records(source, DataConfig(**config)))


def texts(records: list[Record]) -> list[str | None]:
    return [record.text for record in records]


def places(records: list[Record], folder: Path) -> list[str]:
    return [record.where.removeprefix(f"{folder}/") for record in records]


def failure(source: str | Path | Sequence[str | Path], **config: Any) -> FinetoothError:
    """Return the error that reading raises, which has to have what, where and one remedy."""
    with pytest.raises(FinetoothError) as caught:
        read(source, **config)
    error = caught.value
    assert isinstance(error, DataError)
    assert error.what and error.where and error.help
    assert "\n" not in error.what
    return error
