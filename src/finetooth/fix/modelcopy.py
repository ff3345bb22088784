"""`ModelCopy`: the small files of a model's directory, copied to where they can be changed and tried.

Weights are neither copied nor linked. A copy would cost gigabytes for a change of one flag; and through a link the next
`save_pretrained` into the repaired directory would overwrite the originals. What was left out is named.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetooth.fix.jsontext import Step, set_value
from finetooth.tokenizer import TokenizerFiles

WEIGHTS = frozenset(
    {".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".ggml", ".h5", ".msgpack", ".onnx", ".npz", ".nemo"}
)
"""Endings of files that hold weights or the state of an optimizer."""

MAX_BYTES = 256 << 20
"""A file that is larger is no configuration; the largest tokenizer.json of a known model has 34 MB (Gemma 3)."""

FOLDERS = ("additional_chat_templates",)
"""The folders that belong to a tokenizer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """A text file before and after."""

    name: str
    before: str
    """Empty for a file that is new."""
    after: str
    is_new: bool = False


@dataclass(slots=True)
class ModelCopy:
    """A copy of a model's directory, and what was changed in it."""

    source: Path
    directory: Path
    left_out: tuple[str, ...] = ()
    """Names that were not copied: weights, folders, hidden files."""
    _originals: dict[str, str | None] = field(default_factory=dict)
    """The texts before the first change; `None` for a file that was not there."""

    @classmethod
    def make(cls, source: Path, directory: Path) -> ModelCopy:
        """Copy the small files of a model's directory. Links are followed: what they lead to is copied."""
        directory.mkdir(parents=True)
        left_out: list[str] = []
        for entry in sorted(source.iterdir()):
            if entry.is_dir():
                if entry.name in FOLDERS:
                    target = directory / entry.name
                    target.mkdir()
                    for inner in sorted(entry.iterdir()):
                        if inner.is_file():
                            shutil.copyfile(inner, target / inner.name)
                elif not entry.name.startswith("."):
                    left_out.append(f"{entry.name}/")
            elif _is_small_file(entry):
                # The rights are not copied: a snapshot of the hub, and many a shared folder, cannot be written.
                shutil.copyfile(entry, directory / entry.name)
            elif not entry.name.startswith("."):
                left_out.append(entry.name)
        return cls(source=source, directory=directory, left_out=tuple(left_out))

    @property
    def files(self) -> TokenizerFiles:
        """The files of the copy, as they are now."""
        return TokenizerFiles(self.directory)

    def read(self, name: str) -> str | None:
        """Return the text of a file, its line ends as they are; `None` where there is none."""
        path = self.directory / name
        return path.read_bytes().decode("utf-8") if path.is_file() else None

    def write(self, name: str, text: str) -> bool:
        """Write a file, and return whether that changed it."""
        before = self.read(name)
        if text == before:
            return False
        self._originals.setdefault(name, before)
        (self.directory / name).write_bytes(text.encode("utf-8"))
        return True

    def put(self, name: str, path: list[Step], value: Any) -> bool:
        """Set a value in a JSON file that is there, and return whether that changed it."""
        text = self.read(name)
        return text is not None and self.write(name, set_value(text, path, value))

    @contextmanager
    def trial(self) -> Iterator[Trial]:
        """Take back every change of the block, unless it is told to keep them."""
        trial = Trial()
        before = {name: self.read(name) for name in self._names()}
        known = dict(self._originals)
        yield trial
        if trial.is_kept:
            return
        for name in self._names() | set(before):
            text = before.get(name)
            if text is None:
                (self.directory / name).unlink(missing_ok=True)
            elif self.read(name) != text:
                (self.directory / name).write_bytes(text.encode("utf-8"))
        self._originals = known

    def _names(self) -> set[str]:
        """Return the names of the text files that an edit may touch."""
        found = [*self.directory.glob("*.json"), *self.directory.rglob("*.jinja")]
        return {path.relative_to(self.directory).as_posix() for path in found}

    def changes(self) -> list[FileChange]:
        """Return the files that differ from what they were, by name."""
        found = []
        for name, before in sorted(self._originals.items()):
            after = self.read(name)
            if after is not None and after != before:
                found.append(FileChange(name=name, before=before or "", after=after, is_new=before is None))
        return found


@dataclass(slots=True)
class Trial:
    """Whether what was tried is kept."""

    is_kept: bool = False

    def keep(self) -> None:
        """Keep the changes."""
        self.is_kept = True


def _is_small_file(path: Path) -> bool:
    if path.name.startswith(".") or path.suffix in WEIGHTS or path.suffix == ".orig":
        return False
    return path.is_symlink() or (path.is_file() and path.stat().st_size <= MAX_BYTES)
