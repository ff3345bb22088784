"""`finetooth fix`: mend what a check finds, on a copy, and check again."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from finetooth.checking import SetupReport
from finetooth.cli.color import paint
from finetooth.cli.flags import SETUP_FLAGS
from finetooth.cli.help import columns
from finetooth.cli.inspect import tell_ignored
from finetooth.cli.options import Invocation, argument, option, subcommand
from finetooth.errors import ConfigError, FinetoothError
from finetooth.fix import Edit, Repaired, repair
from finetooth.fix.difference import file_difference
from finetooth.fix.install import install, install_in_place, refuse_output, stage_for
from finetooth.formats.report import fails
from finetooth.messages import say, set_language
from finetooth.rules import select_rules
from finetooth.types import Finding


@subcommand("fix", flags=(*SETUP_FLAGS, "check.select", "check.ignore", "check.fail_on", "check.processes"))
@argument("data", nargs=-1, required=True)
@option("-m", "--model", metavar="MODEL", help_key="cli_fix.model")
@option("-o", "--output", metavar="DIR", help_key="cli_fix.output")
@option("--diff", is_flag=True, help_key="cli_fix.diff")
@option("--unsafe", is_flag=True, help_key="cli_fix.unsafe")
@option("--force", is_flag=True, help_key="cli_fix.force")
@option("--in-place", is_flag=True, help_key="cli_fix.in_place")
@option("--format", "format_name", choices=("text", "json"), default="text", help_key="cli_fix.format")
def command(
    invocation: Invocation,
    data: tuple[str, ...],
    model: str | None,
    output: str | None,
    diff: bool,
    unsafe: bool,
    force: bool,
    in_place: bool,
    format_name: str,
) -> int | None:
    """Repair a model's small files and a data set."""
    config = invocation.config
    if model is None:
        raise ConfigError(say("cli_inspect.no_model"), where="--model", help=say("cli_inspect.no_model_help"))
    target = _target(data, model, output, diff=diff, force=force, in_place=in_place)
    if format_name == "json":
        set_language("en")
    tell_ignored(invocation, [config.labels.way])
    broken: list[FinetoothError] = []
    with stage_for(target) as stage:
        repaired = repair(
            data,
            model,
            config,
            stage,
            rules=select_rules(config.check.select, config.check.ignore),
            unsafe=unsafe,
            on_broken=broken.append if config.data.skip_broken else None,
            processes=config.check.processes or os.cpu_count() or 1,
        )
        names = _names(repaired, stage, target)
        if diff:
            for line in differences(repaired, stage, None if output is None else Path(output)):
                sys.stdout.write(line)
        elif in_place:
            written = install_in_place(repaired, force=force)
        elif target is not None:
            install(repaired, stage, target)
            written = [target / name for name in ("model", "data") if (target / name).is_dir()]
    if broken:
        first = str(broken[0]).replace("\n", " ")
        invocation.talk(say("cli_inspect.skipped", count=len(broken), first=first))
    if diff:
        invocation.talk(_shown("\n".join(_edit_lines(repaired, color=False)), names))
        return int(fails(repaired.before, config.check.fail_on))
    if format_name == "json":
        click.echo(_shown(json.dumps(to_json(repaired, written), ensure_ascii=False, indent=2), names))
    else:
        click.echo(_shown("\n".join(_text(repaired, color=invocation.color)), names))
        _tell(invocation, repaired, written, in_place=in_place)
    return int(fails(repaired.after, config.check.fail_on))


def _target(
    data: Sequence[str], model: str, output: str | None, *, diff: bool, force: bool, in_place: bool
) -> Path | None:
    """Return the output directory, or `None` where none is written; refuse what cannot be done before any work."""
    if in_place:
        if output is not None:
            raise ConfigError(say("cli_fix.both"), where="--in-place", help=say("cli_fix.where_to_help"))
        if not Path(model).expanduser().exists():
            raise ConfigError(
                say("cli_fix.hub_in_place", model=model), where="--in-place", help=say("cli_fix.where_to_help")
            )
    if diff or in_place:
        return None
    if output is None:
        raise ConfigError(say("cli_fix.where_to"), where="--output", help=say("cli_fix.where_to_help"))
    target = Path(output).expanduser()
    inputs = [Path(name).expanduser() for name in (model, *data)]
    refuse_output(target, force=force, inputs=[path for path in inputs if path.exists()])
    return target


def _names(repaired: Repaired, stage: Path, target: Path | None) -> dict[str, str]:
    """Return what the files on the stage are called where they go, for findings that name them."""
    if target is not None:
        return {str(stage): str(target)}
    names = {str(repaired.model.directory): str(repaired.model.source)}
    if repaired.data is not None:
        names |= {str(repaired.data.directory / file.name): file.source for file in repaired.data.files}
    return names


def _shown(text: str, names: Mapping[str, str]) -> str:
    for name, shown in names.items():
        text = text.replace(name, shown)
    return text


def differences(repaired: Repaired, stage: Path, output: Path | None) -> Iterator[str]:
    """Yield every edit as unified differences: of the model's files, then of the rows."""
    after = repaired.model.source if output is None else output / "model"
    for change in repaired.model.changes():
        name = str(repaired.model.source / change.name)
        yield from file_difference(change, name, str(after / change.name), say("cli_fix.one_line"))
    if repaired.data is not None:
        with (stage / "data.diff").open(encoding="utf-8", newline="") as file:
            yield from file


