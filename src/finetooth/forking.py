"""Processes that are forked from this one: they inherit what cannot be sent, and end with it."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import wait
from typing import Any

_inherited: Any = None


@contextmanager
def forked(num_processes: int, heirloom: object) -> Iterator[ProcessPoolExecutor]:
    """Open a pool of processes that are copies of this one, as it is now.

    Args:
        num_processes: How many.
        heirloom: What `inherited` returns in them: it is not sent, so that it may be anything.
    """
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(num_processes, context, _begin, (heirloom,)) as pool:
        with warnings.catch_warnings():
            # Python warns wherever another thread is alive, such as those that numpy's BLAS starts when it is
            # imported: a copy lacks them, and a lock that one held stays held. Ours compute by themselves alone.
            warnings.filterwarnings("ignore", "(?s).*multi-threaded.*fork", DeprecationWarning)
            pool.submit(os.getpid).result()  # the first task has all of them forked
        yield pool


def inherited() -> Any:
    """Return, in a process of a pool, what it was handed."""
    return _inherited


def _begin(heirloom: object) -> None:
    global _inherited
    _inherited = heirloom
    # The parent hears of ctrl-c as well, and says what is to be done.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What was inherited stays to the end, and what a task makes goes by itself: collecting would only copy pages.
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    parent = multiprocessing.parent_process()
    assert parent is not None
    # A parent that is killed cannot tell its pool to stop.
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
