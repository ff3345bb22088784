"""`Journal`: which tensors of an unfinished merge are whole, so that it can go on after whatever stopped it.

The first line says what the merge is: its configuration, its inputs and its layout. Every further line names a tensor,
written after the last byte of it was. A last line that is not whole, as a kill leaves it, counts for nothing.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any

from finetooth.errors import MergeError
from finetooth.messages import say

NAME = "journal.jsonl"


class Journal:
    """The journal in a directory, locked while it is open: two merges into one output would ruin each other."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / NAME
        self._lock = Lock()
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._descriptor)
            raise MergeError(say("merging.in_use"), where=str(directory), help=say("merging.in_use_help")) from error

    def begin(self, identity: Mapping[str, Any]) -> None:
        """Begin anew."""
        os.ftruncate(self._descriptor, 0)
        self._append({**identity, "boot": _boot()})

    def resume(self, identity: Mapping[str, Any]) -> set[str] | None:
        """Return the names of the tensors that are whole, or `None` where there is nothing to go on from.

        Raises:
            MergeError: The merge that was begun is another one.
        """
        lines = self._path.read_bytes().split(b"\n")
        whole = [json.loads(line) for line in lines[:-1]]
        if not whole or whole[0].get("boot") != _boot():
            # What was written before the machine went down may never have reached the disk: a kill leaves it, a power
            # cut does not.
            return None
        for key, value in identity.items():
            # What was read from JSON has lists for tuples.
            if whole[0].get(key) != json.loads(json.dumps(value)):
                raise MergeError(
                    say("merging.other_merge", what=key),
                    where=str(self._path.parent),
                    help=say("merging.other_merge_help"),
                )
        # What a kill left of a last line would run into the next.
        os.ftruncate(self._descriptor, sum(len(line) + 1 for line in lines[:-1]))
        return {str(line["whole"]) for line in whole[1:]}

    def whole(self, name: str) -> None:
        """Note that a tensor is whole."""
        self._append({"whole": name})

    def _append(self, value: Mapping[str, Any]) -> None:
        line = (json.dumps(value, ensure_ascii=False) + "\n").encode()
        with self._lock:
            os.write(self._descriptor, line)

    def remove(self) -> None:
        """Close the journal, and delete it: the merge is whole."""
        self._path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Close the journal, and let it lie for a resumption."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _boot() -> str:
    """Return what tells this run of the machine from others; nothing where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
