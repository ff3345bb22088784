"""Unified differences of what a repair changes: of text files, and of the rows of a data set."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Sequence
from typing import IO

from finetooth.fix.modelcopy import FileChange

_CONTEXT = 3
_LONGEST = 2000
"""A JSON file with a longer line is shown indented: nobody finds a flag in a line of 40,000 characters."""

_HEADER = re.compile(r"@@ -(\d+)(,\d+)? \+(\d+)(,\d+)? @@")
_NO_NEWLINE = "\\ No newline at end of file\n"


def file_difference(change: FileChange, before_name: str, after_name: str, note: str) -> Iterator[str]:
    """Yield the lines of the unified difference of a file.

    Args:
        change: The file before and after.
        before_name: What stands after `---`.
        after_name: What stands after `+++`.
        note: Put after the names of a file that is shown indented, which `patch` cannot apply.
    """
    before, after = change.before, change.after
    if change.name.endswith(".json") and any(len(line) > _LONGEST for line in before.split("\n")):
        before, after = (json.dumps(json.loads(text), ensure_ascii=False, indent=2) + "\n" for text in (before, after))
        before_name, after_name = f"{before_name}\t({note})", f"{after_name}\t({note})"
    yield f"--- {'/dev/null' if change.is_new else before_name}\n"
    yield f"+++ {after_name}\n"
    yield from _hunks(_lines(before), _lines(after))


def _lines(text: str) -> list[str]:
    # Not splitlines: strings in JSON may hold characters at which it parts lines, such as U+2028.
    parts = text.split("\n")
    return [f"{part}\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


def _hunks(before: Sequence[str], after: Sequence[str]) -> Iterator[str]:
    """Yield the hunks of a difference; difflib sees only what lies between the first and the last change.

    (On the 400,000 lines of a large tokenizer.json it would take minutes.)
    """
    shorter = min(len(before), len(after))
    head = next((i for i in range(shorter) if before[i] != after[i]), shorter)
    tail = next((i for i in range(shorter - head) if before[-1 - i] != after[-1 - i]), shorter - head)
    first = max(0, head - _CONTEXT)
    rest = max(0, tail - _CONTEXT)
    windows = before[first : len(before) - rest], after[first : len(after) - rest]
    for line in list(difflib.unified_diff(*windows, n=_CONTEXT))[2:]:
        match = _HEADER.match(line)
        if match:
            start, new_start = int(match[1]) + first, int(match[3]) + first
            yield f"@@ -{start}{match[2] or ''} +{new_start}{match[4] or ''} @@\n"
        else:
            yield line if line.endswith("\n") else f"{line}\n{_NO_NEWLINE}"


class Hunks:
    """Writes a hunk for every row that is changed, as rows come; nothing where none is."""

    def __init__(self, file: IO[str], before_name: str, after_name: str) -> None:
        self.file = file
        self.header = f"--- {before_name}\n+++ {after_name}\n"
        self.old = self.new = 0
        """Lines so far."""

    def add(self, before: str, after: str) -> None:
        """Count a line, and write what changed in it; `after` is empty for a line that is dropped."""
        self.old += 1
        self.new += bool(after)
        if before == after:
            return
        self.file.write(self.header)
        self.header = ""
        self.file.write(f"@@ -{self.old} +{self.new}{'' if after else ',0'} @@\n")
        for sign, line in (("-", before), ("+", after)):
            if line:
                text = line.encode("utf-8", "replace").decode("utf-8")
                self.file.write(f"{sign}{text}" if text.endswith("\n") else f"{sign}{text}\n{_NO_NEWLINE}")
