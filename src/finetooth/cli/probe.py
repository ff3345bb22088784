"""`finetooth probe`: how a model's answers end."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from finetooth.cli.color import paint
from finetooth.cli.flags import DATA_FLAGS, TOKENIZER_FLAGS
from finetooth.cli.help import columns
from finetooth.cli.options import Invocation, argument, option, subcommand
from finetooth.messages import say, set_language
from finetooth.writing import refuse_input, whole_file

SHOWN = 6
"""Answers that are shown as text."""
_GOOD = {"stop": True}
"""Rates that had better be high; the others had better be low."""


@subcommand("probe", flags=(*TOKENIZER_FLAGS, *DATA_FLAGS))
@argument("model")
@option("--adapter", metavar="DIR", help_key="cli_probe.adapter")
@option("--data", multiple=True, metavar="DATA", help_key="cli_probe.data")
@option("--prompts", metavar="FILE", help_key="cli_probe.prompts")
@option("--system", metavar="TEXT", help_key="cli_probe.system")
@option("-n", "--limit", type=click.IntRange(min=1), metavar="N", help_key="cli_probe.limit")
@option("--max-new-tokens", type=click.IntRange(min=1), metavar="N", help_key="cli_probe.max_new_tokens")
@option("--batch-size", type=click.IntRange(min=1), default=16, metavar="N", help_key="cli_probe.batch_size")
@option("--style", multiple=True, metavar="REGEX", help_key="cli_probe.style")
@option("--asked-chars", type=click.IntRange(min=1), metavar="N", help_key="cli_probe.asked_chars")
@option("--format", "format_name", choices=("text", "json"), default="text", help_key="cli_probe.format")
@option("-o", "--output", metavar="FILE", help_key="cli_probe.output")
def command(
    invocation: Invocation,
    model: str,
    adapter: str | None,
    data: tuple[str, ...],
    prompts: str | None,
    system: str | None,
    limit: int | None,
    max_new_tokens: int | None,
    batch_size: int,
    style: tuple[str, ...],
    asked_chars: int | None,
    format_name: str,
    output: str | None,
) -> None:
    """Let a model answer, and tell how its answers end."""
    if format_name == "json":
        set_language("en")
    refuse_input(output, [*data, *([prompts] if prompts else [])])
    from finetooth.probing.probe import probe

    report = probe(
        model,
        data=data or None,
        prompts=prompts,
        adapter=adapter,
        system=system,
        limit=limit,
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
        style=style,
        asked_chars=asked_chars,
        config=invocation.config,
        on_progress=_progress(invocation),
    )
    text = json.dumps(report.to_json(), ensure_ascii=False, indent=2) + "\n"
    if output is not None and output != "-":
        with whole_file(Path(output)) as file:
            file.write(text)
        invocation.talk(say("cli_probe.written", path=output))
    if format_name == "json" or output == "-":
        click.echo(text, nl=False)
    else:
        for line in _text(report, invocation):
            click.echo(line)


def _progress(invocation: Invocation) -> Any:
    if not sys.stderr.isatty() or invocation.quiet:
        return None

    def show(done: int) -> None:
        sys.stderr.write("\r\x1b[K" + say("cli_probe.progress", done=f"{done:,}") + "\r")
        sys.stderr.flush()

    return show


def _text(report: Any, invocation: Invocation) -> Iterator[str]:
    ids = ", ".join(map(str, report.stop_ids)) or say("cli_probe.no_stops")
    head = say("cli_probe.head", model=report.model, count=report.num_prompts, tokens=report.max_new_tokens, ids=ids)
    yield paint(head, "bold", enabled=invocation.color)
    rows = [
        (say(f"cli_probe.{name}"), f"{count} / {report.num_prompts}", report.interval(name))
        for name, count in report.counts.items()
    ]
    width = max(columns(label) for label, _, _ in rows)
    for (label, count, (low, high)), name in zip(rows, report.counts, strict=True):
        line = (
            f"  {label}{' ' * (width - columns(label))}  {count:>11}  {report.rate(name):4.0%}  [{low:.0%}, {high:.0%}]"
        )
        bad = report.counts[name] < report.num_prompts if name in _GOOD else report.counts[name] > 0
        yield paint(line, "red" if bad else "green", enabled=invocation.color)
    values = report.to_json()
    yield f"  {say('cli_probe.chars')}{' ' * (width - columns(say('cli_probe.chars')))}  {values['mean_chars']:11.1f}"
    if report.asked_chars is not None:
        yield f"  {say('cli_probe.in_length', asked=report.asked_chars)}  {values['in_length_rate']:.0%}"
    for one in values["style"]:
        yield f"  {one['pattern']}  {one['rate']:.0%}"
    yield say("cli_probe.samples")
    for answer in report.samples[:SHOWN]:
        question = answer.prompt.question.replace("\n", "↵")
        yield f"  {question} → {answer.shown.strip()[:200]!r}"
