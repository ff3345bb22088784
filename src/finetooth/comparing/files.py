"""The files of a directory, read one by one; what is broken is noted and left out, so that the rest can be shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from finetooth.messages import say


class FileReader:
    """Reads the files of a directory, and keeps in `remarks` what could not be read."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.remarks: list[str] = []

    def json(self, name: str) -> dict[str, Any] | None:
        """Return the object of a JSON file; `None` where there is none, or it is broken."""
        path = self.directory / name
        if not path.is_file():
            return None
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            self._note(name, error)
            return None
        if not isinstance(value, dict):
            self.remarks.append(say("comparing.unreadable", file=name, reason=say("comparing.no_object")))
            return None
        return value

    def lines(self, name: str) -> list[dict[str, Any]]:
        """Return the objects of a file of JSON lines: a last line that a kill cut short is no fault, others are."""
        path = self.directory / name
        if not path.is_file():
            return []
        found: list[dict[str, Any]] = []
        try:
            with path.open(encoding="utf-8", errors="replace") as file:
                for number, text in enumerate(file, 1):
                    if not text.endswith("\n") or not text.strip():
                        continue
                    try:
                        value = json.loads(text)
                    except ValueError as error:
                        self._note(f"{name}:{number}", error)
                        continue
                    if isinstance(value, dict):
                        found.append(value)
        except OSError as error:
            self._note(name, error)
        return found

    def _note(self, name: str, error: Exception) -> None:
        reason = getattr(error, "strerror", None) or str(error)
        self.remarks.append(say("comparing.unreadable", file=name, reason=str(reason).lower()))
