"""A finding's place as a file and a line, for formats that point into files."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePath
from urllib.parse import quote

from finetooth.types import Place

_LINE = re.compile(r"(?P<path>.+):(?P<line>[0-9]{1,9})", re.DOTALL)
_ROW = re.compile(r"(?P<path>.+)\[(?P<row>[0-9]{1,18})\]", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePlace:
    """Where in the file system a finding stands."""

    path: str | None
    """The file, relative to the current folder where it lies below; `None` for rows of memory, pipes and the hub."""
    line: int | None
    """From 1; `None` for files of rows, and for the file as a whole."""
    is_row: bool
    """Whether the place is `path[row]`."""

    @property
    def uri(self) -> str | None:
        """The file as a URI reference: relative, with slashes, or `file://` where it lies elsewhere."""
        if self.path is None:
            return None
        path = PurePath(self.path)
        # surrogateescape: names of files that are not UTF-8 come as such.
        quoted = quote(path.as_posix().encode("utf-8", "surrogateescape"))
        if not path.is_absolute():
            return quoted
        return f"file://{quoted}" if quoted.startswith("/") else f"file:///{quoted}"


def file_place(place: Place) -> FilePlace:
    """Return where a place stands in the file system."""
    if place.record < 0:
        # Of a set-up: the file that holds the fault, or the model's name.
        named = place.where if os.path.isfile(place.where) else None
        return FilePlace(path=_relative(named), line=None, is_row=False)
    if match := _LINE.fullmatch(place.where):
        line = int(match["line"])
        return FilePlace(path=_relative(match["path"]), line=line if line > 0 else None, is_row=False)
    if match := _ROW.fullmatch(place.where):
        # `owner/name[3]` is a row of the hub, and looks like one of a file.
        named = match["path"] if os.path.isfile(match["path"]) else None
        return FilePlace(path=_relative(named), line=None, is_row=True)
    return FilePlace(path=None, line=None, is_row=False)


def _relative(path: str | None) -> str | None:
    """Return a path as seen from the current folder, where it lies in it; `None` for what is no file at all."""
    if path is None or path.startswith("<") or "://" in path or "\0" in path:
        return None
    absolute = Path(os.path.abspath(path))
    folder = Path.cwd()
    return str(absolute.relative_to(folder)) if absolute.is_relative_to(folder) else str(absolute)
