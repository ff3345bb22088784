"""Repair a model's files and a data set on a stage, where nothing of the user's is touched.

check --> edits of the model's files --> check --> edits of rows, judged with the repaired model --> check
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from finetooth.checking import Report, check_records
from finetooth.config import Config, DataConfig
from finetooth.counting import OnBroken
from finetooth.errors import ConfigError, FinetoothError
from finetooth.fingerprint import Fingerprint, fingerprint
from finetooth.fix.added_tokens import repair_added_tokens
from finetooth.fix.datacopy import DataCopy
from finetooth.fix.edits import Edit, Left, Outcome
from finetooth.fix.generation_block import repair_generation_blocks
from finetooth.fix.modelcopy import ModelCopy
from finetooth.fix.padding import repair_padding
from finetooth.fix.rowedits import ROW_EDITS
from finetooth.fix.rowpass import RowPass
from finetooth.fix.stop_list import repair_stop_list
from finetooth.fix.workbench import Workbench
from finetooth.inspection import open_records
from finetooth.labels import Setup, make_setup
from finetooth.messages import say
from finetooth.rules import Rule
from finetooth.types import Record

MODEL_EDITS: tuple[Callable[[Workbench], Iterator[Outcome]], ...] = (
    repair_added_tokens,
    repair_padding,
    repair_generation_blocks,
    repair_stop_list,
)
"""In the order in which they are made: a token has to be whole before it can be masked, and learned before it can be a
stop token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired:
    """What was done on the stage."""

    edits: tuple[Edit, ...]
    offered: tuple[Edit, ...]
    """Unsafe edits that were not made."""
    left: tuple[Left, ...]
    before: Report
    after: Report
    model: ModelCopy
    data: DataCopy | None
    """`None` where no row was changed."""
    fingerprint: Fingerprint


def repair(
    sources: Sequence[str],
    model: str,
    config: Config,
    stage: Path,
    *,
    rules: Sequence[Rule],
    unsafe: bool = False,
    on_broken: OnBroken | None = None,
    processes: int = 1,
) -> Repaired:
    """Repair a model's files and a data set in a folder of their own.

    Args:
        sources: The data, as the user named it.
        model: The model, as the user named it.
        config: How data and tokenizer are read and labels are made.
        stage: An empty folder; `model/` and, where rows were edited, `data/` are made in it.
        rules: The rules in force.
        unsafe: Whether edits are made that change the labels of rows in which nothing was found.
        on_broken: Told of rows that cannot be read; `None` raises the error.
        processes: How many processes share the checks.

    Raises:
        FinetoothError: Data or model cannot be read.
    """
    if "-" in sources:
        raise ConfigError(say("fix.stdin"), where="-", help="cat > train.jsonl")
    setup = make_setup(model, config)
    files = setup.tokenizer.files
    if files is None:  # pragma: no cover - what is named by a string has files
        raise ConfigError(say("fix.no_files"), where=model)
    # The first pass tells of broken rows; the others pass over them in silence.
    skip = None if on_broken is None else _nobody

    def check(setup: Setup, records: Iterator[Record], told: OnBroken | None = skip) -> Report:
        return check_records(records, [setup], rules, on_broken=told, processes=processes)

    before = check(setup, open_records(list(sources), config.data, on_broken), on_broken)
    bench = Workbench(
        copy=ModelCopy.make(files.directory, stage / "model"),
        config=config,
        model=model,
        read=lambda: open_records(list(sources), config.data, skip),
        rules=rules,
        on_broken=skip,
    )
    outcomes = [outcome for edit in MODEL_EDITS for outcome in edit(bench)]
    after = check(bench.facts().setup, bench.read()) if bench.copy.changes() else before
    data, offered = None, list[Edit]()
    found = {finding.code for finding in after.findings}
    if found & {edit.code for edit in ROW_EDITS}:
        data, rows, offered = _repair_rows(bench, stage, found, unsafe=unsafe)
        outcomes += rows
    if data is not None:
        written = [str(path) for path in data.paths]
        plain = replace(config.data, encoding="utf-8")
        bench.read = lambda: open_records(written, plain, skip)
        bench.changed()
        outcomes += repair_stop_list(bench)  # what rows end in now may have to be added
        after = check(bench.facts().setup, bench.read())
    one = dataclasses.replace(fingerprint(bench.facts().setup), label_hash=bench.survey().label_hash)
    return Repaired(
        edits=tuple(outcome for outcome in outcomes if isinstance(outcome, Edit)),
        offered=tuple(offered),
        left=tuple(outcome for outcome in outcomes if isinstance(outcome, Left)),
        before=before,
        after=after,
        model=bench.copy,
        data=data,
        fingerprint=one,
    )


def _repair_rows(
    bench: Workbench, stage: Path, found: Collection[str], *, unsafe: bool
) -> tuple[DataCopy | None, Sequence[Outcome], list[Edit]]:
    """Write the data with the edits of its rows; return it, what was done, and the edits that wait for `--unsafe`."""
    config: DataConfig = bench.config.data
    edits_of_rows = [edit for edit in ROW_EDITS if not edit.everywhere or edit.code in found]
    rows = RowPass(facts=bench.facts(), edits=edits_of_rows, rules=bench.rules, data=config, unsafe=unsafe)
    data = DataCopy(directory=stage / "data", differences=stage / "data.diff", encoding=config.encoding)
    data.write(rows.run(bench.read(), bench.on_broken))
    if data.num_rows == 0:
        _remove(data)
        return None, [Left(codes=("DAT004",), text=say("fix.nothing_left"))], []

    def edits(counts: dict[str, int]) -> list[Edit]:
        return [
            Edit(
                name=edit.name,
                codes=(edit.code,),
                safety=edit.safety,
                count=counts[edit.name],
                text=say(edit.message, count=counts[edit.name]),
            )
            for edit in ROW_EDITS
            if counts.get(edit.name)
        ]

    made, offered = edits(rows.made), edits(rows.offered)
    if not made:
        _remove(data)
        return None, [], []
    # Rows in which nothing was found are only to follow those in which something was.
    reasons = {code for edit in made for code in edit.codes}
    return data, made, [edit for edit in offered if reasons & set(edit.codes)]


def _remove(data: DataCopy) -> None:
    shutil.rmtree(data.directory)
    data.differences.unlink()


def _nobody(error: FinetoothError) -> None:
    """Tell nobody: the first pass has told."""
