"""`finetooth check`: the faults of a fine-tune that its loss curve hides, with their causes."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from finetooth.checking import Report, SetupReport, check_records
from finetooth.cli.flags import SETUP_FLAGS
from finetooth.cli.inspect import tell_ignored, tell_unchecked
from finetooth.cli.options import Invocation, argument, option, subcommand
from finetooth.cli.output import stdout_or
from finetooth.cli.progress import CheckProgress
from finetooth.errors import ConfigError, FinetoothError
from finetooth.formats.baseline import apply, read, write
from finetooth.formats.report import fails
from finetooth.inspection import make_setups, open_records
from finetooth.labels import WAYS, Setup
from finetooth.messages import say, set_language
from finetooth.rules import Rule, select_rules
from finetooth.writing import refuse_input

FORMATS = ("text", "json", "github", "sarif", "markdown", "html")
MACHINE_FORMATS = ("json", "github", "sarif")
"""Formats that other programs read; they stay English."""

_HELP = "finetooth check --help"
_MERGE_ALONE = "finetooth check --merge merge.yaml"


@subcommand(
    "check",
    flags=(
        *SETUP_FLAGS,
        "check.select",
        "check.ignore",
        "check.fail_on",
        "check.max_per_rule",
        "check.processes",
    ),
)
@argument("data", nargs=-1)
@option("-m", "--model", "models", multiple=True, metavar="MODEL", help_key="cli_inspect.model")
@option("--against", multiple=True, choices=tuple(WAYS), help_key="cli_check.against")
@option("--eval-data", multiple=True, metavar="DATA", help_key="cli_check.eval_data")
@option("--merge", "merges", multiple=True, metavar="CONFIG", help_key="cli_check.merge")
@option("--allow-pickle", is_flag=True, help_key="cli_check.allow_pickle")
@option("--format", "format_name", choices=FORMATS, default="text", help_key="cli_check.format")
@option("-o", "--output", metavar="FILE", help_key="cli_inspect.output")
@option("--exit-zero", is_flag=True, help_key="cli_check.exit_zero")
@option("--baseline", metavar="FILE", help_key="cli_check.baseline")
@option("--write-baseline", metavar="FILE", help_key="cli_check.write_baseline")
def command(
    invocation: Invocation,
    data: tuple[str, ...],
    models: tuple[str, ...],
    against: tuple[str, ...],
    eval_data: tuple[str, ...],
    merges: tuple[str, ...],
    allow_pickle: bool,
    format_name: str,
    output: str | None,
    exit_zero: bool,
    baseline: str | None,
    write_baseline: str | None,
) -> int | None:
    """Check a data set or a merge, and say what is wrong and why."""
    config = invocation.config
    if merges:
        given = next((name for name, value in {"DATA": data, "--model": models, "--against": against,
                                               "--eval-data": eval_data}.items() if value), None)  # fmt: skip
        if given is not None:
            raise ConfigError(say("cli_check.merge_and_data", name=given), where="--merge", help=_MERGE_ALONE)
    elif allow_pickle:
        what = say("cli_check.pickle_without_merge")
        raise ConfigError(what, where="--allow-pickle", help=_MERGE_ALONE)
    elif not data:
        raise ConfigError(say("cli.missing_argument", argument="DATA"), where="finetooth check", help=_HELP)
    elif not models:
        raise ConfigError(say("cli_inspect.no_model"), where="--model", help=say("cli_inspect.no_model_help"))
    if format_name in MACHINE_FORMATS:
        set_language("en")
    refuse_input(output, (*data, *eval_data, *merges))
    rules = select_rules(config.check.select, config.check.ignore)
    if merges:
        report = _check_merges(merges, rules, allow_pickle=allow_pickle)
    else:
        report = _check_data(
            invocation, data, eval_data, models, against, rules,
            tells=format_name != "text", keep_hashes=bool(baseline or write_baseline),
        )  # fmt: skip
    if write_baseline is not None:
        write(Path(write_baseline), report)
        invocation.talk(say("cli_check.baseline_written", path=write_baseline))
    if baseline is not None:
        report = _without_known(invocation, report, baseline, rules)
    with stdout_or(output) as file:
        color = invocation.color and file is sys.stdout
        fail_on = "never" if exit_zero or write_baseline is not None else config.check.fail_on
        for piece in _written(report, format_name, invocation, rules, data or merges, color=color, fail_on=fail_on):
            file.write(piece)
    if output is not None and output != "-":
        invocation.talk(say("cli_inspect.written", path=output))
    return int(fails(report, fail_on))


def _check_merges(merges: Sequence[str], rules: Sequence[Rule], *, allow_pickle: bool) -> Report:
    """Check merges by their configurations; data takes no part."""
    import tempfile

    from finetooth.merging.checks import check_configuration
    from finetooth.merging.configuration import load_merges

    parts: list[SetupReport] = []
    with tempfile.TemporaryDirectory() if allow_pickle else nullcontext() as folder:
        pickles = None if folder is None else Path(folder)
        for path in merges:
            parts += check_configuration(load_merges(Path(path)), shown=path, rules=rules, pickles=pickles)
    return Report(num_records=0, parts=tuple(parts))


def _check_data(
    invocation: Invocation,
    data: Sequence[str],
    eval_data: Sequence[str],
    models: Sequence[str],
    against: Sequence[str],
    rules: Sequence[Rule],
    *,
    tells: bool,
    keep_hashes: bool,
) -> Report:
    config = invocation.config
    setups = make_setups(models, list(dict.fromkeys([config.labels.way, *against])), config)
    if tells:
        tell_unchecked(invocation, setups)
    tell_ignored(invocation, [setup.labels.way for setup in setups])
    return _check(invocation, data, eval_data, setups, rules, keep_hashes=keep_hashes)


def _check(
    invocation: Invocation,
    data: Sequence[str],
    eval_data: Sequence[str],
    setups: Sequence[Setup],
    rules: Sequence[Rule],
    *,
    keep_hashes: bool,
) -> Report:
    config = invocation.config
    broken: list[FinetoothError] = []
    skip = broken.append if config.data.skip_broken else None
    parts: list[SetupReport] = []
    num_records = 0
    for name, sources in (("train", data), ("eval", eval_data)):
        if not sources:
            continue
        with CheckProgress(quiet=invocation.quiet) as progress:
            report = check_records(
                open_records(list(sources), config.data, skip),
                setups,
                rules,
                on_broken=skip,
                keep_hashes=keep_hashes,
                processes=config.check.processes or os.cpu_count() or 1,
                on_progress=progress,
            )
        parts += [replace(part, data=name) for part in report.parts]
        num_records += report.num_records
    if broken:
        first = str(broken[0]).replace("\n", " ")
        invocation.talk(say("cli_inspect.skipped", count=len(broken), first=first))
    return Report(num_records=num_records, parts=tuple(parts))


def _without_known(invocation: Invocation, report: Report, path: str, rules: Sequence[Rule]) -> Report:
    reduced, stale = apply(report, read(Path(path)), codes={rule.code for rule in rules})
    if stale:
        invocation.talk(say("cli_check.stale", count=len(stale), path=path))
    return reduced


def _written(
    report: Report,
    format_name: str,
    invocation: Invocation,
    rules: Sequence[Rule],
    data: Sequence[str],
    *,
    color: bool,
    fail_on: str,
) -> Iterator[str]:
    if format_name == "json":
        from finetooth.formats import jsonlines

        return jsonlines.render(report)
    if format_name == "github":
        from finetooth.formats import github

        return github.render(report)
    if format_name == "sarif":
        from finetooth.formats import sarif

        return sarif.render(report, rules)
    if format_name == "markdown":
        from finetooth.formats import markdown

        return markdown.render(report)
    if format_name == "html":
        from finetooth.formats import html

        return html.render(report, title=" ".join(Path(name).name for name in data))
    from finetooth.formats import text

    return text.render(
        report,
        width=shutil.get_terminal_size((100, 24)).columns,
        color=color,
        max_per_rule=invocation.config.check.max_per_rule,
        verbose=invocation.verbose,
        fail_on=fail_on,
    )
