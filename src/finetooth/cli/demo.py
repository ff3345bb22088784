"""`finetooth demo`: the example that the package ships, one dialogue under three tokenizers with three endings."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from finetooth.cli.color import paint
from finetooth.cli.help import wrap
from finetooth.cli.options import Invocation, subcommand
from finetooth.config import Config, LabelsConfig
from finetooth.demo import EXAMPLE, TOKENIZERS, data_path, tokenizer_path
from finetooth.inspection import Selection, inspect_records, make_setups, open_records
from finetooth.messages import say
from finetooth.types import InspectedRecord

RESPONSE_TEMPLATE = "[/INST]"
"""What stands before an answer in the example. With a space at either end its ids would be others than in context."""

PROSE_WIDTH = 100
"""Columns that prose takes at most; the picture takes the whole terminal."""


@subcommand("demo")
def command(invocation: Invocation) -> int | None:
    """Show the package's own example, and what it means."""
    width = shutil.get_terminal_size((PROSE_WIDTH, 24)).columns
    prose = min(width, PROSE_WIDTH)
    inspected = look()

    def heading(name: str) -> list[str]:
        return [paint(line, "bold", enabled=invocation.color) for line in wrap(say(f"cli_demo.{name}"), prose)]

    lines = [
        *heading("title"),
        *wrap(say("cli_demo.story"), prose),
        "",
        _picture(inspected, width, invocation.color),
        "",
        *heading("what_follows"),
        *_endings(inspected, prose),
        "",
        *wrap(say("cli_demo.moral"), prose),
        "",
        *heading("next"),
        *_next(prose),
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


def _endings(inspected: InspectedRecord, width: int) -> Iterator[str]:
    """Yield for each tokenizer the last labels, and what they teach: beside them where there is room, else below."""
    from finetooth.view.summary import summarize

    for name, side in zip(TOKENIZERS, inspected.sides, strict=True):
        labels = ", ".join(str(token.label) for token in summarize(side).last)
        head = f"  {name:<11} … {labels:<14} "
        indent = len(head) if width >= 2 * len(head) else 4
        told = [" " * indent + line for line in wrap(say(f"cli_demo.ends_{name}"), width - indent)]
        if indent == len(head):
            told[0] = head + told[0][indent:]
        else:
            yield head.rstrip()
        yield from told


def _next(width: int) -> Iterator[str]:
    """Yield commands to paste, each under what it does. They are not folded: what is copied has to stay whole."""
    own = f"{say('cli_demo.your_data')} --model {say('cli_demo.your_model')}"
    example = f"{_shown(data_path(EXAMPLE))} --model {_shown(tokenizer_path('split'))}"
    for name, arguments in (("ids", f"{example} --ids"), ("own", own), ("own_trl", f"{own} --labels trl")):
        yield from (f"  {line}" for line in wrap(say(f"cli_demo.{name}"), width - 2))
        yield f"    {program()} inspect {arguments}"


def program() -> str:
    """Return what starts finetooth from a shell here: its name where the shell finds it, else as it was started."""
    if shutil.which("finetooth"):
        return "finetooth"
    started = Path(sys.argv[0])
    if started.stem == "finetooth":
        return _shown(started)
    return f"{_shown(Path(sys.executable))} -m finetooth"


def _shown(path: Path) -> str:
    """Return a path as short as it can be typed from here, quoted where a shell needs it."""
    relative = os.path.relpath(path)
    return shlex.quote(relative if len(relative) < len(str(path)) else str(path))
