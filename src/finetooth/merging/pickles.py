"""`.bin` files: pickles, which can run code as they are opened; read only where asked, and then as weights alone."""

from __future__ import annotations

import hashlib
import os
import pickle
from pathlib import Path

import torch

from finetooth.errors import MergeError
from finetooth.messages import say


def converted(file: Path, directory: Path) -> Path:
    """Return a file of safetensors with the tensors of a pickle, written to a directory unless it is there.

    Raises:
        MergeError: The file holds anything but tensors, or cannot be read.
    """
    from safetensors.torch import save_file

    status = file.stat()
    key = hashlib.sha256(f"{file.resolve()}\0{status.st_size}\0{status.st_mtime_ns}".encode()).hexdigest()[:16]
    target = directory / f"{file.stem}-{key}.safetensors"
    if target.is_file():
        return target
    try:
        # weights_only refuses every callable but those that rebuild tensors.
        state = torch.load(file, map_location="cpu", weights_only=True)
        tensors = {str(name): value.contiguous().clone() for name, value in state.items()}
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, AttributeError, TypeError) as error:
        raise MergeError(
            say("merging.bad_pickle", reason=str(error).splitlines()[0][:200]),
            where=str(file),
            help=say("merging.bad_pickle_help"),
        ) from error
    directory.mkdir(parents=True, exist_ok=True)
    half = target.with_suffix(".half")
    save_file(tensors, half, metadata={"format": "pt"})
    os.replace(half, target)
    os.utime(target, ns=(status.st_mtime_ns, status.st_mtime_ns))
    return target
