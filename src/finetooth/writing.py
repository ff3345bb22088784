"""Write files whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from finetooth.errors import FinetoothError
from finetooth.messages import say


@contextmanager
def whole_file(path: Path) -> Iterator[IO[str]]:
    """Open a text file that appears under its name only once everything is written.

    It is written under a temporary name beside it and renamed at the end; whatever stops the writing (an error, an
    interrupt, a full disk) leaves an earlier file of this name as it was, and no half of a new one.

    Raises:
        FinetoothError: The file cannot be written.
    """
    temporary: Path | None = None
    try:
        try:
            handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
            temporary = Path(name)
            with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            # mkstemp makes files that their owner alone can read; a result has the usual rights.
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, path)
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


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
