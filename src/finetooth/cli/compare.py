"""`finetooth compare`: runs side by side."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from finetooth.cli.flags import SETUP_FLAGS
from finetooth.cli.options import Invocation, argument, option, subcommand
from finetooth.errors import ConfigError
from finetooth.messages import say, set_language


@subcommand("compare", flags=SETUP_FLAGS)
@argument("runs", nargs=-1, required=True)
@option("--data", multiple=True, metavar="DATA", help_key="cli_compare.data")
@option("--samples", type=click.IntRange(min=0), default=4, metavar="N", help_key="cli_compare.samples")
@option(
    "--format",
    "format_name",
    choices=("text", "markdown", "html", "png", "json"),
    default="text",
    help_key="cli_compare.format",
)
@option("-o", "--output", multiple=True, metavar="FILE", help_key="cli_compare.output")
def command(
    invocation: Invocation,
    runs: tuple[str, ...],
    data: tuple[str, ...],
    samples: int,
    format_name: str,
    output: tuple[str, ...],
) -> None:
    """Set runs side by side."""
    from finetooth.comparing.comparison import compare
    from finetooth.comparing.writing import format_of, render, write

    paths = [Path(one) for one in output if one != "-"]
    for path in paths:
        format_of(path)
    if format_name == "png":
        raise ConfigError(say("cli_compare.no_png_on_stdout"), where="--format png", help="-o comparison.png")
    if format_name == "json":
        set_language("en")
    comparison = compare(*runs, data=data or None, num_samples=samples, config=invocation.config)
    for path in paths:
        for written in write(comparison, path, tell=invocation.talk):
            invocation.talk(say("cli_compare.written", path=written))
    if not paths or "-" in output:
        width = shutil.get_terminal_size((100, 24)).columns
        for piece in render(comparison, format_name, width=width, color=invocation.color):  # type: ignore[arg-type]
            click.echo(piece, nl=False)
