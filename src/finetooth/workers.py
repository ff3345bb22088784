"""Check batches of records, in one process or in several; the results come in the order of the batches."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from finetooth.counting import Checker, Counts
from finetooth.errors import FinetoothError
from finetooth.forking import forked, inherited
from finetooth.messages import say
from finetooth.types import Record

_Result = tuple[int, list[Counts], list[FinetoothError]]


def _check_batch(checker: Checker, batch: list[Record], skip: bool) -> _Result:
    errors: list[FinetoothError] = []
    return len(batch), checker.check(batch, errors.append if skip else None), errors


def in_process(checker: Checker, batches: Iterable[list[Record]], *, skip: bool) -> Iterator[_Result]:
    """Check batches in this process; yields for each its size, the counts of each set-up, and what was refused."""
    for batch in batches:
        yield _check_batch(checker, batch, skip)


def _check_in_worker(batch: list[Record], skip: bool) -> _Result:
    number, counted, errors = _check_batch(inherited(), batch, skip)
    for counts in counted:
        # A tally's class goes by the name of its rule, by which pickle would not find it: its state is sent alone.
        counts.tallies = {code: tally.__reduce_ex__(2)[2] for code, tally in counts.tallies.items()}
    return number, counted, errors


def _received(checker: Checker, result: _Result) -> _Result:
    """Make tallies again of the states that a process sent."""
    classes = {rule.code: rule.run for rule in checker.tallying}
    for counts in result[1]:
        counts.tallies = {code: _tally(classes[code], state) for code, state in counts.tallies.items()}
    return result


def _tally(kind: type[Any], state: Any) -> Any:
    tally: Any = object.__new__(kind)
    if hasattr(tally, "__setstate__"):
        tally.__setstate__(state)
        return tally
    # (attributes, slots) where a class has slots, and attributes alone elsewhere.
    attributes, slots = state if isinstance(state, tuple) else (state, None)
    for name, value in {**(attributes or {}), **(slots or {})}.items():
        object.__setattr__(tally, name, value)
    return tally


def in_processes(checker: Checker, batches: Iterable[list[Record]], processes: int, *, skip: bool) -> Iterator[_Result]:
    """Check batches in several processes; yields what `in_process` does, in the same order."""
    # A forked process has none of the threads that its copy of the tokenizers library counts on.
    before = os.environ.get("TOKENIZERS_PARALLELISM")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    waiting: deque[Future[_Result]] = deque()
    try:
        with forked(processes, checker) as pool:
            for batch in batches:
                waiting.append(pool.submit(_check_in_worker, batch, skip))
                if len(waiting) > 2 * processes:
                    yield _received(checker, waiting.popleft().result())
            while waiting:
                yield _received(checker, waiting.popleft().result())
    except BrokenProcessPool as error:
        # Killed from outside, most often for want of memory: nothing that it was doing is known.
        raise FinetoothError(say("check.process_ended"), help="--processes 1") from error
    finally:
        if before is None:
            del os.environ["TOKENIZERS_PARALLELISM"]
        else:
            os.environ["TOKENIZERS_PARALLELISM"] = before
