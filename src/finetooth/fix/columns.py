"""Where the words of a record stand in its row: the paths of prompts, completions and answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from finetooth.config import DataConfig
from finetooth.fix.jsontext import Step
from finetooth.template import ASSISTANT_ROLES
from finetooth.types import Record

Path = tuple[Step, ...]
Changes = Mapping[Path, str]
"""New values by their paths in a row."""


def text_path(record: Record, config: DataConfig) -> Path | None:
    """Return the path of the column that a record's text begins in: its text, or its prompt where that is a string."""
    if record.text is not None:
        return (config.text_field,)
    return ("prompt",) if record.prompt is not None and isinstance(record.row.get("prompt"), str) else None


def end_path(record: Record, config: DataConfig) -> Path | None:
    """Return the path of the column that a record's text ends in: its text, or its completion if that is a string."""
    if record.text is not None:
        return (config.text_field,)
    if record.completion is None:
        return None
    return ("completion",) if isinstance(record.row.get("completion"), str) else ("response",)


def answer_paths(record: Record, config: DataConfig) -> Iterator[Path]:
    """Yield the paths of everything that the model has to write, where it stands in the row as a string."""
    path = end_path(record, config)
    if path is not None:
        yield path
        return
    row = record.row
    if record.shape == "alpaca":
        history = row.get("history")
        if isinstance(history, list):
            yield from (("history", index, 1) for index, pair in enumerate(history) if isinstance(pair[1], str))
        yield ("output",)
        return
    # A system prompt of a column of its own stands in front of the turns: they are counted from the end.
    turns = list(_turns(row, record))
    for (path, turn), message in zip(reversed(turns), reversed(record.messages or []), strict=False):
        key = "content" if isinstance(turn.get("content"), str) else "value"
        if message.get("role") in ASSISTANT_ROLES and isinstance(turn.get(key), str):
            yield (*path, key)


def _turns(row: Mapping[str, Any], record: Record) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    columns = {"prompt-completion": ("prompt", "completion", "response"), "messages": ("messages",)}
    for column in columns.get(record.shape, ("conversations",)):
        turns = row.get(column)
        if isinstance(turns, list):
            yield from (((column, index), turn) for index, turn in enumerate(turns) if isinstance(turn, Mapping))


def value_of(row: Mapping[str, Any], path: Path) -> str:
    """Return the string of a path."""
    value: Any = row
    for step in path:
        value = value[step]
    assert isinstance(value, str)
    return value


def with_changes(row: Mapping[str, Any], changes: Changes) -> dict[str, Any]:
    """Return a row with new values; what is not changed is shared."""
    changed: Any = dict(row)
    for (first, *rest), value in changes.items():
        changed[first] = _replaced(changed[first], rest, value)
    result: dict[str, Any] = changed
    return result


def _replaced(value: Any, path: list[Step], new: str) -> Any:
    if not path:
        return new
    step, *rest = path
    copied: Any = dict(value) if isinstance(value, Mapping) else list(value)
    copied[step] = _replaced(value[step], rest, new)
    return copied
