"""`finetooth report`: the progress report of runs, merges and inspected data."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from finetooth.cli.flags import SETUP_FLAGS
from finetooth.cli.options import Invocation, argument, option, subcommand
from finetooth.errors import ConfigError
from finetooth.messages import say


@subcommand("report", flags=SETUP_FLAGS)
@argument("runs", nargs=-1)
@option("--inspect", multiple=True, metavar="DATA", help_key="cli_report.inspect")
@option("-m", "--model", "models", multiple=True, metavar="MODEL", help_key="cli_report.models")
@option("--since", metavar="RUN", help_key="cli_report.since")
@option("--data", multiple=True, metavar="DATA", help_key="cli_report.data")
@option("--title", metavar="TEXT", help_key="cli_report.title")
@option("--author", metavar="TEXT", help_key="cli_report.author")
@option("--without", multiple=True, metavar="SECTION", help_key="cli_report.without")
@option("--text", "texts", multiple=True, metavar="SECTION=FILE", help_key="cli_report.texts")
@option("--samples", type=click.IntRange(min=0), default=4, metavar="N", help_key="cli_report.samples")
@option(
    "--format",
    "format_name",
    choices=("text", "markdown", "html", "slides"),
    help_key="cli_report.format",
)
@option("-o", "--output", multiple=True, metavar="FILE", help_key="cli_report.output")
def command(
    invocation: Invocation,
    runs: tuple[str, ...],
    inspect: tuple[str, ...],
    models: tuple[str, ...],
    since: str | None,
    data: tuple[str, ...],
    title: str | None,
    author: str | None,
    without: tuple[str, ...],
    texts: tuple[str, ...],
    samples: int,
    format_name: str | None,
    output: tuple[str, ...],
) -> None:
    """Write the progress report."""
    from finetooth.reporting.progress import report
    from finetooth.reporting.writing import format_of, refuse_slides, render, write

    paths = [Path(one) for one in output if one != "-"]
    for path in paths:
        refuse_slides(path) if format_name == "slides" else format_of(path)
    made = report(
        *runs,
        inspect=inspect,
        model=models,
        since=since,
        data=data or None,
        title=title,
        author=author,
        without=without,
        texts=dict(_section_and_file(one) for one in texts),
        num_samples=samples,
        config=invocation.config,
    )
    for path in paths:
        for written in write(made, path, slides=format_name == "slides", tell=invocation.talk):
            invocation.talk(say("cli_report.written", path=written))
    if not paths or "-" in output:
        width = shutil.get_terminal_size((100, 24)).columns
        chosen = format_name or "text"
        for piece in render(made, chosen, width=width, color=invocation.color):  # type: ignore[arg-type]
            click.echo(piece, nl=False)


def _section_and_file(given: str) -> tuple[str, str]:
    """Return the section and the file of `SECTION=FILE`."""
    section, sign, file = given.partition("=")
    if not (section and sign and file):
        raise ConfigError(say("cli_report.bad_text", given=given), where="--text", help="--text next=next.md")
    return section, file
