"""Change values in the text of a JSON file and leave every other character of it as it is.

A tokenizer.json is megabytes of vocabulary that a user has checked in: writing it anew would change every line, and the
one flag that matters would be lost in the difference. So a value is replaced where it stands, and a new key is put
after the last one, spaced as that one is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any, NamedTuple

Step = str | int
"""A key of an object, or an index into a list."""

_SPACE = re.compile(r"[ \t\r\n]*")
_decode = json.JSONDecoder().raw_decode


class Member(NamedTuple):
    """One member of an object or list, by half-open characters of the text."""

    step: Step
    lead: int
    """Where the white space before it begins."""
    start: int
    """Where its key begins; in a list, its value."""
    value_start: int
    value_end: int


def set_value(text: str, path: Sequence[Step], value: Any) -> str:
    """Return a JSON text with the value of a path set, or the same text where it has that value.

    Args:
        text: A valid JSON text.
        path: Keys and indexes from the outermost value; all but the last must exist.
        value: Anything that JSON can write.

    Raises:
        KeyError: The path leads nowhere.
    """
    *parents, last = path
    start = _find(text, parents)
    if text[start] not in "{[":
        raise KeyError(list(path))
    found = None
    tail = None
    for member in members(text, start):
        tail = member
        if member.step == last:
            found = member  # of keys that stand twice the last one counts, as for every reader
    if found is not None:
        if _same(_decode(text, found.value_start)[0], value):
            return text
        old = text[found.value_start : found.value_end]
        return text[: found.value_start] + _written(text, value, found.value_start, old) + text[found.value_end :]
    if not isinstance(last, str):
        raise KeyError(list(path))
    return _inserted(text, start, tail, last, value)


def set_values(text: str, changes: Mapping[tuple[Step, ...], Any]) -> str:
    """Return a JSON text with the values of several paths set.

    Changes below one outermost key are made in its value alone: a tokenizer.json has megabytes beside it.
    """
    for first in dict.fromkeys(path[0] for path in changes):
        below = {path[1:]: value for path, value in changes.items() if path[0] == first and len(path) > 1}
        if (first,) in changes:
            text = set_value(text, [first], changes[first,])
        if below:
            start = _find(text, [first])
            end = _decode(text, start)[1]
            part = text[start:end]
            for path, value in below.items():
                part = set_value(part, path, value)
            text = text[:start] + part + text[end:]
    return text


def value_at(text: str, path: Sequence[Step]) -> Any:
    """Return the value of a path.

    Raises:
        KeyError: The path leads nowhere.
    """
    return _decode(text, _find(text, path))[0]


def members(text: str, start: int) -> Iterator[Member]:
    """Yield the members of the object or list that begins at a character."""
    is_object = text[start] == "{"
    position, number = start + 1, 0
    while True:
        lead = position
        position = _skip(text, position)
        if text[position] in "}]":
            return
        begin, step = position, number
        if is_object:
            step, position = scanstring(text, position + 1, True)
            position = _skip(text, _skip(text, position) + 1)
        _, end = _decode(text, position)
        yield Member(step, lead, begin, position, end)
        position = _skip(text, end)
        if text[position] != ",":
            return
        position += 1
        number += 1


def _find(text: str, path: Sequence[Step]) -> int:
    position = _skip(text, 0)
    for depth, step in enumerate(path):
        if text[position] not in "{[":
            raise KeyError(list(path[: depth + 1]))
        found = [member.value_start for member in members(text, position) if member.step == step]
        if not found:
            raise KeyError(list(path[: depth + 1]))
        position = found[-1]
    return position


def _skip(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    assert match is not None
    return match.end()


def _same(left: Any, right: Any) -> bool:
    # True == 1 in Python, and not in JSON.
    return json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)


def _inserted(text: str, start: int, tail: Member | None, key: str, value: Any) -> str:
    if tail is None:
        return f"{text[: start + 1]}{_dumps(text, key)}: {_written(text, value, start + 1, '')}{text[start + 1 :]}"
    key_end = scanstring(text, tail.start + 1, True)[1]
    colon = text[key_end : tail.value_start]
    lead = text[tail.lead : tail.start]
    if tail.lead == start + 1 and not lead and not _is_compact(text):
        lead = " "  # there is no second key to take the space after the comma from
    head = f"{text[: tail.value_end]},{lead}{_dumps(text, key)}{colon}"
    return head + _written(text, value, tail.start, "") + text[tail.value_end :]


def _written(text: str, value: Any, position: int, old: str) -> str:
    """Return a value as the file would write it at a position: a list one item a line where the file does so."""
    unit = indent_unit(text)
    is_one_line = old[:1] in ("[", "{") and "\n" not in old
    if unit is None or is_one_line or not isinstance(value, list | dict):
        return _dumps(text, value)
    line_start = text.rfind("\n", 0, position) + 1
    indent = text[line_start : _blank_end(text, line_start)]
    lines = json.dumps(value, ensure_ascii=_is_escaped(text), indent=unit).split("\n")
    newline = "\r\n" if "\r\n" in text[:4096] else "\n"
    return newline.join([lines[0], *(indent + line for line in lines[1:])])


def indent_unit(text: str) -> str | None:
    """Return what a level of the file is indented by, or `None` where it is not."""
    match = re.match(r"\s*[\[{]\r?\n([ \t]+)", text)
    return match[1] if match else None


def _blank_end(text: str, position: int) -> int:
    while position < len(text) and text[position] in " \t":
        position += 1
    return position


def _is_escaped(text: str) -> bool:
    """Return whether the file writes characters beyond ASCII as escapes."""
    return text.isascii() and "\\u" in text


def _dumps(text: str, value: Any) -> str:
    separators = (",", ":") if _is_compact(text) else None
    return json.dumps(value, ensure_ascii=_is_escaped(text), separators=separators)


def _is_compact(text: str) -> bool:
    """Return whether the file writes no spaces between its tokens."""
    return indent_unit(text) is None and '":' in text and '": ' not in text[:4096]
