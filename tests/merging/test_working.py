"""Jobs are done by processes as by threads: the same bytes, the same errors, and nothing lost when one is ended."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import finetooth
from finetooth import forking
from finetooth.errors import FinetoothError, MergeError
from finetooth.merging import working
from finetooth.merging.shards import Shards
from finetooth.merging.working import Pace
from tests.merging.test_merge import settings
from tests.merging.toys import files_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone")

PACE = Pace(threads=2, chunk=4096)


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let small merges be done by processes as well, and see that they were."""
    begun: list[int] = []

    def seen(num_processes: int, heirloom: object) -> Any:
        begun.append(num_processes)
        return forking.forked(num_processes, heirloom)

    with monkeypatch.context() as patch:
        patch.setattr(working, "FORKED_FROM", 0)
        patch.setattr("finetooth.merging.working.forked", seen)
        yield
    assert begun
    assert set(begun) == {2}


@pytest.mark.parametrize("method", ["slerp", "model_stock", "ties", "dare_ties", "della"])
def test_processes_do_not_change_a_byte(method: str, models: Path, tmp_path: Path, forked: None) -> None:
    config, told = settings(models, method), list[tuple[int, int]]()
    merged = finetooth.merge(config, tmp_path / "a" / "merged", pace=PACE, on_progress=lambda *how: told.append(how))
    alone = finetooth.merge(config, tmp_path / "b" / "merged", pace=Pace(threads=1))
    assert files_of(merged) == files_of(alone)
    assert told == sorted(told)
    assert told[-1][0] == told[-1][1] > 0


def test_what_a_process_meets_is_told_as_ever(models: Path, tmp_path: Path, forked: None) -> None:
    config = {**settings(models, "task_arithmetic"), "out_dtype": "float16"}
    config["parameters"] = {"weight": 1e7}
    told = []
    for pace in (PACE, Pace(threads=1)):
        with pytest.raises(MergeError) as caught:
            finetooth.merge(config, tmp_path / "merged", pace=pace)
        # Which of the tensors that are done at the same time is the first to be refused is left to chance.
        name, *words = caught.value.what.split(" ")
        assert name in ("`lm_head.weight`", "`model.embed_tokens.weight`")
        told.append((words, caught.value.where, caught.value.help))
        shutil.rmtree(tmp_path / ".merged.merging")
    assert told[0] == told[1]
    assert told[0][1:] == ("out_dtype", "out_dtype: bfloat16")


def test_a_process_that_is_ended_loses_nothing(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forked: None
) -> None:
    config = settings(models, "ties")
    expected = files_of(finetooth.merge(config, tmp_path / "merged", pace=PACE))
    shutil.rmtree(tmp_path / "merged")
    write, parent, written = Shards.write, os.getpid(), [0]

    def ended(self: Shards, name: str, done_bytes: int, data: memoryview) -> None:
        written[0] += 1
        if os.getpid() != parent and written[0] > 8:
            os.kill(os.getpid(), signal.SIGKILL)
        write(self, name, done_bytes, data)

    with monkeypatch.context() as patch:
        patch.setattr(Shards, "write", ended)
        with pytest.raises(FinetoothError, match=r"ended from outside(.|\n)*--resume"):
            finetooth.merge(config, tmp_path / "merged", pace=PACE)
    finetooth.merge(config, tmp_path / "merged", resume=True, pace=PACE)
    assert files_of(tmp_path / "merged") == expected


SLOW = """
import time
import finetooth
from finetooth.merging import working
from finetooth.merging.shards import Shards

working.FORKED_FROM = 0
write = Shards.write

def slowly(self, *what):
    time.sleep(0.02)
    write(self, *what)

Shards.write = slowly
tell = lambda done, total: print(done, flush=True)
finetooth.merge({config!r}, {output!r}, pace=working.Pace(threads=2, chunk=4096), on_progress=tell, seed=3)
"""


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_processes_end_with_their_parent(sent: signal.Signals, models: Path, tmp_path: Path) -> None:
    config, output = settings(models, "dare_ties"), tmp_path / "merged"
    expected = files_of(finetooth.merge(config, output, seed=3))
    shutil.rmtree(output)
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW.format(config=config, output=str(output))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    while (line := process.stdout.readline()) and int(line) == 0:
        pass
    if sent == signal.SIGKILL:
        process.kill()
    else:
        os.killpg(process.pid, sent)  # as ctrl-c does: all of them hear it
    # The pipes end when the last process that holds them has ended.
    _, error = process.communicate(timeout=30)
    assert process.returncode == -sent, error
    assert "ForkProcess" not in error
    assert error.count("Traceback") == (1 if sent == signal.SIGINT else 0)
    assert not output.exists()
    deadline = time.monotonic() + 10
    while True:
        try:
            finetooth.merge(config, output, seed=3, resume=True)
            break
        except FinetoothError:  # a process that is about to end holds the journal
            assert time.monotonic() < deadline
            time.sleep(0.1)
    assert files_of(output) == expected
