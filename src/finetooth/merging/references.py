"""`ModelReference`: a model as a configuration names it.

path                    a directory or hub id
owner/name@revision
path+adapter            an adapter merged into it
path+adapter*0.5        the same by half
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from finetooth.errors import MergeError
from finetooth.messages import say


@dataclass(frozen=True, slots=True)
class ModelReference:
    """A model, and an adapter that is merged into it as it is read."""

    path: str
    """A directory or hub id."""
    adapter: str | None = None
    revision: str | None = None
    scale: float = 1.0
    """Multiplies the adapter's change."""

    @classmethod
    def parse(cls, text: str) -> ModelReference:
        """Read a reference; what is a directory as it stands is that directory."""
        if _is_directory(text):
            return cls(text)
        path, plus, adapter = _parted(text)
        revision: str | None = None
        if not _is_directory(path) and "@" in path:
            path, _, revision = path.partition("@")
        adapter, scale = _scaled(adapter)
        return cls(path, adapter if plus else None, revision, scale)

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        scale = f"*{self.scale!r}" if self.scale != 1 else ""
        return f"{self.path}{revision}" + (f"+{self.adapter}{scale}" if self.adapter else "")


def _is_directory(text: str) -> bool:
    return Path(text).expanduser().is_dir()


def _parted(text: str) -> tuple[str, str, str]:
    """Part a model from its adapter: at the first plus, or the first one before which there is a directory."""
    for plus in re.finditer(re.escape("+"), text):
        if _is_directory(text[: plus.start()]):
            return text[: plus.start()], "+", text[plus.end() :]
    return text.partition("+")


def _scaled(text: str) -> tuple[str, float]:
    """Part an adapter from its scale."""
    adapter, star, number = text.rpartition("*")
    if not star or _is_directory(text):
        return text, 1.0
    try:
        scale = float(number)
    except ValueError:
        return text, 1.0
    return (adapter, scale) if math.isfinite(scale) else (text, 1.0)


def model_directory(path: str, revision: str | None = None) -> Path:
    """Return the directory of a model: a local one, or what the hub's cache holds; nothing is fetched.

    Raises:
        MergeError: There is no such directory.
    """
    local = Path(path).expanduser()
    if local.is_dir():
        return local
    looks_local = path.startswith((".", "/", "~")) or path.count("/") != 1
    if not looks_local:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

        try:
            return Path(snapshot_download(path, revision=revision, local_files_only=True))
        except (LocalEntryNotFoundError, HFValidationError) as error:
            raise MergeError(
                say("merging.not_cached"), where=path, help=say("merging.not_cached_help", model=path)
            ) from error
    raise MergeError(say("merging.no_model"), where=path, help=say("merging.no_model_help"))
