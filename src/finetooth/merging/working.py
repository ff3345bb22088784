"""Do the jobs of a plan, several at a time: each by a process of its own where it can be forked, else by a thread.

A method is some dozens of operations on each chunk, and every one of them lets go of Python's lock and asks for it
again: threads spend half as long on that as on the numbers, processes nothing.
"""

from __future__ import annotations

import math
import mmap
import os
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor

from finetooth.errors import ConfigError, MergeError
from finetooth.forking import forked, inherited
from finetooth.merging.journal import Journal
from finetooth.merging.planning import Job
from finetooth.merging.shards import Shards
from finetooth.merging.sources import Files
from finetooth.merging.streaming import CHUNKS, Memory, Stream, on
from finetooth.messages import say

FORKED_FROM = 32_000_000
"""The bytes of weights from which on a merge is worth processes: to fork one takes as long as merging some millions."""

_CUDA_THREADS = 8
"""Threads that keep a GPU busy; more of them are in each other's way at Python's lock."""

_GLANCE = 0.05
"""Seconds after which it is looked again how far the processes are."""

Progress = Callable[[int, int], None]
"""Is told the bytes of weights that are written, and how many there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How a merge is computed; none of it changes what comes out."""

    threads: int = 0
    """How many jobs are done at a time, by processes or by threads; 0: as many as the cores that may be used."""
    chunk: int = 0
    """Elements of a chunk; 0: as many as suit the device."""
    device: str = "cpu"
    """Where methods compute: `cpu`, or `cuda`. Reading and writing stay with the CPU. Sums over many elements are
    made in another order there, and what depends on them (slerp's angle, say) may differ in its last bits."""

    @property
    def chunk_size(self) -> int:
        """The elements of a chunk."""
        return self.chunk or CHUNKS[self.device]

    @property
    def num_threads(self) -> int:
        """The number of jobs that are done at a time."""
        if self.threads:
            return self.threads
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return min(cores, _CUDA_THREADS) if self.device == "cuda" else cores


