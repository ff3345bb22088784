"""Short names for runs and paths: what tells them apart."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

SHORT = 24
"""Characters up to which a path is left as it is."""


def names_of(directories: Sequence[Path]) -> list[str]:
    """Return a name for each directory: its last part, and as many before it as tell it from the others."""
    whole = [Path(os.path.abspath(one)).parts for one in directories]
    for length in range(1, max(map(len, whole), default=1) + 1):
        names = ["/".join(parts[-length:]) for parts in whole]
        if len(set(names)) == len(names):
            return names
    return [str(one) for one in directories]


def without_common_folders(paths: Sequence[str]) -> list[str]:
    """Return long paths without the folders that all of them lie in, which `…/` stands for.

    Texts that are no paths, and short ones, come back as they are.
    """
    long = [path for path in paths if "/" in path and len(path) > SHORT]
    if not long:
        return list(paths)
    parents = [path.split("/")[:-1] for path in long]
    count = 0
    while all(len(parent) > count and parent[count] == parents[0][count] for parent in parents):
        count += 1
    if not count:
        return list(paths)
    start = len("/".join(parents[0][:count])) + 1
    return [f"…/{path[start:]}" if path in long else path for path in paths]


def without_common_ends(paths: Sequence[str]) -> list[str]:
    """Return paths by the parts in which they differ: of `runs/a/model` and `runs/b/model` are left `a` and `b`."""
    if len(set(paths)) < 2:
        return [path.rstrip("/").rpartition("/")[2] for path in paths]
    parts = [path.rstrip("/").split("/") for path in paths]
    least = min(map(len, parts)) - 1
    first = next((n for n in range(least) if len({part[n] for part in parts}) > 1), least)
    left = [part[first:] for part in parts]
    least = min(map(len, left)) - 1
    last = next((n for n in range(least) if len({part[-1 - n] for part in left}) > 1), least)
    return ["/".join(part[: len(part) - last]) for part in left]
