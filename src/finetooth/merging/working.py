"""Do the jobs of a plan: several at a time, each by a thread with memory of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Event, Lock

import torch

from finetooth.errors import ConfigError, MergeError
from finetooth.merging.journal import Journal
from finetooth.merging.planning import Job
from finetooth.merging.shards import Shards
from finetooth.merging.sources import Files
from finetooth.merging.streaming import CHUNK, Memory, Stream
from finetooth.messages import say

Progress = Callable[[int, int], None]
"""Is told the bytes of weights that are written, and how many there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How a merge is computed; none of it changes what comes out."""

    threads: int = 0
    """0: one for each core that the process may use."""
    chunk: int = CHUNK
    """Elements of a chunk."""
    device: str = "cpu"
    """Where methods compute: `cpu`, or `cuda`. Reading and writing stay with the CPU. Sums over many elements are
    made in another order there, and what depends on them (slerp's angle, say) may differ in its last bits."""

    @property
    def num_threads(self) -> int:
        """The number of threads."""
        if self.threads:
            return self.threads
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
        on_progress: Is told what is done, by whatever thread did it, one at a time.

    Raises:
        MergeError: A tensor cannot be merged.
        OSError: A file cannot be read or written.
    """
    pace = pace or Pace()
    whole = set(done)
    left: SimpleQueue[Job] = SimpleQueue()
    # The largest first: a large one that is begun last would be waited for by all other threads.
    for job in sorted((job for job in jobs if job.name not in whole), key=lambda job: -job.num_elements):
        left.put(job)
    files = Files()
    stopped, lock = Event(), Lock()
    total = sum(job.size_bytes for job in jobs)
    written = sum(job.size_bytes for job in jobs if job.name in whole)

    def tell(size: int) -> None:
        nonlocal written
        with lock:
            written += size
            if on_progress is not None:
                on_progress(written, total)

    def work() -> None:
        torch.set_num_threads(1)  # of this thread: the cores are shared out by tensors
        memory = Memory(files, device=pace.device)
        while not stopped.is_set():
            try:
                job = left.get_nowait()
            except Empty:
                return
            try:
                # Whatever memory a method asks for lies where it computes.
                with torch.device("cpu" if job.method.on_cpu else pace.device):
                    stream = Stream(job, memory, seed=seed, chunk=pace.chunk, allow_nan=allow_nan)
                    _merge(job, stream, shards, tell, stopped, allow_nan=allow_nan)
            except BaseException:
                stopped.set()
                raise
            if not stopped.is_set():
                journal.whole(job.name)

    try:
        for entry in (
            entry for job in jobs for source in (*job.models, job.base) if source for entry in source.entries
        ):
            files.open(entry.file)
        with ThreadPoolExecutor(pace.num_threads) as pool:
            futures = [pool.submit(work) for _ in range(pace.num_threads)]
            try:
                wait(futures, return_when=FIRST_EXCEPTION)
            finally:
                stopped.set()
        for future in futures:
            future.result()
    finally:
        files.close()


def _merge(
    job: Job, stream: Stream, shards: Shards, tell: Callable[[int], None], stopped: Event, *, allow_nan: bool
) -> None:
    """Merge one tensor and write it."""
    if job.num_elements == 0:
        return
    done = 0
    largest = torch.finfo(job.dtype).max
    for merged_N in job.method.function(stream, job.values):
        if stopped.is_set():
            return
        if not allow_nan:
            if not torch.isfinite(merged_N.sum()) and not torch.isfinite(merged_N).all():
                raise MergeError(say("merging.result_not_finite", name=job.name), help=say("merging.report_help"))
            if job.dtype is torch.float16 and float(merged_N.abs().max()) > largest:
                raise MergeError(say("merging.overflow", name=job.name), where="out_dtype", help="out_dtype: bfloat16")
        written = merged_N.to(job.dtype).cpu().view(torch.uint8)
        data = written.numpy().data
        shards.write(job.name, done, data)
        done += len(data)
        tell(len(data))
    assert done == job.size_bytes, f"{job.method.name} gave {done} bytes of {job.size_bytes} of {job.name}"