def refuse_device(device: str) -> None:
    """Refuse a device that is not there.

    Raises:
        ConfigError: It is `cuda`, and torch finds none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError(say("merging.no_cuda"), where="--device cuda", help="--device cpu")


def do_jobs(
    jobs: Sequence[Job],
    shards: Shards,
    journal: Journal,
    *,
    done: Iterable[str] = (),
    seed: int = 0,
    allow_nan: bool = False,
    pace: Pace | None = None,
    on_progress: Progress | None = None,
) -> None:
    """Merge tensor by tensor, the largest first, and write each into its place.

    Args:
        jobs: The tensors.
        shards: Where they go.
        journal: Notes which are whole.
        done: The names of those that are whole already.
        seed: Of methods that draw random numbers.
        allow_nan: Whether values that are no numbers are merged like any other.
        pace: How it is computed.
        on_progress: Is told what is done: chunk by chunk by the threads that do it, one at a time; now and then where
            processes do.

    Raises:
        MergeError: A tensor cannot be merged.
        OSError: A file cannot be read or written.
    """
    pace = pace or Pace()
    whole = set(done)
    # The largest first: a large one that is begun last would be waited for by all others.
    left = sorted((job for job in jobs if job.name not in whole), key=lambda job: -job.num_elements)
    total = sum(job.size_bytes for job in jobs)
    board = _Board(len(left), total - sum(job.size_bytes for job in left))
    files = Files()
    work = _Work(left, files, shards, journal, board, seed, allow_nan, pace)
    is_forked = _is_forked(pace, sum(job.size_bytes for job in left))
    lock = threading.Lock()

    def tell() -> None:
        if on_progress is not None:
            with lock:
                on_progress(board.written, total)

    try:
        for job in left:
            for source in (*job.models, *((job.base,) if job.base else ())):
                for entry in source.entries:
                    files.open(entry.file)
        if not is_forked:
            work.on_chunk = tell
        with _pool(work, is_forked=is_forked) as pool:
            try:
                futures = [pool.submit(_do, number) for number in range(len(left))]
                for future in futures:  # after an error those that follow do nothing
                    while not wait([future], _GLANCE).done:
                        if is_forked:
                            tell()
                if is_forked:
                    tell()
            finally:
                board.stop()
                pool.shutdown(cancel_futures=True)
        for future in futures:
            future.result()
    except BrokenProcessPool as error:
        # Killed from outside, most often for want of memory: the others were stopped with it.
        raise MergeError(say("merging.process_ended"), help=say("merging.process_ended_help")) from error
    finally:
        files.close()


class _Board:
    """What is written of each job, and whether to stop, in memory that forked processes share."""

    def __init__(self, num_jobs: int, written_before: int) -> None:
        self._before, self._num_jobs = written_before, num_jobs
        self._numbers = memoryview(mmap.mmap(-1, 8 * (num_jobs + 1))).cast("q")

    @property
    def written(self) -> int:
        """The bytes of weights that are written."""
        return self._before + sum(self._numbers[: self._num_jobs])

    def add(self, number: int, size: int) -> None:
        """Count bytes of a job, which one process or thread does."""
        self._numbers[number] += size

    def stop(self) -> None:
        """Let every job end with its next chunk."""
        self._numbers[self._num_jobs] = 1

    @property
    def is_stopped(self) -> bool:
        """Whether jobs are to end."""
        return bool(self._numbers[self._num_jobs])


@dataclass(slots=True)
class _Work:
    """What the jobs of a merge share."""

    jobs: Sequence[Job]
    files: Files
    shards: Shards
    journal: Journal
    board: _Board
    seed: int
    allow_nan: bool
    pace: Pace
    on_chunk: Callable[[], None] | None = None
    """Is called after each chunk, where threads do it."""


_here = threading.local()
"""The work, and the memory, of this thread, or of this process."""


def _is_forked(pace: Pace, size_bytes: int) -> bool:
    # A process that is forked cannot use the GPU, and on macOS not what Apple's libraries have begun.
    can_fork = sys.platform == "linux" and pace.device == "cpu"
    return can_fork and pace.num_threads > 1 and size_bytes >= FORKED_FROM


def _pool(work: _Work, *, is_forked: bool) -> AbstractContextManager[Executor]:
    number = work.pace.num_threads
    return forked(number, work) if is_forked else ThreadPoolExecutor(number, initializer=_begin, initargs=(work,))


def _begin(work: _Work) -> None:
    _here.work = work
    _here.memory = Memory(work.files, device=work.pace.device)
    torch.set_num_threads(1)  # of this thread: the cores are shared out by tensors


def _do(number: int) -> None:
    """Do a job, unless all are to end."""
    if not hasattr(_here, "work"):
        _begin(inherited())
    work: _Work = _here.work
    job, device = work.jobs[number], work.pace.device
    if work.board.is_stopped:
        return
    try:
        # Whatever memory a method asks for lies where it computes; nothing is differentiated.
        with torch.inference_mode(), on("cpu" if job.method.on_cpu else device):
            stream = Stream(job, _here.memory, seed=work.seed, chunk=work.pace.chunk_size, allow_nan=work.allow_nan)
            _merge(work, number, stream)
    except BaseException:
        work.board.stop()
        raise
    if not work.board.is_stopped:
        work.journal.whole(job.name)


def _merge(work: _Work, number: int, stream: Stream) -> None:
    """Merge one tensor and write it."""
    job = work.jobs[number]
    if job.num_elements == 0:
        return
    done = 0
    for merged_N in job.method.function(stream, job.values):
        if work.board.is_stopped:
            return
        if not work.allow_nan:
            _look(merged_N, job, stream)
        data = _here.memory.written(merged_N, job.dtype)
        work.shards.write(job.name, done, data)
        done += len(data)
        work.board.add(number, len(data))
        if work.on_chunk is not None:
            work.on_chunk()
    assert done == job.size_bytes, f"{job.method.name} gave {done} bytes of {job.size_bytes} of {job.name}"


def _look(merged_N: Tensor, job: Job, stream: Stream) -> None:
    """Refuse what is no number, or none that can be written.

    Raises:
        MergeError: There is such a value.
    """
    if not math.isfinite(float(merged_N.sum())) and not torch.isfinite(merged_N).all():
        stream.look()
        raise MergeError(say("merging.result_not_finite", name=job.name), help=say("merging.report_help"))
    if job.dtype is torch.float16 and float(merged_N.abs().max()) > torch.finfo(job.dtype).max:
        raise MergeError(say("merging.overflow", name=job.name), where="out_dtype", help="out_dtype: bfloat16")
