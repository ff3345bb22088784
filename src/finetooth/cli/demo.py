"""`finetooth demo`: the example that the package ships, one dialogue under three tokenizers with three endings."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from finetooth.cli.color import paint
from finetooth.cli.help import wrap
from finetooth.cli.options import Invocation, subcommand
from finetooth.demo import EXAMPLE, TOKENIZERS, data_path, story, tokenizer_path
from finetooth.messages import say
from finetooth.types import InspectedRecord

PROSE_WIDTH = 100
"""Columns that prose takes at most; the picture takes the whole terminal."""


@subcommand("demo")
def command(invocation: Invocation) -> int | None:
    """Show the package's own example, and what it means."""
    width = shutil.get_terminal_size((PROSE_WIDTH, 24)).columns
    prose = min(width, PROSE_WIDTH)
    inspected = story.look()

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
        *heading("check"),
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
    lines = [*_causes(prose), "", *heading("mend"), *_mended(prose), "", *heading("next"), *_next(prose)]
    sys.stdout.write("\n".join(lines) + "\n")
    return None


def _picture(inspected: InspectedRecord, width: int, color: bool) -> str:
    from finetooth.view.terminal import render_terminal

    return render_terminal(inspected, width=width, color=color, kept=24)


def _endings(inspected: InspectedRecord, width: int) -> Iterator[str]:
    """Yield for each tokenizer the last labels, and what they teach: beside them where there is room, else below."""
    from finetooth.view.summary import summarize

    for name, side in zip(TOKENIZERS, inspected.sides, strict=True):
        labels = ", ".join(str(token.label) for token in summarize(side).last)
        yield from _beside(f"  {name:<11} … {labels:<14} ", say(f"cli_demo.ends_{name}"), width)


def _beside(head: str, said: str, width: int) -> Iterator[str]:
    """Yield a sentence beside what it is about where there is room, else below."""
    indent = len(head) if width >= 2 * len(head) else 4
    told = [" " * indent + line for line in wrap(said, width - indent)]
    if indent == len(head):
        told[0] = head + told[0][indent:]
    else:
        yield head.rstrip()
    yield from told


def _causes(width: int) -> Iterator[str]:
    """Yield for each tokenizer what a check of all dialogues finds, and why."""
    for name, part in story.check().items():
        finding = story.worst_finding(part)
        if finding is None:
            yield from _beside(f"  {name:<11} ", say("cli_demo.healthy", total=part.num_records), width)
            continue
        said = say("cli_demo.found", code=finding.code, name=finding.name, count=finding.count, total=part.num_records)
        yield from _beside(f"  {name:<11} ", said, width)
        why = finding.cause.text if finding.cause else finding.message
        # The file is enough; where the package lies is of no interest here.
        why = why.replace(f"{tokenizer_path(name)}{os.sep}", "")
        yield from (f"    {line}" for line in wrap(why, width - 4))


def _mended(width: int) -> Iterator[str]:
    """Mend the two that are at fault, and yield what was done and what a check finds then."""
    for name in TOKENIZERS[:2]:
        with tempfile.TemporaryDirectory() as folder:
            mended = story.mend(name, Path(folder))
        said = say("cli_demo.mended", before=mended.stop_before, after=mended.stop_after, total=mended.num_records)
        yield from _beside(f"  {name:<11} ", said, width)
        for edit in mended.edits:
            yield from (f"    {line}" for line in wrap(edit, width - 4))


def _next(width: int) -> Iterator[str]:
    """Yield commands to paste, each under what it does. They are not folded: what is copied has to stay whole."""
    own = f"{say('cli_demo.your_data')} --model {say('cli_demo.your_model')}"
    example = f"{_shown(data_path(EXAMPLE))} --model {_shown(tokenizer_path('split'))}"
    steps = (
        ("ids", f"inspect {example} --ids"),
        ("own", f"inspect {own} --labels trl"),
        ("own_check", f"check {own} --labels trl"),
        ("own_fix", f"fix {own} --labels trl --diff"),
    )
    for name, arguments in steps:
        yield from (f"  {line}" for line in wrap(say(f"cli_demo.{name}"), width - 2))
        yield f"    {program()} {arguments}"


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
