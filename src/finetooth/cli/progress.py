"""A line on the terminal while something takes its time: records counted, a model loaded."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from threading import Event, Thread

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


class Waiting:
    """Tells what is waited for, and for how long; nothing where stderr is no terminal, or where quiet was asked for."""

    def __init__(self, sentence: str, *, quiet: bool) -> None:
        self._sentence = sentence
        self._shown = sys.stderr.isatty() and not quiet
        self._done = Event()
        self._thread = Thread(target=self._tell, name="waiting", daemon=True)

    def __enter__(self) -> None:
        if self._shown:
            self._thread.start()

    def _tell(self) -> None:
        start = time.monotonic()
        while True:
            seconds = time.monotonic() - start
            sys.stderr.write(f"\r\x1b[K{self._sentence}" + (f" {seconds:.0f} s" if seconds >= 1 else ""))
            sys.stderr.flush()
            if self._done.wait(0.5):
                return

    def __exit__(self, *exception: object) -> None:
        if self._shown:
            self._done.set()
            self._thread.join()
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
