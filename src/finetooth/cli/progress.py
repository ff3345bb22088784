"""A line on the terminal that counts records while a check runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from finetooth.messages import say


class CheckProgress:
    """Counts records on stderr; nothing where that is no terminal, or where quiet was asked for."""

    def __init__(self, *, quiet: bool) -> None:
        self.shown = sys.stderr.isatty() and not quiet
        self.start = time.monotonic()
        self.last = self.start

    def __enter__(self) -> Callable[[int], None]:
        return self.update

    def update(self, done: int) -> None:
        """Say how many are done."""
        now = time.monotonic()
        if self.shown and now - self.last > 0.2:
            self.last = now
            rate = done / (now - self.start)
            sys.stderr.write("\r\x1b[K" + say("cli_check.progress", done=f"{done:,}", rate=f"{rate:,.0f}"))
            sys.stderr.flush()

    def __exit__(self, *exception: object) -> None:
        if self.shown and self.last > self.start:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
