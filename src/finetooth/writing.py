"""Write files whole or not at all."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from finetooth.errors import FinetoothError
from finetooth.messages import say


@contextmanager
def whole_file(path: Path) -> Iterator[IO[str]]:
    """Open a text file that appears under its name only once everything is written; see `whole_path`.

    Raises:
        FinetoothError: The file cannot be written.
    """
    with whole_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        yield file


@contextmanager
def whole_path(path: Path) -> Iterator[Path]:
    """Give a path to write to, which takes its own name only once everything is written.

    It is a temporary name beside the file and renamed at the end; whatever stops the writing (an error, an interrupt,
    a full disk) leaves an earlier file of this name as it was, and no half of a new one.

    Raises:
        FinetoothError: The file cannot be written.
    """
    # A link is written through, and what is no file (a device, a pipe) has no half and cannot be renamed over.
    target = Path(os.path.realpath(path))
    temporary: Path | None = None
    try:
        if target.exists() and not target.is_file():
            yield target
            return
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        # mkstemp makes files that their owner alone can read; a result has the rights of the file that it replaces.
        mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else 0o666 & ~_umask()
        os.chmod(temporary, mode)
        os.replace(temporary, target)
        temporary = None
    except OSError as error:
        raise FinetoothError(
            say("writing.failed", reason=error.strerror or str(error)),
            where=str(path),
            help=say("writing.failed_help"),
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def make_directory(path: Path) -> None:
    """Make a directory, and those above it.

    Raises:
        FinetoothError: It cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FinetoothError(
            say("writing.failed", reason=error.strerror or str(error)),
            where=str(path),
            help=say("writing.failed_help"),
        ) from error


def refuse_input(output: str | None, inputs: Iterable[str]) -> None:
    """Refuse to write over what is read.

    Raises:
        FinetoothError: `output` is one of `inputs`.
    """
    if output is None or output == "-" or not Path(output).is_file():
        return
    for source in inputs:
        if source != "-" and Path(source).exists() and Path(source).samefile(output):
            raise FinetoothError(say("writing.is_input"), where=output, help=say("writing.failed_help"))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
