"""Where a command's result goes: standard output, or a file that is written whole or not at all."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def stdout_or(output: str | None) -> Iterator[IO[str]]:
    """Open what `--output` names; `None` and `-` are standard output."""
    if output is None or output == "-":
        yield sys.stdout
        return
    from finetooth.writing import whole_file

    with whole_file(Path(output)) as file:
        yield file
