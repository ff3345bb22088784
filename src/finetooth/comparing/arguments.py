"""training_args.bin: the arguments of a plain Trainer, read without executing anything of it.

The file is a pickle, and to load a pickle runs whatever it names. Here every name in it becomes an inert object that
keeps what it is given: numbers, texts and lists come out, and no code of anyone's is imported or called.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

MAX_BYTES = 4_000_000
"""Arguments take a few kilobytes; what is larger holds something else."""


class Inert:
    """Stands for any class or function that a pickle names; calling it, or setting its state, keeps the values."""

    def __new__(cls, *args: Any) -> Inert:
        """Keep what it is made with; a pickle may make objects without `__init__`."""
        made = super().__new__(cls)
        made.args = args
        return made

    args: tuple[Any, ...]
    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __call__(self, *args: Any) -> Inert:
        """Keep what it is called with."""
        return Inert(*args)

    def append(self, value: Any) -> None:
        """Take no item: lists are read as lists, and this is none."""

    def extend(self, values: Any) -> None:
        """Take no items."""

    def __setitem__(self, key: Any, value: Any) -> None:
        """Take no item."""

    def __hash__(self) -> int:
        return id(self)


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Return a class that does nothing, whatever is named."""
        return Inert

    def persistent_load(self, pid: Any) -> Any:
        """Return nothing for a tensor's storage."""
        return None


def read_arguments(path: Path) -> dict[str, Any]:
    """Return the plain values of training_args.bin by name: numbers, texts, and what an enumeration's value is.

    Raises:
        ValueError: The file holds no arguments.
        OSError: It cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            if archive.getinfo(name).file_size > MAX_BYTES:
                raise ValueError("it is too large")
            loaded = _Reader(io.BytesIO(archive.read(name))).load()
    except OSError:
        raise
    except Exception as error:  # a broken pickle raises whatever it likes
        raise ValueError(f"{type(error).__name__}: {error}") from error
    state = getattr(loaded, "state", None)
    if not isinstance(state, dict):
        raise ValueError("it holds no arguments")
    return {str(key): value for key, one in state.items() if (value := _plain(one)) is not _NOTHING}


_NOTHING = object()


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Inert) and len(value.args) == 1:  # an enumeration, made from its value
        return _plain(value.args[0])
    if isinstance(value, list | tuple):
        members = [_plain(one) for one in value]
        return _NOTHING if any(one is _NOTHING for one in members) else members
    return _NOTHING
