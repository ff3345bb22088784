"""Check a merge before it is begun: what the rules ask of its models, from headers and from some of their elements."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from finetooth.checking import Report, SetupReport, check_merge
from finetooth.errors import ConfigError, MergeError
from finetooth.formats.report import MERGE
from finetooth.merging.configuration import MergeConfig
from finetooth.merging.models import OpenModel, open_model
from finetooth.merging.planning import Models, make_plan
from finetooth.merging.references import ModelReference
from finetooth.merging.sources import Buffer, Files, TensorSource
from finetooth.merging.vocabulary import make_vocabulary
from finetooth.messages import say
from finetooth.rules import Rule, all_rules
from finetooth.rules.merge_facts import MergeFacts, MergeInput, Sample, TensorHeader
from finetooth.types import Finding

STRETCHES, STRETCH = 8, 256
"""How many stretches of how many elements are read of a tensor; of one that has no more than that, all."""


class ChecksFailed(MergeError):
    """The check found errors, and merging was not begun."""

    exit_code = 1

    def __init__(self, findings: Sequence[Finding], where: str) -> None:
        told = (
            f"{one.code} {one.name}: {one.message}" + (f" ({one.cause.text})" if one.cause is not None else "")
            for one in findings
        )
        super().__init__(
            say("merging.checks_failed", findings="; ".join(told)),
            where=where,
            help=say("merging.checks_failed_help"),
        )
        self.findings = tuple(findings)


def before(config: MergeConfig, models: Models, *, shown: str, rules: Sequence[Rule] | None = None) -> Report:
    """Return what the rules find in a merge.

    Args:
        config: The merge.
        models: Its models, opened; those that take part and are not there are left out.
        shown: What the report calls the merge.
        rules: The rules that are run; `None` takes those of merges.
    """
    files = Files()
    try:
        facts = merge_facts(config, models, shown=shown, files=files)
        part = check_merge(facts, all_rules("MRG") if rules is None else rules)
    finally:
        files.close()
    return Report(num_records=0, parts=(part,))


def refuse(report: Report) -> None:
    """Refuse a merge in which errors were found.

    Raises:
        ChecksFailed: There were some.
    """
    errors = [one for one in report.findings if one.severity == "error" and one.folded_under is None]
    if errors:
        raise ChecksFailed(errors, report.parts[0].model)


def check_configuration(
    merges: Sequence[MergeConfig], *, shown: str, rules: Sequence[Rule] | None = None, pickles: Path | None = None
) -> tuple[SetupReport, ...]:
    """Check the merges of a file, none of which is made: a part of the report each.

    What an earlier merge of the file makes is not there yet, and is said not to have been checked.

    Args:
        merges: The merges.
        shown: What the report calls the file.
        rules: The rules that are run; `None` takes those of merges.
        pickles: Where `.bin` files are converted to; `None`: they are refused.

    Raises:
        FinetoothError: A model cannot be opened, or no rule found an error and yet the merge cannot be planned.
    """
    stages = {str(one.name) for one in merges if one.name is not None}
    parts = []
    for number, one in enumerate(merges):
        models: dict[ModelReference, OpenModel] = {}
        made: list[str] = []
        for reference in one.references:
            try:
                models[reference] = open_model(reference, pickles=pickles)
            except ConfigError as error:
                raise error.at(one.where) from error
            except MergeError:
                if reference.path not in stages:
                    raise
                made.append(reference.path)
        name = shown if len(merges) == 1 else f"{shown} ({one.name or number})"
        part = before(one, models, shown=name, rules=rules).parts[0] if models else _empty(name)
        if not made and not any(finding.severity == "error" for finding in part.findings):
            vocabulary = make_vocabulary(one, models)
            make_plan(one, models, vocabulary.regather if vocabulary is not None else None)
        reasons = (("MRG", say("merging.made_earlier", name=stage)) for stage in made)
        parts.append(replace(part, not_run=(*part.not_run, *reasons)))
    return tuple(parts)


def _empty(name: str) -> SetupReport:
    return SetupReport(
        model=name, labels_way=MERGE, data=MERGE, num_records=0, findings=(), endings={}, not_run=(), num_models=0
    )


def merge_facts(config: MergeConfig, models: Models, *, shown: str, files: Files) -> MergeFacts:
    """Return what rules ask of a merge whose models are opened.

    Args:
        config: The merge.
        models: Its models.
        shown: What the report calls the merge.
        files: Opens the files that elements are read from; whoever gives it closes it.
    """
    buffer = Buffer(files)
    inputs = {reference: _input(reference, model, buffer) for reference, model in models.items()}
    subtracted = {one.base for one in config.slices if config.method.base in ("required", "optional")} - {None}
    base = next((inputs[one] for one in subtracted if one in inputs), None)
    taking_part = dict.fromkeys(source.reference for one in config.slices for source in one.sources)
    parts = tuple(inputs[one] for one in taking_part if one in inputs and one not in subtracted)
    main = config.base or config.slices[0].sources[0].reference
    choice = config.tokenizer
    named = choice.source if choice is not None and isinstance(choice.source, ModelReference) else main
    return MergeFacts(
        name=shown,
        where=config.where,
        method=config.method.name,
        models=parts,
        base=base,
        owner=inputs.get(named) or next(iter(inputs.values())),
        tokenizer=None if choice is None else str(choice.source),
        chat_template=config.chat_template,
        is_whole=config.is_whole,
    )


def _input(reference: ModelReference, model: OpenModel, buffer: Buffer) -> MergeInput:
    def sample(name: str) -> Sample | None:
        try:
            source = model.tensor(name)
        except MergeError:
            return None  # its dtype cannot be merged: the matter of MRG003
        return None if source is None else _sample(source, buffer)

    adapter = model.adapter
    headers = {
        name: TensorHeader(dtype=entry.dtype, shape=entry.shape, file=str(entry.file))
        for name, entry in model.entries.items()
    }
    return MergeInput(
        name=str(reference),
        directory=model.directory,
        adapter=adapter.file.file.parent if adapter is not None else None,
        tensors=headers,
        embeddings=model.embeddings,
        head=model.head,
        is_tied=model.is_tied,
        sample=sample,
    )


def _sample(source: TensorSource, buffer: Buffer) -> Sample:
    """Read some elements of a tensor, at places that its size alone decides."""
    for entry in source.entries:
        buffer.files.open(entry.file)
    total = source.entries[0].num_elements
    places = stretches(total)
    sample_N = torch.empty(sum(count for _, count in places))
    done = 0
    for start, count in places:
        source.read(start, sample_N[done : done + count], buffer)
        done += count
    return Sample(values=array("f", sample_N.numpy().tobytes()), num_elements=total)


def stretches(total: int) -> list[tuple[int, int]]:
    """Return where to read and how much: the first elements, the last ones, and stretches between, evenly apart."""
    if total <= STRETCHES * STRETCH:
        return [(0, total)] if total else []
    last = total - STRETCH
    return [(last * number // (STRETCHES - 1), STRETCH) for number in range(STRETCHES)]
