"""`finetooth inspect`: which tokens of some records are supervised, tokenizer by tokenizer."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import IO

from finetooth.cli.flags import SETUP_FLAGS
from finetooth.cli.options import Invocation, argument, option, subcommand
from finetooth.cli.output import stdout_or
from finetooth.config import keys
from finetooth.errors import ConfigError, FinetoothError
from finetooth.inspection import Selection, inspect_records, make_setups, open_records
from finetooth.labels import READS, WAYS, Setup
from finetooth.messages import say
from finetooth.types import InspectedRecord
from finetooth.writing import refuse_input

FORMATS = ("text", "json", "html")

_RECORDS_IN_HTML = 100
"""A page of more records than this is slow to open; more are shown where they are asked for by number or sample."""


@subcommand("inspect", flags=SETUP_FLAGS)
@argument("data", nargs=-1, required=True)
@option("-m", "--model", "models", multiple=True, metavar="MODEL", help_key="cli_inspect.model")
@option("--against", multiple=True, choices=tuple(WAYS), help_key="cli_inspect.against")
@option("-n", "--record", "numbers", multiple=True, type=int, metavar="N", help_key="cli_inspect.record")
@option("--sample", type=int, metavar="K", help_key="cli_inspect.sample")
@option("--all", "everything", is_flag=True, help_key="cli_inspect.all")
@option("--format", "format_name", choices=FORMATS, default="text", help_key="cli_inspect.format")
@option("-o", "--output", metavar="FILE", help_key="cli_inspect.output")
@option("--ids", "show_ids", is_flag=True, help_key="cli_inspect.ids")
@option("--diff", is_flag=True, help_key="cli_inspect.diff")
@option("--full", is_flag=True, help_key="cli_inspect.full")
def command(
    invocation: Invocation,
    data: tuple[str, ...],
    models: tuple[str, ...],
    against: tuple[str, ...],
    numbers: tuple[int, ...],
    sample: int | None,
    everything: bool,
    format_name: str,
    output: str | None,
    show_ids: bool,
    diff: bool,
    full: bool,
) -> int | None:
    """Show which tokens of some records are supervised."""
    config = invocation.config
    if not models:
        raise ConfigError(say("cli_inspect.no_model"), where="--model", help=say("cli_inspect.no_model_help"))
    ways = list(dict.fromkeys([config.labels.way, *against]))
    setups = make_setups(models, ways, config)
    if diff and len(setups) < 2:
        raise ConfigError(say("cli_inspect.diff_of_one"), where="--diff", help=say("cli_inspect.diff_of_one_help"))
    tell_unchecked(invocation, setups)
    tell_ignored(invocation, ways)
    drawn = [name for name, given in (("--ids", show_ids), ("--diff", diff), ("--full", full)) if given]
    for name in drawn if format_name != "text" else []:
        invocation.talk(say("cli_inspect.ignored", flag=name, format=format_name))
    refuse_input(output, data)
    broken: list[FinetoothError] = []
    skip = broken.append if config.data.skip_broken else None
    selection = _selection(numbers, sample, everything, format_name)
    records = open_records(list(data), config.data, skip)
    inspected = inspect_records(records, setups, selection, skip)
    # The first record is made before anything is written, so that an error leaves no empty file and no half a page.
    first = next(inspected, None)
    if first is None and broken:
        # Nothing of the data can be shown: then it is no success with rows left out.
        raise broken[0]
    with stdout_or(output) as file:
        if format_name == "json":
            _write_json(file, _from(first, inspected))
        elif format_name == "html":
            _write_html(file, _from(first, inspected), data)
        else:
            from finetooth.view.sides import KEPT
            from finetooth.view.terminal import render_terminal

            draw = partial(
                render_terminal,
                width=shutil.get_terminal_size((100, 24)).columns,
                color=invocation.color and file is sys.stdout,
                show_ids=show_ids,
                diff=diff,
                kept=None if full else KEPT,
            )
            _write_text(file, _from(first, inspected), draw)
    _tell(invocation, broken, output)
    return None


def tell_ignored(invocation: Invocation, ways: Sequence[str]) -> None:
    """Say on stderr which settings have no effect with any of the ways of making labels."""
    read = set[str]().union(*(READS[way] for way in ways))
    for key in keys():
        section, _, name = key.partition(".")
        if section == "labels" and name not in (*read, "way") and (origin := invocation.origin(key)) != "default":
            invocation.talk(say("labels.ignored", flag=origin, way=" ".join(ways)))


def tell_unchecked(invocation: Invocation, setups: Sequence[Setup]) -> None:
    """Say on stderr which tokenizers transformers may load otherwise."""
    for tokenizer in dict.fromkeys(setup.tokenizer for setup in setups):
        if tokenizer.unchecked:
            invocation.talk(f"{tokenizer.name}: {say('tokenizer.unchecked', reason=tokenizer.unchecked)}")


def _selection(numbers: Sequence[int], sample: int | None, everything: bool, format_name: str) -> Selection:
    if numbers or sample is not None or everything or format_name == "json":
        if any(number < 0 for number in numbers):
            raise ConfigError(say("cli_inspect.negative"), where=f"--record {min(numbers)}", help="--record 0")
        return Selection(records=tuple(numbers), sample=sample)
    return Selection(limit=_RECORDS_IN_HTML if format_name == "html" else 1)


def _from(first: InspectedRecord | None, rest: Iterable[InspectedRecord]) -> Iterator[InspectedRecord]:
    if first is not None:
        yield first
    yield from rest


def _write_json(file: IO[str], inspected: Iterable[InspectedRecord]) -> None:
    from finetooth.view.jsonlines import to_json

    for one in inspected:
        for side in one.sides:
            file.write(json.dumps(to_json(side.encoded), ensure_ascii=False) + "\n")


def _write_html(file: IO[str], inspected: Iterable[InspectedRecord], data: Sequence[str]) -> None:
    from finetooth.view.html import render_html

    for piece in render_html(inspected, title=" ".join(Path(name).name for name in data)):
        file.write(piece)


def _write_text(file: IO[str], inspected: Iterable[InspectedRecord], draw: Callable[..., str]) -> None:
    held: InspectedRecord | None = None
    for one in inspected:
        if held is not None:
            file.write(draw(held, legend=False) + "\n\n")
        held = one
    if held is not None:
        # The signs are explained once, under the last record.
        file.write(draw(held, legend=True) + "\n")


def _tell(invocation: Invocation, broken: Sequence[FinetoothError], output: str | None) -> None:
    """Say on stderr what was skipped, and where the result lies."""
    if broken:
        invocation.talk(say("cli_inspect.skipped", count=len(broken), first=str(broken[0]).replace("\n", " ")))
    if output is not None and output != "-":
        invocation.talk(say("cli_inspect.written", path=output))
