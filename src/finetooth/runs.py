"""`Run`: the directory of one training run, plain files that anything can read.

recipe.yaml       the whole configuration: `finetooth train recipe.yaml -o elsewhere` is the same run again
env.json          machine and versions
fingerprint.json  tokenizer, template and labels, in hashes
findings.json     what the check found before training
metrics.jsonl     a line for each log
samples.jsonl     what the model wrote now and then, a line for each answer
examples.jsonl    the first rows as they were learned from, ids, labels and pieces
probes.jsonl      how the model stopped during training, a line for each probe, where some were asked for
probe.json        how the trained model stops
model/            the trained model or adapter, its tokenizer, and a card
checkpoint-N/     what training goes on from
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from finetooth.errors import FinetoothError
from finetooth.messages import say
from finetooth.weightfiles import read_header
from finetooth.writing import whole_file

RECIPE, ENVIRONMENT, FINGERPRINT = "recipe.yaml", "env.json", "fingerprint.json"
FINDINGS, METRICS, SAMPLES, PROBE = "findings.json", "metrics.jsonl", "samples.jsonl", "probe.json"
EXAMPLES, PROBES = "examples.jsonl", "probes.jsonl"
MODEL = "model"
STAGED_CHECKPOINTS = ".saving"
"""Where checkpoints are written before they get their name; what lies there is not whole."""
LOCK = ".training"
"""Locked by the process that trains the run, for as long as it lives."""

State = Literal["finished", "running", "stopped"]
"""Whether the trained model lies there, a process is at it, or it ended before that."""

_CHECKPOINT = re.compile(r"checkpoint-(\d+)")


@dataclass(frozen=True, slots=True)
class Run:
    """One run, by its directory."""

    directory: Path

    def begin(self, *, force: bool = False, resume: bool = False) -> None:
        """Make the directory.

        Args:
            force: Whether one that is not empty is emptied.
            resume: Whether one that is not empty goes on.

        Raises:
            FinetoothError: It is not empty, or cannot be made.
        """
        try:
            self.refuse(force=force, resume=resume)
            if force and not resume:
                self._empty()
            self.directory.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(self.directory / STAGED_CHECKPOINTS, ignore_errors=True)
        except OSError as error:
            raise FinetoothError(
                say("writing.failed", reason=error.strerror or str(error)),
                where=str(self.directory),
                help=say("writing.failed_help"),
            ) from error

    def refuse(self, *, force: bool = False, resume: bool = False) -> None:
        """Refuse what lies there, before any work is done; the arguments are those of `begin`.

        Raises:
            FinetoothError: It is no directory, or one that is not empty.
        """
        where = str(self.directory)
        if self.directory.exists() and not self.directory.is_dir():
            raise FinetoothError(say("runs.no_directory"), where=where, help=say("runs.elsewhere"))
        if not self.directory.is_dir() or not any(self.directory.iterdir()):
            return
        if not (self.directory / RECIPE).is_file():
            # What finetooth did not write, it does not delete, and adds nothing to.
            raise FinetoothError(say("runs.no_run"), where=where, help=say("runs.elsewhere"))
        if self.is_held:
            raise FinetoothError(say("runs.held"), where=where, help=say("runs.elsewhere"))
        if not (force or resume):
            raise FinetoothError(say("runs.not_empty"), where=where, help=say("runs.not_empty_help"))

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Hold the run while it is trained: others see that it is running, and leave it alone.

        The lock ends with the process, however that ends. Systems without file locks (Windows) hold nothing.
        """
        try:
            import fcntl
        except ImportError:
            yield
            return
        path = self.directory / LOCK
        with path.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise FinetoothError(say("runs.held"), where=str(self.directory), help=say("runs.elsewhere")) from error
            except OSError:
                pass  # a file system without locks
            yield
            path.unlink(missing_ok=True)

    @property
    def is_held(self) -> bool:
        """Whether a process is training the run."""
        try:
            import fcntl

            with (self.directory / LOCK).open() as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except (ImportError, OSError):
            return False
        return False

    @property
    def state(self) -> State:
        """Whether the run is finished, goes on, or was stopped before its end."""
        if self.is_held:
            return "running"
        return "finished" if self.is_finished else "stopped"

    def _empty(self) -> None:
        for path in self.directory.iterdir() if self.directory.is_dir() else ():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    def write_json(self, name: str, value: Any) -> None:
        """Write a file of JSON, whole or not at all."""
        with whole_file(self.directory / name) as file:
            json.dump(value, file, ensure_ascii=False, indent=2)
            file.write("\n")

    def write_text(self, name: str, text: str) -> None:
        """Write a file, whole or not at all."""
        with whole_file(self.directory / name) as file:
            file.write(text)

    def append(self, name: str, line: Mapping[str, Any]) -> None:
        """Add a line of JSON to a file, at once: another program may be reading along."""
        try:
            with (self.directory / name).open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
        except OSError as error:
            raise FinetoothError(
                say("writing.failed", reason=error.strerror or str(error)),
                where=str(self.directory / name),
                help=say("writing.failed_help"),
            ) from error

    def read_json(self, name: str) -> Any:
        """Return what a file of JSON holds; `None` where there is no such file."""
        path = self.directory / name
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None

    def lines(self, name: str) -> Iterator[dict[str, Any]]:
        """Yield the lines of a file; a last one that is not whole, as a kill leaves it, is left out."""
        path = self.directory / name
        if not path.is_file():
            return
        with path.open(encoding="utf-8") as file:
            for text in file:
                if text.endswith("\n") and text.strip():
                    yield json.loads(text)

    def forget_after(self, step: int) -> None:
        """Leave out of metrics, samples and probes what a run that goes on from a step will write again."""
        for name in (METRICS, SAMPLES, PROBES):
            path = self.directory / name
            if path.is_file():
                kept = [line for line in self.lines(name) if line.get("step", 0) <= step]
                with whole_file(path) as file:
                    file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in kept)

    def checkpoints(self) -> dict[int, Path]:
        """Return the whole checkpoints by step, ascending; one whose weights cannot be read is none."""
        found: dict[int, Path] = {}
        for path in self.directory.iterdir() if self.directory.is_dir() else ():
            match = _CHECKPOINT.fullmatch(path.name)
            if match and (path / "trainer_state.json").is_file() and all(map(_is_readable, path.glob("*.safetensors"))):
                found[int(match[1])] = path
        return dict(sorted(found.items()))

    @property
    def is_finished(self) -> bool:
        """Whether the trained model lies there: it is written last."""
        return os.path.isdir(self.directory / MODEL)


def _is_readable(file: Path) -> bool:
    try:
        return bool(read_header(file))
    except (OSError, ValueError, KeyError, TypeError):
        return False
