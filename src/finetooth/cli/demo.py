"""`finetooth demo`: the example that the package ships, one data set under three tokenizers with three endings.

One dialogue is looked at, all are checked, what is at fault is mended; then, where torch is installed, a toy model is
trained under each of the three, and the runs are compared.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from finetooth.cli.color import paint
from finetooth.cli.help import wrap
from finetooth.cli.options import Invocation, option, subcommand
from finetooth.demo import DIALOGUES, EXAMPLE, TOKENIZERS, data_path, story, tokenizer_path
from finetooth.demo.training import EPOCHS, RECIPE, RUNS, begin, can_train, train_and_compare, write_reports
from finetooth.messages import language, say
from finetooth.types import InspectedRecord
from finetooth.view.visible import harmless

PROSE_WIDTH = 100
"""Columns that prose takes at most; the picture takes the whole terminal."""


@subcommand("demo")
@option("-o", "--output", metavar="DIR", default="finetooth-demo", help_key="cli_demo.output")
@option("--train/--no-train", "wants_training", default=True, help_key="cli_demo.wants_training")
@option("--epochs", type=click.FloatRange(min=0, min_open=True), default=40.0, metavar="N", help_key="cli_demo.epochs")
@option("--merge", "merges", is_flag=True, help_key="cli_demo.merge")
@option("--open", "opens", is_flag=True, help_key="cli_demo.open")
def command(
    invocation: Invocation, output: str, wants_training: bool, epochs: float, merges: bool, opens: bool
) -> int | None:
    """Show the package's own example, and what comes of it."""
    width = shutil.get_terminal_size((PROSE_WIDTH, 24)).columns
    page = _Page(prose=min(width, PROSE_WIDTH), width=width, color=invocation.color)
    if merges:
        _merge(Path(output), epochs / EPOCHS, page, invocation, opens=opens)
        return None
    inspected = story.look()
    page.heading("title")
    page.paragraph("story")
    page.write(["", _picture(inspected, width, invocation.color), ""])
    page.heading("what_follows")
    page.write([*_endings(inspected, page.prose), ""])
    page.paragraph("moral")
    page.write([""])
    page.heading("check")
    page.write([*_causes(page.prose), ""])
    page.heading("mend")
    page.write([*_mended(page.prose), ""])
    if wants_training:
        page.heading("train")
        if can_train():
            _train(Path(output), epochs, page, invocation, opens=opens)
        else:
            page.paragraph("cannot_train")
        page.write([""])
    page.heading("next")
    page.write(_next(page.prose, Path(output) if wants_training and can_train() else None))
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Page:
    """Stdout, written part by part, so that a reader has something to read while the next is worked out."""

    prose: int
    width: int
    color: bool

    def heading(self, name: str) -> None:
        self.write(paint(line, "bold", enabled=self.color) for line in wrap(say(f"cli_demo.{name}"), self.prose))

    def paragraph(self, name: str, **values: object) -> None:
        self.write(wrap(say(f"cli_demo.{name}", **values), self.prose))

    def write(self, lines: Iterable[str]) -> None:
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stdout.flush()


def _train(directory: Path, epochs: float, page: _Page, invocation: Invocation, *, opens: bool) -> None:
    """Train the three set-ups, and show what the comparison says."""
    from finetooth.comparing.pages import excerpt_of
    from finetooth.comparing.writing import write
    from finetooth.documents import text

    recipe = begin(directory, epochs=epochs)
    page.paragraph("training", recipe=_shown(recipe), epochs=f"{epochs:g}")
    page.write([""])
    comparison = train_and_compare(recipe, tell=lambda sentence: None)
    page.write(["".join(text.render(excerpt_of(comparison), width=page.width, color=page.color))])
    file = directory / "comparison.html"
    write(comparison, file)
    page.paragraph("compared", page=_shown(file))
    reports = write_reports(directory)
    page.paragraph("reported", english=_shown(reports["en"]), japanese=_shown(reports["ja"]))
    if opens:
        click.launch(reports[language()].resolve().as_uri())


def _merge(directory: Path, share: float, page: _Page, invocation: Invocation, *, opens: bool) -> None:
    """Train two characters from one base, merge them in several ways, and show what came of each."""
    page.heading("merge_title")
    if not can_train():
        page.paragraph("cannot_train")
        return
    from finetooth.demo.merging import merge_two, train_two
    from finetooth.documents import html, text
    from finetooth.merging.sweeping.pages import document_of
    from finetooth.writing import whole_file

    page.paragraph("merge_story")
    page.write([""])
    runs = train_two(directory, share=share, tell=lambda sentence: None)
    found = merge_two(directory, runs, tell=invocation.talk)
    document = document_of(found)
    page.write(["".join(text.render(document, width=page.width, color=page.color))])
    for line in (found.candidates[0], *(one for one in found.candidates if one["name"] == found.best)):
        for sample in line["samples"][:2]:
            page.write([f"  {harmless(line['name'])}  {harmless(sample['question'])} → {harmless(sample['shown'])}"])
    file = found.directory / "sweep.html"
    with whole_file(file) as opened:
        opened.writelines(html.render(document))
    page.write([""])
    page.paragraph("merged", page=_shown(file))
    page.write([f"    {program()} compare {_shown(directory / RUNS)} {_shown(found.directory)}"])
    if opens:
        click.launch(file.resolve().as_uri())


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


def _next(width: int, demo: Path | None) -> Iterator[str]:
    """Yield commands to paste, each under what it does. They are not folded: what is copied has to stay whole."""
    own = f"{say('cli_demo.your_data')} --model {say('cli_demo.your_model')}"
    example = f"{_shown(data_path(EXAMPLE))} --model {_shown(tokenizer_path('split'))}"
    steps = [
        ("ids", f"inspect {example} --ids"),
        ("own", f"inspect {own} --labels trl"),
        ("own_check", f"check {own} --labels trl"),
        ("own_fix", f"fix {own} --labels trl --diff"),
    ]
    if demo is not None:
        run = demo / RUNS / "supervised"
        steps = [
            ("whole", f"compare {_shown(demo / RUNS)}"),
            ("paper", f"report {_shown(demo / RUNS)} -o report.pdf -o report.md"),
            ("talk", f"chat {_shown(run)}"),
            ("ask", f"probe {_shown(run)} --data {_shown(data_path(DIALOGUES['ja']))} -n 3"),
            *steps[1:],
            ("own_train", f"train {_shown(demo / RECIPE)} -o runs --dry-run"),
        ]
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
