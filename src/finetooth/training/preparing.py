"""What comes before training: records are read, labelled, checked and counted; no weights are loaded, and no torch."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from finetooth.checking import Counted, Report, count_records
from finetooth.config import Config, Recipe
from finetooth.counting import record_hash
from finetooth.errors import ConfigError, DataError, FinetoothError
from finetooth.fingerprint import Fingerprint, fingerprint
from finetooth.inspection import open_records
from finetooth.labels import Setup, Trained, encode_records, make_setup
from finetooth.messages import say
from finetooth.rules import select_rules
from finetooth.training.rows import Collected, EncodedRows, collect
from finetooth.types import Finding, Record

OnBroken = Callable[[FinetoothError], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A recipe, and everything that is known before its model is loaded."""

    recipe: Recipe
    setup: Setup
    rows: EncodedRows
    eval_rows: EncodedRows
    num_dropped: int
    fingerprint: Fingerprint
    data_hash: str

    @property
    def config(self) -> Config:
        """The configuration."""
        return self.recipe.config


def setup_of(recipe: Recipe) -> Setup:
    """Return the set-up of a recipe.

    Raises:
        ConfigError: The recipe names no model or no data, or a model without weights.
        TokenizerError: There is no tokenizer.
    """
    config = recipe.config
    if config.model.path is None:
        raise ConfigError(say("training.no_model_key"), where=recipe.where, help="model: ./my-model")
    if not config.data.train:
        raise ConfigError(say("training.no_data_key"), where=recipe.where, help="data: train.jsonl")
    directory = Path(config.model.path).expanduser()
    if (directory / "adapter_config.json").is_file():
        raise ConfigError(
            say("training.is_adapter", path=config.model.path), where=recipe.where, help=say("training.is_adapter_help")
        )
    if directory.is_dir() and not any(directory.glob("*.safetensors")):
        raise ConfigError(
            say("training.no_weights", path=config.model.path), where=recipe.where, help=say("training.no_weights_help")
        )
    setup = make_setup(config.tokenizer.path or config.model.path, config)
    return replace(setup, trained=_trained(config, setup, directory))


def _trained(config: Config, setup: Setup, directory: Path) -> Trained:
    """Return what a recipe trains; the weights of a hub model lie beside its tokenizer, where they were fetched."""
    files = setup.tokenizer.files
    beside = files.directory if files is not None and config.tokenizer.path is None else None
    return Trained(
        directory=directory if directory.is_dir() else beside,
        method=config.train.method,
        target_modules=config.lora.target_modules,
        modules_to_save=config.lora.modules_to_save,
    )


def prepare(recipe: Recipe, setup: Setup, on_broken: OnBroken | None = None) -> Prepared:
    """Read and label the rows of a recipe.

    Raises:
        DataError: There is nothing to train on.
        FinetoothError: A row, or the set-up, is wrong.
    """
    config = recipe.config
    total = _DataHash()
    train = _collected(setup, config.data.train, config, on_broken, total)
    rows, eval_rows = train.rows, EncodedRows()
    if config.data.eval:
        eval_rows = _collected(setup, config.data.eval, config, on_broken, None).rows
    elif config.data.eval_share > 0:
        rows, eval_rows = held_out(rows, config.data.eval_share, config.train.seed)
    if not len(rows):
        raise DataError(
            say("training.no_rows", dropped=train.num_dropped),
            where=config.data.train[0],
            help=say("training.no_rows_help"),
        )
    return Prepared(
        recipe=recipe,
        setup=setup,
        rows=rows,
        eval_rows=eval_rows,
        num_dropped=train.num_dropped,
        fingerprint=replace(fingerprint(setup), label_hash=train.label_hash),
        data_hash=total.hexdigest(),
    )


def held_out(rows: EncodedRows, share: float, seed: int) -> tuple[EncodedRows, EncodedRows]:
    """Part rows into those that are trained on and a share that is evaluated on; at least one is of each, of two."""
    count = min(max(1, round(share * len(rows))), max(0, len(rows) - 1))
    chosen = set(random.Random(seed).sample(range(len(rows)), count))
    return (
        rows.take(index for index in range(len(rows)) if index not in chosen),
        rows.take(sorted(chosen)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What was counted over the data of a recipe: `train`, and `eval` where it names files for that."""

    counted: Mapping[str, Counted]

    def report(self) -> Report:
        """Return the report, its sentences in the language in force."""
        reports = {name: counted.report() for name, counted in self.counted.items()}
        parts = [replace(part, data=name) for name, report in reports.items() for part in report.parts]
        return Report(num_records=sum(report.num_records for report in reports.values()), parts=tuple(parts))

    def errors(self) -> list[Finding]:
        """Return the findings for which training does not begin."""
        return [one for one in self.report().findings if one.severity == "error" and one.folded_under is None]


def check_recipe(
    recipe: Recipe,
    setup: Setup,
    *,
    processes: int = 1,
    on_broken: OnBroken | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Checked:
    """Run the rules that a recipe selects over what it trains and evaluates on."""
    config = recipe.config
    rules = select_rules(config.check.select, config.check.ignore)
    return Checked(
        counted={
            name: count_records(
                open_records(list(sources), config.data, on_broken),
                [setup],
                rules,
                on_broken=on_broken,
                processes=processes,
                on_progress=on_progress,
            )
            for name, sources in (("train", config.data.train), ("eval", config.data.eval))
            if sources
        }
    )


def data_hash(records: Iterable[Record]) -> str:
    """Return a hash over records as they were read, in their order: that of fingerprint.json of a run."""
    total = _DataHash()
    for _ in total.passing(iter(records)):
        pass
    return total.hexdigest()


class _DataHash:
    """A hash over records as they were read, in their order."""

    def __init__(self) -> None:
        self._total = hashlib.sha256()

    def passing(self, records: Iterator[Record]) -> Iterator[Record]:
        """Yield records, and take them in."""
        for record in records:
            self._total.update(record_hash(record).encode())
            yield record

    def hexdigest(self) -> str:
        """Return the hash."""
        return self._total.hexdigest()


def _collected(
    setup: Setup, sources: Sequence[str], config: Config, on_broken: OnBroken | None, total: _DataHash | None
) -> Collected:
    records = open_records(list(sources), config.data, on_broken)
    return collect(encode_records(setup, records if total is None else total.passing(records), roles=False))
