"""`sweep`: one merge with several values of its parameters; each candidate is measured, and the best one kept.

    OUT/sweep.json     what is swept and measured: a sweep that goes on has to be the same
    OUT/sweep.jsonl    a line for each input and each candidate, as soon as it is measured
    OUT/merged/        the best candidate, a whole model

Candidates are merged in memory (a tmpfs) where there is room for two of them, else on disk, one after the other; none
but the best so far is kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from finetooth.errors import ConfigError, FinetoothError, MergeError
from finetooth.merging.merge import merge, prepare, read_config
from finetooth.merging.references import model_directory
from finetooth.merging.sweeping.axes import Point, name_of, with_values
from finetooth.merging.sweeping.lines import IDENTITY, LINES, MERGED, Sweep, best_of, lines_of, read_sweep
from finetooth.merging.sweeping.measuring import Measures, measure
from finetooth.merging.working import Pace
from finetooth.messages import say
from finetooth.writing import make_directory, whole_file

_BEST = ".best"
"""Names the candidate that lies in `merged`: written after it, so that a kill between the two is seen."""
MEMORY = Path("/dev/shm")
Tell = Callable[[str], None]


def sweep(
    config: str | Path | Mapping[str, Any],
    output: str | Path,
    points: Sequence[Point],
    measures: Measures,
    *,
    best_by: str = "endings",
    seed: int = 0,
    force: bool = False,
    resume: bool = False,
    pace: Pace | None = None,
    tell: Tell | None = None,
) -> Sweep:
    """Merge and measure every point, and keep the best.

    Args:
        config: A merge of one document; what a point names overrules it.
        output: The directory that is made.
        points: The candidates; see `points_of`.
        measures: What is measured of each, and of each input.
        best_by: See `finetooth.merging.sweeping.lines.BEST_BY`.
        seed: Of methods that draw random numbers.
        force: Whether a sweep that is there is begun anew.
        resume: Whether one goes on: what is measured is not measured again.
        pace: See `merge`.
        tell: Told what is done, in sentences.

    Raises:
        ConfigError: The configuration has several documents, a value is refused, or there is no point.
        MergeError: The directory holds something else, or another sweep.
        FinetoothError: A model cannot be merged, loaded or measured.
    """
    tell = tell or (lambda sentence: None)
    if not points:
        raise ConfigError(say("sweeping.no_points"), where="--sweep", help="--sweep t=0,0.25,0.5,0.75,1")
    merges, _ = read_config(config)
    if len(merges) > 1:
        raise ConfigError(say("sweeping.several_merges"), where=merges[0].where, help=say("sweeping.several_help"))
    document = merges[0].document
    documents = [with_values(document, point) for point in points]
    # What is refused is refused before anything is measured.
    size_bytes = max(prepare(read_config(one)[0][0], {}).plan.size_bytes for one in documents)
    directory = Path(os.path.abspath(output))
    _begin(directory, _identity(document, points, measures, seed, best_by), force=force, resume=resume)
    known = {line["name"]: line for line in lines_of(directory)}
    references = merges[0].references
    for number, reference in enumerate(references, 1):
        if str(reference) not in known:
            tell(say("sweeping.input", number=number, count=len(references), name=str(reference)))
            place = model_directory(reference.path, reference.revision)
            found = measure(place, measures, name=str(reference), adapter=reference.adapter)
            _note(directory, known, {"kind": "input", "name": str(reference), "point": {}, **found})
    with _scratch(directory, size_bytes) as scratch:
        for number, (point, one) in enumerate(zip(points, documents, strict=True), 1):
            name = name_of(point)
            if name not in known:
                tell(say("sweeping.candidate", number=number, count=len(points), name=name))
                place = merge(one, scratch / "candidate", seed=seed, force=True, pace=pace)
                found = measure(place, measures, name=name)
                _note(directory, known, {"kind": "candidate", "name": name, "point": point, **found})
                if best_of([known[name_of(p)] for p in points if name_of(p) in known], best_by) == name:
                    _keep(place, directory, name)
        lines = [known[name_of(point)] for point in points]
        best = best_of(lines, best_by)
        if _kept(directory) != best:  # a kill between measuring and keeping
            winner = documents[[name_of(point) for point in points].index(best)]
            _keep(merge(winner, scratch / "candidate", seed=seed, force=True, pace=pace), directory, best)
    return read_sweep(directory)


def _identity(
    document: Mapping[str, Any], points: Sequence[Point], measures: Measures, seed: int, best_by: str
) -> dict[str, Any]:
    plain = json.loads(json.dumps(asdict(measures), default=str))
    digests = {
        name: hashlib.sha256(Path(source).read_bytes()).hexdigest()
        for name, source in measures.data.items()
        if Path(source).is_file()
    }
    return {
        "merge": json.loads(json.dumps(document, default=str)),
        "seed": seed,
        "measures": plain | {"digests": digests},
        "best_by": best_by,
        "points": list(points),
    }


_MAY_CHANGE = ("points", "best_by")
"""What a sweep may go on with changed: more candidates, and another way to choose."""


def _begin(directory: Path, identity: Mapping[str, Any], *, force: bool, resume: bool) -> None:
    """Make the directory, or see that what lies there is the same sweep."""
    if directory.exists() and not directory.is_dir():
        raise MergeError(say("merging.no_directory"), where=str(directory), help=say("merging.elsewhere"))
    file = directory / IDENTITY
    if directory.is_dir() and any(directory.iterdir()):
        if not file.is_file():
            raise MergeError(say("merging.not_empty"), where=str(directory), help=say("merging.elsewhere"))
        if not (force or resume):
            raise MergeError(say("sweeping.exists"), where=str(directory), help=say("sweeping.exists_help"))
        if resume:
            before = json.loads(file.read_text(encoding="utf-8"))
            changed = [key for key in identity if key not in _MAY_CHANGE and before.get(key) != identity[key]]
            if changed:
                raise MergeError(
                    say("sweeping.another", what=changed[0]), where=str(file), help=say("sweeping.another_help")
                )
        else:
            shutil.rmtree(directory)
    make_directory(directory)
    with whole_file(file) as opened:
        json.dump(identity, opened, ensure_ascii=False, indent=2)


def _note(directory: Path, known: dict[str, dict[str, Any]], line: dict[str, Any]) -> None:
    known[line["name"]] = line
    whole = [*lines_of(directory), line]
    with whole_file(directory / LINES) as file:
        file.writelines(json.dumps(one, ensure_ascii=False) + "\n" for one in whole)


@contextmanager
def _scratch(directory: Path, size_bytes: int) -> Iterator[Path]:
    """Give a folder for a candidate: in memory where two would fit, else beside the output."""
    try:
        free = shutil.disk_usage(MEMORY).free if MEMORY.is_dir() else 0
        memory = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        free = memory = 0
    # The candidate itself, the model that is loaded from it, and as much again for what is computed.
    fits = min(free, memory) > 3 * size_bytes
    with TemporaryDirectory(prefix=".finetooth-", dir=MEMORY if fits else directory) as folder:
        yield Path(folder)


def _keep(place: Path, directory: Path, name: str) -> None:
    """Put a candidate into the place of the best one."""
    target, stage = directory / MERGED, directory / f".{MERGED}"
    (directory / _BEST).unlink(missing_ok=True)
    shutil.rmtree(stage, ignore_errors=True)
    try:
        shutil.move(place, stage)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(stage, target)
    except OSError as error:
        raise FinetoothError(
            say("writing.failed", reason=error.strerror or str(error)),
            where=str(target),
            help=say("writing.failed_help"),
        ) from error
    with whole_file(directory / _BEST) as file:
        file.write(name)


def _kept(directory: Path) -> str | None:
    path = directory / _BEST
    return path.read_text(encoding="utf-8") if path.is_file() and (directory / MERGED).is_dir() else None
