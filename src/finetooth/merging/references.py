"""`ModelReference`: a model as a configuration names it: `path`, `path+adapter`, `owner/name@revision`."""

from __future__ import annotations

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

    @classmethod
    def parse(cls, text: str) -> ModelReference:
        """Read `path`, `path@revision` and `path+adapter`; what is a directory as it stands is that directory."""
        if Path(text).expanduser().is_dir():
            return cls(text)
        path, plus, adapter = text.partition("+")
        revision: str | None = None
        if not Path(path).expanduser().is_dir() and "@" in path:
            path, _, revision = path.partition("@")
        return cls(path, adapter if plus else None, revision)

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return f"{self.path}{revision}" + (f"+{self.adapter}" if self.adapter else "")


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
