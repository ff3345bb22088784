"""`finetooth demo`: the example that the package ships, one dialogue under three tokenizers with three endings."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

from finetooth.cli.color import paint
from finetooth.cli.options import Invocation, subcommand
from finetooth.config import Config, LabelsConfig
from finetooth.demo import EXAMPLE, TOKENIZERS, data_path, tokenizer_path
from finetooth.inspection import Selection, inspect_records, make_setups, open_records
from finetooth.messages import say
from finetooth.types import InspectedRecord

RESPONSE_TEMPLATE = "[/INST]"
"""What stands before an answer in the example. With a space at either end its ids would be others than in context."""


@subcommand("demo")
def command(invocation: Invocation) -> int | None:
    """Show the package's own example, and what it means."""
    bold = invocation.color
    width = shutil.get_terminal_size((100, 24)).columns
    inspected = look()
    lines = [
        paint(say("cli_demo.title"), "bold", enabled=bold),
        say("cli_demo.story"),
        "",
        _picture(inspected, width, invocation.color),
        "",
        paint(say("cli_demo.what_follows"), "bold", enabled=bold),
        *_endings(inspected),
        "",
        say("cli_demo.moral"),
        "",
        paint(say("cli_demo.next"), "bold", enabled=bold),
        f"  finetooth inspect {_shown(data_path(EXAMPLE))} --model {_shown(tokenizer_path('split'))} --ids",
        say("cli_demo.own"),
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    return None


def look() -> InspectedRecord:
    """Return the example under the three tokenizers, labelled as the removed collator of TRL labelled it."""
    config = Config(labels=LabelsConfig(way="completion-collator", response_template=RESPONSE_TEMPLATE))
    setups = make_setups([str(tokenizer_path(name)) for name in TOKENIZERS], ["completion-collator"], config)
    records = open_records(str(data_path(EXAMPLE)), config.data)
    for name, setup in zip(TOKENIZERS, setups, strict=True):
        # Where the package lies is of no interest here.
        setup.tokenizer.name = name
    inspected = next(inspect_records(records, setups, Selection(limit=1)))
    return replace(inspected, record=replace(inspected.record, where=EXAMPLE))


def _picture(inspected: InspectedRecord, width: int, color: bool) -> str:
    from finetooth.view.terminal import render_terminal

    return render_terminal(inspected, width=width, color=color, kept=24)


def _endings(inspected: InspectedRecord) -> list[str]:
    """Return a line for each tokenizer: the last labels, and what they teach."""
    from finetooth.view.summary import summarize

    rows = []
    for name, side in zip(TOKENIZERS, inspected.sides, strict=True):
        labels = ", ".join(str(token.label) for token in summarize(side).last)
        rows.append(f"  {name:<11} … {labels:<14} {say(f'cli_demo.ends_{name}')}")
    return rows


def _shown(path: Path) -> str:
    """Return a path as short as it can be typed from here."""
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) else str(path)
