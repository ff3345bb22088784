"""`merge`: from a configuration to a directory that transformers opens.

The merged model is made in a temporary directory beside the output, which gets its name once it is whole:

    .OUT.merging/          weights of full length, filled in tensor by tensor, and a journal of those that are whole
    .OUT.merging/.stages/  the results of earlier documents of the file, and what was converted from pickles
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from finetooth.checking import Report, findings_json
from finetooth.errors import ConfigError, FinetoothError, MergeError
from finetooth.merging.card import merge_card
from finetooth.merging.checks import before, refuse
from finetooth.merging.configuration import MergeConfig, load_merges, merge_of
from finetooth.merging.journal import NAME as JOURNAL
from finetooth.merging.journal import Journal
from finetooth.merging.models import OpenModel, notes, open_model
from finetooth.merging.output import write_companions
from finetooth.merging.planning import Models, Plan, make_plan
from finetooth.merging.references import ModelReference
from finetooth.merging.shards import INDEX, SHARD_BYTES, Layout, Shards, lay_out, reserved
from finetooth.merging.trial import Trial, after
from finetooth.merging.vocabulary import Vocabulary, make_vocabulary
from finetooth.merging.working import Pace, Progress, do_jobs
from finetooth.messages import language, say
from finetooth.runs import FINDINGS
from finetooth.writing import whole_file

CONFIG, CARD = "merge.yaml", "README.md"
STAGES, PICKLES = ".stages", ".pickles"
_MAPPING = "merge"
"""What a configuration that is no file is called in messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A merge whose models are opened and whose tensors are planned."""

    plan: Plan
    models: Models
    vocabulary: Vocabulary | None
    layout: Layout


def merge(
    config: str | Path | Mapping[str, Any],
    output: str | Path,
    *,
    seed: int = 0,
    force: bool = False,
    resume: bool = False,
    allow_pickle: bool = False,
    pace: Pace | None = None,
    shard_bytes: int = SHARD_BYTES,
    on_progress: Progress | None = None,
    on_report: Callable[[Report], None] | None = None,
    on_merged: Callable[[Callable[[], Trial]], None] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> Path:
    """Merge models.

        finetooth.merge("merge.yaml", "merged")
        finetooth.merge({"merge_method": "slerp", "base_model": "a", "models": [{"model": "b"}], ...}, "merged")

    Args:
        config: A file of mergekit's YAML, or the same as a mapping.
        output: The directory that is made.
        seed: Of methods that draw random numbers.
        force: Whether a merged model at that place is replaced, an unfinished merge begun anew, errors of the check
            passed over, and values that are no numbers merged like any other.
        resume: Whether an unfinished merge goes on.
        allow_pickle: Whether `.bin` files are read, as weights alone.
        pace: Threads and chunks; they change nothing in the result.
        shard_bytes: The most that a weight file holds.
        on_progress: Is told the bytes of weights that are written, and how many there are, for each stage.
        on_report: Is told what the rules found, before each stage is begun.
        on_merged: Is given a function that opens the merged model, lets it write, and returns how it fared: that takes
            the memory of the whole model, which merging does not.
        on_note: Is told what is noteworthy about the models, such as an adapter that changes nothing; a warning if not
            given.

    Returns:
        The directory.

    Raises:
        ConfigError: Something in the configuration is wrong or not supported.
        MergeError: The models cannot be merged so; a `ChecksFailed` where rules found errors.
        FinetoothError: The output cannot be written; `resume` goes on where it stopped.
    """
    merges, text = read_config(config)
    shown = _MAPPING if isinstance(config, Mapping) else str(config)
    target = Path(os.path.abspath(output))
    work = target.with_name(f".{target.name}.merging")
    _refuse(target, work, force=force, resume=resume)
    with _told(work):
        if work.exists() and not resume:
            shutil.rmtree(work)
        work.mkdir(parents=True, exist_ok=True)
        stages: dict[str, Path] = {}
        opened: dict[str, Models] = {}
        for number, one in enumerate(merges):
            is_last = number == len(merges) - 1
            place = work if is_last else work / STAGES / str(one.name)
            name = target.name if is_last else str(one.name)
            place.mkdir(parents=True, exist_ok=True)
            prepared = prepare(one, stages, pickles=work / PICKLES if allow_pickle else None, shard_bytes=shard_bytes)
            opened[name] = prepared.models
            # What was begun is not touched before its journal says that this merge is the one.
            with nullcontext() if resume else reserved(place, prepared.layout):
                report = before(one, prepared.models, shown=str(one.name or shown))
            if on_report is not None:
                on_report(report)
            if not force:
                refuse(report)
            for note in notes(prepared.models.values()):
                on_note(note) if on_note else warnings.warn(note, UserWarning, stacklevel=2)
            if is_last:
                configs = {str(other.name): other for other in merges[:-1]} | {name: one}
                card = merge_card(name, configs, text, opened, seed)
                with whole_file(place / CARD) as file:
                    file.write(card)
                with whole_file(place / CONFIG) as file:
                    file.write(text)
                _write_findings(place, report, partial(before, one, prepared.models, shown=str(one.name or shown)))
            _run(prepared, place, seed=seed, force=force, pace=pace, on_progress=on_progress)
            stages[str(one.name)] = place
        (work / JOURNAL).unlink()
        shutil.rmtree(work / STAGES, ignore_errors=True)
        shutil.rmtree(work / PICKLES, ignore_errors=True)
        _put(work, target)
    if on_merged is not None:
        owner = prepared.vocabulary.owner if prepared.vocabulary is not None else prepared.plan.main
        on_merged(lambda: after(target, prepared.models, owner, prepared.vocabulary, was_scanned=not force))
    return target


def read_config(config: str | Path | Mapping[str, Any]) -> tuple[list[MergeConfig], str]:
    """Return the merges of a file or mapping, and their YAML.

    Raises:
        ConfigError: Something in it is wrong or not supported.
    """
    if isinstance(config, Mapping):
        import yaml

        merge_ = merge_of(config, _MAPPING)
        return [merge_], yaml.safe_dump(dict(merge_.document), allow_unicode=True, sort_keys=False)
    merges = load_merges(Path(config))
    return merges, Path(config).read_text(encoding="utf-8")


def prepare(
    config: MergeConfig,
    stages: Mapping[str, Path],
    *,
    pickles: Path | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> Prepared:
    """Open the models of a merge and plan it; no weight is read.

    Args:
        config: The merge.
        stages: The directories of earlier stages by name.
        pickles: Where `.bin` files are converted to; `None`: they are refused.
        shard_bytes: The most that a weight file holds.

    Raises:
        FinetoothError: The models cannot be opened, or not be merged so.
    """
    models: dict[ModelReference, OpenModel] = {}
    for reference in config.references:
        is_stage = reference.path in stages and not Path(reference.path).is_dir()
        found = replace(reference, path=str(stages[reference.path])) if is_stage else reference
        try:
            models[reference] = open_model(found, pickles=pickles)
        except ConfigError as error:
            raise error.at(config.where) from error
    vocabulary = make_vocabulary(config, models)
    plan = make_plan(config, models, vocabulary.regather if vocabulary is not None else None)
    return Prepared(plan=plan, models=models, vocabulary=vocabulary, layout=lay_out(plan.jobs, shard_bytes))


def _run(
    prepared: Prepared,
    directory: Path,
    *,
    seed: int,
    force: bool,
    pace: Pace | None,
    on_progress: Progress | None,
) -> None:
    """Merge into a directory, or go on with what is whole in it."""
    journal = Journal(directory)
    try:
        identity = _identity(prepared, seed)
        done = journal.resume(identity)
        if done is None:
            journal.begin(identity)
        shards = Shards(directory, prepared.layout)
        try:
            jobs = prepared.plan.jobs
            do_jobs(
                jobs,
                shards,
                journal,
                done=done or (),
                seed=seed,
                allow_nan=force,
                pace=pace,
                on_progress=on_progress,
            )
            shards.sync()
        finally:
            shards.close()
        if (index := prepared.layout.index()) is not None:
            with whole_file(directory / INDEX) as file:
                file.write(index)
        write_companions(directory, prepared.plan, prepared.models, prepared.vocabulary)
    finally:
        journal.close()


def _identity(prepared: Prepared, seed: int) -> dict[str, Any]:
    """Return what has to be the same for a merge to go on, by what an error calls it."""
    digest = hashlib.sha256(b"".join(prepared.layout.headers.values())).hexdigest()
    document = json.dumps(prepared.plan.config.document, sort_keys=True, default=str)
    return {
        "configuration": hashlib.sha256(document.encode()).hexdigest(),
        "inputs": {str(reference): model.identity for reference, model in prepared.models.items()},
        "layout": digest,
        "seed": seed,
    }


def _write_findings(directory: Path, report: Report, again: Callable[[], Report]) -> None:
    """Keep what the rules found beside the model, for comparisons and reports.

    Args:
        directory: The model's.
        report: What they found, in the language in force.
        again: Finds it once more, in whatever language is then in force.
    """
    spoken = language()
    found = findings_json(lambda: report if language() == spoken else again())
    with whole_file(directory / FINDINGS) as file:
        json.dump(found, file, ensure_ascii=False, indent=2)


def _refuse(target: Path, work: Path, *, force: bool, resume: bool) -> None:
    """Refuse what lies at the output's place, before any work is done."""
    if target.exists() and not target.is_dir():
        raise MergeError(say("merging.no_directory"), where=str(target), help=say("merging.elsewhere"))
    if target.is_dir() and any(target.iterdir()):
        if not (target / CONFIG).is_file():
            # What finetooth did not make, it does not delete.
            raise MergeError(say("merging.not_empty"), where=str(target), help=say("merging.elsewhere"))
        if not force:
            raise MergeError(say("merging.exists"), where=str(target), help=say("merging.exists_help"))
    if work.exists() and not (resume or force):
        raise MergeError(say("merging.unfinished"), where=str(work), help=say("merging.unfinished_help"))


def _put(work: Path, target: Path) -> None:
    """Give the whole model its name, in the place of what had it."""
    old = target.with_name(f".{target.name}.replaced")
    if target.is_dir():
        os.replace(target, old)
    os.replace(work, target)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _told(work: Path) -> Iterator[None]:
    """Turn what the system refuses into an error of ours."""
    try:
        yield
    except FinetoothError:
        if not any(work.rglob(JOURNAL)):
            shutil.rmtree(
                work, ignore_errors=True
            )  # refused before a tensor was merged: there is nothing to go on with
        raise
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        raise FinetoothError(
            say("merging.full") if full else say("writing.failed", reason=error.strerror or str(error)),
            where=str(work),
            help=say("merging.full_help") if full else say("writing.failed_help"),
        ) from error