def to_json(repaired: Repaired, written: Sequence[Path]) -> dict[str, Any]:
    """Return what was done as plain JSON."""
    return {
        "model": repaired.fingerprint.model,
        "written": [str(path) for path in written],
        "edits": [edit.to_json() for edit in repaired.edits],
        "offered": [edit.to_json() for edit in repaired.offered],
        "left": [
            {
                "code": finding.code,
                "name": finding.name,
                "severity": finding.severity,
                "count": finding.count,
                "message": finding.message,
                "help": finding.help,
                "reason": next((left.text for left in repaired.left if finding.code in left.codes), None),
            }
            for finding in repaired.after.findings
        ],
        "before": _counts(repaired.before.parts[0]),
        "after": _counts(repaired.after.parts[0]),
        "label_hash": repaired.fingerprint.label_hash,
    }


def _counts(part: SetupReport) -> dict[str, Any]:
    return {"endings": dict(part.endings), "findings": _by_rule(part)}


def _by_rule(part: SetupReport) -> dict[str, int]:
    counts: dict[str, int] = {}
    for finding in part.findings:
        counts[finding.code] = counts.get(finding.code, 0) + finding.count
    return counts


def _text(repaired: Repaired, *, color: bool) -> Iterator[str]:
    yield from _edit_lines(repaired, color=color)
    before, after = repaired.before.parts[0], repaired.after.parts[0]
    heads = say("cli_fix.before"), say("cli_fix.after")
    endings = [
        (say(f"formats.ending_{branch.replace('-', '_')}"), before.endings.get(branch, 0), after.endings.get(branch, 0))
        for branch in dict.fromkeys((*before.endings, *after.endings))
    ]
    counts = _by_rule(before), _by_rule(after)
    names = {finding.code: finding.name for part in (before, after) for finding in part.findings}
    findings = [(f"{code} {names[code]}", counts[0].get(code, 0), counts[1].get(code, 0)) for code in sorted(names)]
    yield ""
    yield from _table([(say("formats.head_ending"), *heads), *endings], color=color)
    yield ""
    rows = findings or [(say("cli_fix.no_findings"), 0, 0)]
    yield from _table([(say("cli_fix.findings"), *heads), *rows], color=color)
    yield from _left_lines(repaired, color=color)


def _edit_lines(repaired: Repaired, *, color: bool) -> Iterator[str]:
    yield paint(say("cli_fix.mended" if repaired.edits else "cli_fix.nothing"), "bold", enabled=color)
    yield from map(_edit_line, repaired.edits)
    if repaired.offered:
        yield paint(say("cli_fix.with_unsafe"), "bold", enabled=color)
        yield from map(_edit_line, repaired.offered)


def _edit_line(edit: Edit) -> str:
    return f"  {' '.join(edit.codes)}  {edit.text}"


def _left_lines(repaired: Repaired, *, color: bool) -> Iterator[str]:
    """Yield what is left, worst first, each with its reason and remedy."""
    findings = [finding for finding in repaired.after.findings if finding.folded_under is None]
    codes = {finding.code for finding in repaired.after.findings}
    others = [left for left in repaired.left if not codes & set(left.codes)]
    if not findings and not others:
        return
    yield ""
    yield paint(say("cli_fix.left"), "bold", enabled=color)
    for finding in findings:
        yield from _left_finding(repaired, finding)
    for left in others:
        yield f"  {left.text}"
        if left.help:
            yield f"    {say('cli_fix.help_word')} {left.help}"


def _left_finding(repaired: Repaired, finding: Finding) -> Iterator[str]:
    severity = say(f"formats.severity_{finding.severity}")
    yield f"  {severity} {finding.code} {finding.name}: {finding.message}"
    remedy = finding.help
    for left in repaired.left:
        if finding.code in left.codes:
            yield f"    {left.text}"
            remedy = left.help or remedy
    if remedy:
        yield f"    {say('cli_fix.help_word')} {remedy}"


def _table(rows: Sequence[tuple[str, Any, Any]], *, color: bool) -> Iterator[str]:
    widths = [max(columns(str(row[place])) for row in rows) for place in range(3)]
    for number, row in enumerate(rows):
        cells = [str(cell) for cell in row]
        blanks = " " * (widths[0] - columns(cells[0]))
        rest = "".join("  " + " " * (widths[i] - columns(cells[i])) + cells[i] for i in (1, 2))
        # The head is out by two columns, as the words above a list are.
        head = paint(cells[0], "bold", enabled=color)
        yield f"{head}  {blanks}{rest}" if number == 0 else f"  {cells[0]}{blanks}{rest}"


def _tell(invocation: Invocation, repaired: Repaired, written: Sequence[Path], *, in_place: bool) -> None:
    """Say on stderr what was written, and what was not."""
    if written:
        invocation.talk(say("cli_fix.written", paths=", ".join(map(str, written))))
    if in_place or not written:
        return
    if repaired.data is None:
        invocation.talk(say("cli_fix.data_stays"))
    if repaired.model.left_out:
        invocation.talk(say("cli_fix.left_out", names=", ".join(repaired.model.left_out)))
        invocation.talk(say("cli_fix.left_out_help", path=written[0]))
