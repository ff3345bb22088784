"""Directories -> entries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from finetooth.checking import count_records, findings_json
from finetooth.comparing.entry import Data, Entry
from finetooth.comparing.finetooth_run import read_run
from finetooth.comparing.merged_model import is_merge, read_merge
from finetooth.comparing.trainer_output import read_trainer_output, state_file
from finetooth.config import Config
from finetooth.documents.naming import names_of
from finetooth.errors import ConfigError, DataError, FinetoothError
from finetooth.examples import examples_of
from finetooth.inspection import open_records
from finetooth.labels import Setup, make_setup
from finetooth.messages import say
from finetooth.rules import select_rules
from finetooth.runs import MODEL, RECIPE
from finetooth.training.preparing import data_hash


def read_entries(paths: Sequence[str | Path]) -> list[Entry]:
    """Read the directories of runs; one that holds several runs stands for all of them.

    Raises:
        DataError: There is no such directory, or it is that of no run.
        ConfigError: One is named twice.
    """
    directories = [directory for path in paths for directory in _runs_in(Path(path))]
    twice = next((one for one in directories if directories.count(one) > 1), None)
    if twice is not None:
        raise ConfigError(say("comparing.twice"), where=str(twice), help=say("comparing.twice_help"))
    names = names_of(directories)
    return [_read(directory, name) for directory, name in zip(directories, names, strict=True)]


def _read(directory: Path, name: str) -> Entry:
    if (directory / RECIPE).is_file():
        entry = read_run(directory, name)
    else:
        entry = read_merge(directory, name) if is_merge(directory) else read_trainer_output(directory, name)
    return replace(entry, begun=_begun(directory)[0])


def _runs_in(path: Path) -> list[Path]:
    if not path.exists():
        raise DataError(say("comparing.no_directory"), where=str(path), help="finetooth train recipe.yaml -o runs")
    if not path.is_dir():
        raise DataError(say("comparing.is_file"), where=str(path), help=str(path.parent))
    if _is_run(path):
        return [path]
    if path.name == MODEL and _is_run(path.parent):
        return [path.parent]
    within = sorted((child for child in path.iterdir() if child.is_dir() and _is_run(child)), key=_begun)
    if not within:
        raise DataError(say("comparing.no_run"), where=str(path), help=say("comparing.no_run_help"))
    return within


def _begun(path: Path) -> tuple[float, str]:
    """Return what puts runs into the order in which they were begun, which is that of their recipe."""
    file = path / RECIPE if (path / RECIPE).is_file() else state_file(path) or path
    return file.stat().st_mtime, path.name


def _is_run(path: Path) -> bool:
    return (path / RECIPE).is_file() or is_merge(path) or state_file(path) is not None


def with_labels(entry: Entry, sources: Sequence[str], config: Config) -> Entry:
    """Return an entry with what a check of some data finds, for a run that holds none of it.

    Args:
        entry: What a plain Trainer left behind.
        sources: The data that it was trained on.
        config: How its labels were made.
    """
    try:
        setup = _setup_beside(entry, config)
        examples = list(examples_of(setup, open_records(list(sources), config.data)))
        rules = select_rules(config.check.select, config.check.ignore)
        findings = findings_json(count_records(open_records(list(sources), config.data), [setup], rules).report)
    except FinetoothError as error:
        return replace(entry, remarks=[*entry.remarks, say("comparing.no_labels", reason=error.what)])
    return replace(
        entry,
        data=Data(
            sources=tuple(sources),
            hash=data_hash(open_records(list(sources), config.data)),
            num_records=findings["num_records"],
        ),
        examples=examples,
        findings=findings,
        settings={**entry.settings, "labels.way": config.labels.way},
    )


def _setup_beside(entry: Entry, config: Config) -> Setup:
    """Return the set-up of the tokenizer that lies in the directory, or in its last checkpoint."""
    file = state_file(entry.directory)
    places = [entry.directory, *([file.parent] if file is not None else [])]
    own = [one for one in places if any(one.glob("tokenizer*"))]
    return make_setup(config.tokenizer.path or str((own or places)[0]), config)
