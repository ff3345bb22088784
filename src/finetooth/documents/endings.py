"""Which format a file's name asks for, by its ending."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from finetooth.errors import ConfigError
from finetooth.messages import say

Format = TypeVar("Format", bound=str)

ENDINGS: Mapping[str, tuple[str, ...]] = {
    "html": (".html", ".htm"),
    "markdown": (".md", ".markdown"),
    "text": (".txt",),
    "png": (".png",),
    "pdf": (".pdf",),
    "json": (".json",),
}
"""The endings of each format."""


def format_of(path: Path, formats: tuple[Format, ...], *, example: str) -> Format:
    """Return the format that a file's name asks for.

    Args:
        path: The file.
        formats: Those that can be written.
        example: A name without its ending, for the remedy of an error.

    Raises:
        ConfigError: Its ending is that of none of them.
    """
    for name in formats:
        if path.suffix.lower() in ENDINGS[name]:
            return name
    first, *others = (ENDINGS[name][0] for name in formats)
    raise ConfigError(
        say("documents.unknown_format", suffix=path.suffix or path.name),
        where=f"-o {path}",
        help=say("documents.unknown_format_help", first=f"{example}{first}", others=", ".join(others)),
    )
