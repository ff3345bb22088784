"""The directory of a run of finetooth, as an entry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from finetooth.comparing.entry import Data, Entry
from finetooth.comparing.files import FileReader
from finetooth.config import flatten, load_recipes
from finetooth.errors import FinetoothError
from finetooth.examples import Example
from finetooth.messages import say
from finetooth.runs import (
    ENVIRONMENT,
    EXAMPLES,
    FINDINGS,
    FINGERPRINT,
    METRICS,
    PROBE,
    PROBES,
    RECIPE,
    SAMPLES,
    Run,
)


def read_run(directory: Path, name: str) -> Entry:
    """Read a run; a file that is missing or broken is told of, and the others are read.

    Args:
        directory: The run's.
        name: What it is called.
    """
    files = FileReader(directory)
    run = Run(directory)
    settings: dict[str, Any] = {}
    try:
        (recipe,) = load_recipes(directory / RECIPE, environ={})
        settings = flatten(recipe.config)
    except (FinetoothError, ValueError) as error:
        files.remarks.append(say("comparing.unreadable", file=RECIPE, reason=str(error).splitlines()[0]))
    metrics = files.lines(METRICS)
    samples = files.lines(SAMPLES)
    last = max((int(line.get("step", 0)) for line in samples), default=0)
    fingerprint, environment = files.json(FINGERPRINT), files.json(ENVIRONMENT)
    findings = files.json(FINDINGS)
    if findings is None and settings:
        files.remarks.append(say("comparing.no_findings"))
    versions = {name: str(value) for name, value in ((environment or {}).get("packages") or {}).items() if value}
    if environment and environment.get("finetooth"):
        versions["finetooth"] = str(environment["finetooth"])
    return Entry(
        name=name,
        directory=directory,
        kind="finetooth",
        state=run.state,
        step=max((int(line.get("step", 0)) for line in metrics), default=0),
        epoch=max((float(line["epoch"]) for line in metrics if line.get("epoch") is not None), default=None),
        total=None if settings.get("train.max_steps") else settings.get("train.epochs"),
        settings={key: value for key, value in settings.items() if not key.startswith(("output.", "check."))},
        metrics=metrics,
        data=Data(
            sources=tuple(settings.get("data.train", ())),
            hash=(fingerprint or {}).get("data_hash"),
            num_records=(findings or {}).get("num_records"),
        ),
        probes=files.lines(PROBES),
        findings=findings,
        probe=files.json(PROBE),
        samples=[line for line in samples if line.get("step", 0) == last],
        examples=_examples(files),
        versions=versions,
        loss=(environment or {}).get("loss"),
        fingerprint=fingerprint,
        remarks=files.remarks,
    )


def _examples(files: FileReader) -> list[Example]:
    found = []
    for line in files.lines(EXAMPLES):
        try:
            found.append(Example.from_json(line))
        except (KeyError, TypeError, ValueError) as error:
            files.remarks.append(say("comparing.unreadable", file=EXAMPLES, reason=f"{type(error).__name__}: {error}"))
            return found
    return found
