"""`adapter_directory`: a directory that is made under a temporary name and gets its own once it is whole."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from finetooth.errors import FinetoothError, MergeError
from finetooth.messages import say

RECORD = "adapter.yaml"
"""Says how the adapter was made. A directory without it is not of our making, and never deleted."""


@contextmanager
def adapter_directory(output: str | Path, *, force: bool) -> Iterator[Path]:
    """Yield a temporary directory beside the output; leave nothing of it where something fails.

    Args:
        output: The directory that is made.
        force: Whether an adapter at that place, made by finetooth, is replaced.

    Raises:
        MergeError: There is something at that place that is not to be replaced.
        FinetoothError: The directory cannot be written.
    """
    target = Path(os.path.abspath(output))
    _refuse(target, force=force)
    work: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        # mkdtemp makes directories that their owner alone can read; mkdir knows what others may.
        made = work / target.name
        made.mkdir()
        yield made
        if target.is_dir():
            os.replace(target, work / "replaced")
        os.replace(made, target)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        raise FinetoothError(
            say("lora.full") if full else say("writing.failed", reason=error.strerror or str(error)),
            where=str(target),
            help=say("lora.full_help") if full else say("writing.failed_help"),
        ) from error
    finally:
        if work is not None:
            shutil.rmtree(work, ignore_errors=True)


def _refuse(target: Path, *, force: bool) -> None:
    """Refuse what lies at the output's place, before any work is done."""
    if target.exists() and not target.is_dir():
        raise MergeError(say("lora.no_directory"), where=str(target), help=say("merging.elsewhere"))
    if target.is_dir() and any(target.iterdir()):
        if not (target / RECORD).is_file():
            raise MergeError(say("lora.not_empty"), where=str(target), help=say("merging.elsewhere"))
        if not force:
            raise MergeError(say("lora.exists"), where=str(target), help=say("merging.exists_help"))
