"""`finetooth merge --sweep`: candidates merged and measured, the table printed, the page written beside the best."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import Any

import click

from finetooth.cli.options import Invocation
from finetooth.errors import ConfigError
from finetooth.merging.sweeping.axes import Point
from finetooth.messages import say

PAGE = "sweep.html"


def sweep(
    invocation: Invocation,
    config: Any,
    output: str,
    points: Sequence[Point],
    *,
    data: Sequence[str],
    num_prompts: int,
    max_new_tokens: int | None,
    style: tuple[str, ...],
    asked_chars: int | None,
    best_by: str,
    seed: int,
    force: bool,
    resume: bool,
    pace: Any,
) -> None:
    """Sweep, and show what came of it.

    Raises:
        ConfigError: There is no data to measure by.
    """
    if not data:
        raise ConfigError(say("sweeping.no_data"), where="--data", help="--data held-out.jsonl")
    from finetooth.documents import html, text
    from finetooth.merging.sweeping.measuring import Measures, names_of_data
    from finetooth.merging.sweeping.pages import document_of
    from finetooth.merging.sweeping.sweep import sweep
    from finetooth.writing import whole_file

    measures = Measures(
        data=names_of_data(data),
        config=invocation.config,
        num_prompts=num_prompts,
        max_new_tokens=max_new_tokens,
        style=style,
        asked_chars=asked_chars,
    )
    found = sweep(
        config,
        output,
        points,
        measures,
        best_by=best_by,
        seed=seed,
        force=force,
        resume=resume,
        pace=pace,
        tell=invocation.talk,
    )
    document = document_of(found)
    page = found.directory / PAGE
    with whole_file(page) as file:
        file.writelines(html.render(document))
    width = shutil.get_terminal_size((100, 24)).columns
    for piece in text.render(document, width=width, color=invocation.color):
        click.echo(piece, nl=False)
    invocation.talk(say("cli_merge.swept", page=str(page)))
