"""See what a fine-tune learns: records, as several tokenizers and several ways of making labels encode them.

import finetooth

finetooth.inspect("train.jsonl", model=["model-a", "model-b"], labels="trl")     # shows itself in a notebook
finetooth.inspect(trainer)                                                        # what a live Trainer learns
"""

from __future__ import annotations

import random
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from finetooth.config import Config, DataConfig, config_of
from finetooth.errors import ConfigError, DataError, FinetoothError
from finetooth.labels import WAYS, Labeller, Setup, make_labeller, make_setup
from finetooth.messages import say
from finetooth.records import read_records, records_of
from finetooth.tokenizer import Tokenizer, from_transformers
from finetooth.types import Encoded, InspectedRecord, Record, Side

OnBroken = Callable[[FinetoothError], None]

_BATCH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which records of a data set are looked at."""

    records: tuple[int, ...] = ()
    """Their numbers, from 0."""
    sample: int | None = None
    """How many are drawn at random, the same ones every time."""
    limit: int | None = None
    """How many of the first are taken, where neither of the others is given; `None` takes all."""

    def apply(self, records: Iterable[Record]) -> Iterator[Record]:
        """Yield the chosen records, in the order of the data.

        Raises:
            DataError: A number is not below the number of records.
        """
        if self.records:
            yield from self._numbered(records)
        elif self.sample is not None:
            if self.sample < 1:
                raise ConfigError(say("inspection.bad_sample", count=self.sample), where="--sample", help="--sample 1")
            yield from self._drawn(records, self.sample)
        else:
            yield from records if self.limit is None else islice(records, self.limit)

    def _numbered(self, records: Iterable[Record]) -> Iterator[Record]:
        wanted = set(self.records)
        count = 0
        for record in records:
            count = record.index + 1
            if record.index in wanted:
                wanted.discard(record.index)
                yield record
                if not wanted:
                    return
        raise DataError(
            say("inspection.no_such_record", number=min(wanted), count=count),
            where=f"--record {min(wanted)}",
            help=say("inspection.no_such_record_help", last=count - 1),
        )

    @staticmethod
    def _drawn(records: Iterable[Record], count: int) -> Iterator[Record]:
        # Reservoir sampling (Vitter 1985, algorithm R): one pass, and memory for the sample alone.
        generator = random.Random(0)
        chosen: list[Record] = []
        for seen, record in enumerate(records):
            if seen < count:
                chosen.append(record)
            elif (place := generator.randrange(seen + 1)) < count:
                chosen[place] = record
        yield from sorted(chosen, key=lambda record: record.index)


def inspect_records(
    records: Iterable[Record], setups: Sequence[Setup], selection: Selection, on_broken: OnBroken | None = None
) -> Iterator[InspectedRecord]:
    """Encode records in every set-up, side by side, lazily.

    Args:
        records: The whole data set: SFTTrainer decides by its first row, whichever records are chosen.
        setups: The set-ups; a side each.
        selection: Which records are yielded.
        on_broken: Called with the error of a row that a set-up refuses, which is then left out; `None` raises it.
    """
    source = iter(records)
    first = next(source, None)
    if first is None:
        return
    labellers = [make_labeller(setup) for setup in setups]
    for labeller, setup in zip(labellers, setups, strict=True):
        if setup.labels.way == "trl":
            _label(labeller, [first], None if on_broken is None else _ignore)
    chosen = selection.apply(_chained(first, source))
    while batch := list(islice(chosen, _BATCH)):
        columns = [_label(labeller, batch, on_broken) for labeller in labellers]
        for number, record in enumerate(batch):
            sides = [
                Side(encoded=encoded, pieces=setup.tokenizer)
                for setup, column in zip(setups, columns, strict=True)
                if (encoded := column[number]) is not None
            ]
            if sides:
                yield InspectedRecord(record=record, sides=sides)


def _chained(first: Record, rest: Iterator[Record]) -> Iterator[Record]:
    yield first
    yield from rest


def _ignore(error: FinetoothError) -> None:
    """Say nothing: the row is told of where it is shown."""


def _label(labeller: Labeller, batch: Sequence[Record], on_broken: OnBroken | None) -> list[Encoded | None]:
    if on_broken is None:
        return list(labeller(batch))
    try:
        return list(labeller(batch))
    except FinetoothError:
        pass
    results: list[Encoded | None] = []
    for record in batch:
        try:
            results += labeller([record])
        except FinetoothError as error:
            on_broken(error)
            results.append(None)
    return results


class Inspection(Sequence[InspectedRecord]):
    """Records with their sides, to look at: in a terminal, as HTML, as JSON, or as they are.

    A sequence of `InspectedRecord`; each has `record` and `sides`, and a side's `encoded` holds `input_ids`, `labels`,
    `offsets` and `spans`. `print(inspection)` and a notebook's last line show it.
    """

    def __init__(self, records: Sequence[InspectedRecord]) -> None:
        self._records = list(records)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: Any) -> Any:
        return self._records[index]

    def __str__(self) -> str:
        return self.to_text(width=shutil.get_terminal_size().columns, color=sys.stdout.isatty())

    def __repr__(self) -> str:
        sides = len(self._records[0].sides) if self._records else 0
        return f"<Inspection: {len(self)} records, {sides} sides>"

    def _repr_html_(self) -> str:
        from finetooth.view.html import html_fragment

        return "".join(html_fragment(one) for one in self._records)

    def to_text(self, *, width: int = 100, color: bool = False, show_ids: bool = False, diff: bool = False) -> str:
        """Return what the terminal shows."""
        from finetooth.view.terminal import render_terminal

        return "\n".join(
            render_terminal(one, width=width, color=color, show_ids=show_ids, diff=diff) for one in self._records
        )

    def to_html(self, *, title: str = "finetooth") -> str:
        """Return one self-contained page."""
        from finetooth.view.html import render_html

        return "".join(render_html(self._records, title=title))

    def to_json(self) -> list[dict[str, Any]]:
        """Return one mapping for each record and side, with the keys of `finetooth inspect --format json`."""
        from finetooth.view.jsonlines import to_json

        return [to_json(side.encoded) for one in self._records for side in one.sides]


def inspect(
    data: Any,
    *,
    model: str | Tokenizer | Any | Sequence[Any] | None = None,
    labels: str | Sequence[str] = "finetooth",
    records: Sequence[int] = (),
    sample: int | None = None,
    limit: int | None = 20,
    template: str | None = None,
    loader: str = "auto",
    data_config: DataConfig | None = None,
    **options: Any,
) -> Inspection:
    """Show which tokens of some records a fine-tune learns from, for any number of tokenizers and ways of labels.

    Args:
        data: A path, pattern or hub id (or several), rows in memory (a `datasets.Dataset`, a list of mappings), a live
            `Trainer`, or a `DataLoader`. Of the last two the labels are those that the collator gives.
        model: A directory, hub id or loaded tokenizer, or several. A Trainer brings its own.
        labels: A way of making labels, or several; see `finetooth.labels`.
        records: Numbers of the records to look at.
        sample: Draw so many at random instead, the same ones every time.
        limit: Else take so many of the first; `None` takes all.
        template: A built-in chat template's name, or a .jinja file.
        loader: `auto`, `tokenizers` or `transformers`.
        data_config: How files are read.
        **options: Fields of `finetooth.config.LabelsConfig`, such as `train_on` or `response_template`.

    Returns:
        The records with their sides.

    Raises:
        FinetoothError: The data, a tokenizer, a template or an option is wrong.
    """
    setups = setups_for(data, model=model, labels=labels, template=template, loader=loader, **options)
    source = open_any(data, data_config or DataConfig())
    selection = Selection(records=tuple(records), sample=sample, limit=limit)
    return Inspection(list(inspect_records(source, setups, selection)))


def setups_for(
    data: Any, *, model: Any, labels: str | Sequence[str], template: str | None, loader: str, **options: Any
) -> list[Setup]:
    """Return a set-up for each model and way of making labels; a live Trainer brings its tokenizer and its labels."""
    if is_collated(data):
        if model is None:
            collator = getattr(data, "data_collator", None) or getattr(data, "collate_fn", None)
            model = getattr(data, "processing_class", None) or getattr(collator, "tokenizer", None)
        labels = "as-is"
    if model is None:
        raise ConfigError(say("inspection.no_model"), help=say("inspection.no_model_help"))
    models = list(model) if isinstance(model, (list, tuple)) else [model]
    return make_setups(
        [one if isinstance(one, (str, Tokenizer)) else from_transformers(one) for one in models],
        [labels] if isinstance(labels, str) else list(labels),
        config_of(
            {
                "tokenizer.template": template,
                "tokenizer.loader": loader,
                **{f"labels.{name}": value for name, value in options.items()},
            }
        ),
    )


def make_setups(models: Sequence[str | Tokenizer], ways: Sequence[str], config: Config) -> list[Setup]:
    """Return a set-up for each model and each way of making labels; a model is loaded once.

    Raises:
        ConfigError: There is no such way.
    """
    for way in ways:
        if way not in WAYS:
            raise ConfigError(say("inspection.no_such_way", way=way), help=", ".join(WAYS))
    loaded = [make_setup(model, config) for model in models]
    return [
        replace(setup, labels=replace(setup.labels, way=way))  # type: ignore[arg-type]
        for setup in loaded
        for way in ways
    ]


def open_records(data: Any, config: DataConfig, on_broken: OnBroken | None = None) -> Iterator[Record]:
    """Read records from paths, patterns or hub ids, or take rows that are in memory."""
    if isinstance(data, (str, Path)):
        return read_records([str(data)], config, on_broken=on_broken)
    if isinstance(data, (list, tuple)) and data and all(isinstance(one, (str, Path)) for one in data):
        return read_records([str(one) for one in data], config, on_broken=on_broken)
    if isinstance(data, Iterable) and not isinstance(data, Mapping):
        return records_of(data, config=config)
    raise DataError(say("inspection.not_data", kind=type(data).__name__), help=say("inspection.not_data_help"))


def is_collated(data: Any) -> bool:
    """Return whether something is a live Trainer or DataLoader, whose collator makes the labels."""
    return hasattr(data, "get_train_dataloader") or (hasattr(data, "collate_fn") and hasattr(data, "dataset"))


def open_any(data: Any, config: DataConfig) -> Iterator[Record]:
    """Read records from wherever they are: files, the hub, memory, or the collator of a live Trainer or DataLoader.

    Of a collator the rows come one at a time, in the order of the data set and not of the sampler, so that records keep
    their numbers.
    """
    if not is_collated(data):
        return open_records(data, config)
    loader = data.get_train_dataloader() if hasattr(data, "get_train_dataloader") else data
    return records_of(_collated(loader.dataset, loader.collate_fn))


def _collated(dataset: Any, collate: Callable[[list[Any]], Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    rows = (dataset[i] for i in range(len(dataset))) if hasattr(dataset, "__len__") else iter(dataset)
    for row in rows:
        batch = collate([row])
        kept = ("input_ids", "labels", "attention_mask")
        yield {key: _first_row(batch[key]) for key in kept if batch.get(key) is not None}


def _first_row(values: Any) -> list[int]:
    rows = values.tolist() if hasattr(values, "tolist") else values
    first: list[int] = rows[0] if rows and isinstance(rows[0], list) else rows
    return first
