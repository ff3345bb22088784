"""`finetooth persona`: training rows under a persona's prompt, and answers held against its sheet."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import click

from finetooth.cli.color import paint
from finetooth.cli.flags import DATA_FLAGS, TOKENIZER_FLAGS
from finetooth.cli.groups import Group
from finetooth.cli.help import columns
from finetooth.cli.options import Invocation, argument, option, subcommand
from finetooth.cli.output import stdout_or
from finetooth.cli.progress import CheckProgress
from finetooth.errors import ConfigError, DataError, FinetoothError
from finetooth.messages import say, set_language
from finetooth.personas.building import BuildReport, build_rows
from finetooth.personas.checking import MEASURES, MeasuredAnswer, PersonaReport, answers_of, answers_of_probe
from finetooth.runs import PROBE
from finetooth.view.visible import cells, harmless
from finetooth.writing import refuse_input, whole_file

SHOWN = 5
"""Answers and contradictions that are shown as text."""

_LINES = (".jsonl", ".ndjson", "")
"""Endings under which rows of lines are read again."""


@subcommand("persona_build", flags=("tokenizer.loader", "tokenizer.revision", *DATA_FLAGS))
@argument("data", nargs=-1, required=True)
@option("-p", "--persona", "sheet", metavar="FILE", required=True, help_key="cli_persona.sheet")
@option("-m", "--model", metavar="MODEL", required=True, help_key="cli_persona_build.model")
@option("-o", "--output", metavar="FILE", help_key="cli_persona_build.output")
def build(invocation: Invocation, data: tuple[str, ...], sheet: str, model: str, output: str | None) -> int:
    """Make training rows of plain dialogues."""
    from finetooth.inspection import open_records
    from finetooth.personas.prompt import PersonaPrompt
    from finetooth.personas.reading import load_persona
    from finetooth.tokenizer import load_tokenizer

    config = invocation.config
    refuse_input(output, [*data, sheet])
    if output not in (None, "-") and Path(str(output)).suffix.lower() not in _LINES:
        raise ConfigError(say("cli_persona_build.not_lines", path=output), where="--output", help="-o rows.jsonl")
    persona = load_persona(sheet)
    wanted = config.tokenizer
    prompt = PersonaPrompt(
        persona, load_tokenizer(wanted.path or model, loader=wanted.loader, revision=wanted.revision)
    )
    report = BuildReport()
    broken: list[FinetoothError] = []
    num_broken = 0

    def skipped(error: FinetoothError) -> None:
        nonlocal num_broken
        num_broken += 1
        if not broken:
            broken.append(error)

    records = open_records(data, config.data, on_broken=skipped if config.data.skip_broken else None)
    with CheckProgress(quiet=invocation.quiet) as update, stdout_or(output) as file:
        for row in build_rows(records, prompt, report):
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            update(report.num_rows)
        if report.num_rows == 0:
            reason = next(iter(report.refusals), "")
            raise DataError(
                say("cli_persona_build.no_row", count=report.num_refused, reason=reason),
                where=report.first_places.get(reason, ", ".join(data)),
                help=say("personas.turns_help"),
            )
    for sentence in _summary(report):
        invocation.talk(sentence)
    if broken:
        first = str(broken[0]).replace("\n", " ")
        invocation.talk(say("cli_inspect.skipped", count=num_broken, first=first))
    if output not in (None, "-"):
        invocation.talk(say("cli_persona_build.written", path=output))
    return int(report.num_refused > 0)


def _summary(report: BuildReport) -> Iterator[str]:
    yield say(
        "cli_persona_build.rows",
        rows=f"{report.num_rows:,}",
        turns=f"{report.num_turns:,}",
        with_facts=f"{report.num_turns_with_facts:,}",
        share=f"{report.num_turns_with_facts / max(1, report.num_turns):.0%}",
        mean=f"{report.mean_facts:.2f}",
    )
    if report.num_replaced:
        yield say("cli_persona_build.replaced", count=f"{report.num_replaced:,}")
    if report.num_refused:
        yield say("cli_persona_build.refused", count=f"{report.num_refused:,}")
    for reason, count in report.refusals.most_common():
        yield f"  {count:,}  {harmless(reason)}  --> {harmless(report.first_places[reason])}"


@subcommand("persona_check", flags=(*TOKENIZER_FLAGS, *DATA_FLAGS))
@argument("answers", nargs=-1)
@option("-p", "--persona", "sheet", metavar="FILE", required=True, help_key="cli_persona.sheet")
@option("-m", "--model", metavar="MODEL", help_key="cli_persona_check.model")
@option("--adapter", metavar="DIR", help_key="cli_probe.adapter")
@option("--data", multiple=True, metavar="DATA", help_key="cli_persona_check.data")
@option("--prompts", metavar="FILE", help_key="cli_persona_check.prompts")
@option("-n", "--limit", type=click.IntRange(min=1), metavar="N", help_key="cli_probe.limit")
@option("--max-new-tokens", type=click.IntRange(min=1), metavar="N", help_key="cli_probe.max_new_tokens")
@option("--batch-size", type=click.IntRange(min=1), default=16, metavar="N", help_key="cli_probe.batch_size")
@option("--fail-under", type=click.FloatRange(0, 1), metavar="SHARE", help_key="cli_persona_check.fail_under")
@option("--format", "format_name", choices=("text", "json"), default="text", help_key="cli_persona_check.format")
@option("-o", "--output", metavar="FILE", help_key="cli_persona_check.output")
def check(
    invocation: Invocation,
    answers: tuple[str, ...],
    sheet: str,
    model: str | None,
    data: tuple[str, ...],
    prompts: str | None,
    fail_under: float | None,
    format_name: str,
    output: str | None,
    **asking: Any,
) -> int:
    """Hold answers against a persona's sheet."""
    if format_name == "json":
        set_language("en")
    _refuse_sources(answers, model, data, prompts, asking)
    refuse_input(output, [*answers, *data, sheet, *([prompts] if prompts else [])])
    from finetooth.personas.reading import load_persona

    persona = load_persona(sheet)
    with CheckProgress(quiet=invocation.quiet) as update:
        if model is not None:
            from finetooth.personas.asking import ask_model

            report = ask_model(
                model, persona, data=data, prompts=prompts, config=invocation.config, on_progress=update, **asking
            )
        else:
            from finetooth.personas.checking import check_answers

            spoken = _spoken(invocation, answers, asking["limit"], update)
            report = check_answers(spoken, persona)
    text = json.dumps(report.to_json(), ensure_ascii=False, indent=2) + "\n"
    if output is not None and output != "-":
        with whole_file(Path(output)) as file:
            file.write(text)
        invocation.talk(say("cli_probe.written", path=output))
    if format_name == "json" or output == "-":
        click.echo(text, nl=False)
    else:
        for line in _text(report, color=invocation.color, width=shutil.get_terminal_size((100, 24)).columns):
            click.echo(line)
    return int(_fails(report, fail_under))


def _refuse_sources(
    answers: tuple[str, ...], model: str | None, data: tuple[str, ...], prompts: str | None, asking: dict[str, Any]
) -> None:
    """Refuse what cannot be told apart: answers that are there, and a model to be asked."""
    help_line = "finetooth persona check --help"
    if (model is None) == (not answers):
        raise ConfigError(say("cli_persona_check.one_source"), where="finetooth persona check", help=help_line)
    if model is not None and bool(data) == (prompts is not None):
        raise ConfigError(say("probing.one_source"), where="--data", help="--data dialogues.jsonl")
    if model is None:
        for name, value in {"data": data or None, "prompts": prompts, **asking}.items():
            if value is not None and name in ("data", "prompts", "adapter", "max_new_tokens"):
                flag = "--" + name.replace("_", "-")
                raise ConfigError(say("cli_persona_check.needs_model", flag=flag), where=flag, help="--model DIR")


def _spoken(invocation: Invocation, answers: tuple[str, ...], limit: int | None, update: Any) -> Iterator[Any]:
    """Yield the answers of data files, of the directories of runs, and of what probes wrote."""
    from finetooth.inspection import open_records

    number = 0
    for source in answers:
        path = Path(source)
        if path.is_dir():
            within = sorted(path.glob(f"*/{PROBE}")) if not (path / PROBE).is_file() else []
            found: Iterator[Any] = chain.from_iterable(map(answers_of_probe, within or [path / PROBE]))
        elif _is_probe(path):
            found = answers_of_probe(path)
        else:
            found = answers_of(open_records([source], invocation.config.data))
        for one in found:
            if limit is not None and number >= limit:
                return
            number += 1
            update(number)
            yield one


def _is_probe(path: Path) -> bool:
    """Return whether a file is what `finetooth probe` writes, whatever its name is."""
    if path.suffix.lower() != ".json" or not path.is_file():
        return False
    if path.name == PROBE:
        return True
    with path.open("rb") as file:
        head = file.read(4096).lstrip()
    return head.startswith(b"{") and b'"num_prompts"' in head


def _fails(report: PersonaReport, fail_under: float | None) -> bool:
    """Return whether something was found: a contradiction or a terminator, or a share that is too small."""
    if report.num_contradictions or report.share("unleaked") < 1:
        return True
    return fail_under is not None and any(report.share(name) < fail_under for name in report.counts)


def _text(report: PersonaReport, *, color: bool, width: int) -> Iterator[str]:
    values = {"name": harmless(report.persona.name), "count": f"{report.num_answers:,}"}
    yield paint(say("cli_persona_check.head", **values), "bold", enabled=color)
    total = report.num_answers
    rows = [(say(f"cli_persona_check.{name}"), report.counts[name]) for name in MEASURES if name in report.counts]
    label_width = max(columns(label) for label, _ in rows)
    names = [name for name in MEASURES if name in report.counts]
    for (label, count), name in zip(rows, names, strict=True):
        low, high = report.interval(name)
        line = (
            f"  {label}{' ' * (label_width - columns(label))}  {f'{count:,} / {total:,}':>15}"
            f"  {count / total:4.0%}  [{low:.0%}, {high:.0%}]"
        )
        yield paint(line, "green" if count == total else "red", enabled=color)
    mean_characters, mean_sentences = report.num_characters / total, report.num_sentences / total
    yield "  " + say("cli_persona_check.means", characters=f"{mean_characters:.1f}", sentences=f"{mean_sentences:.2f}")
    if report.style_counts:
        yield say("cli_persona_check.styles")
        for pattern, count in zip(report.persona.style_patterns, report.style_counts, strict=True):
            yield f"  {count / total:4.0%}  {_clipped(pattern, width - 8)}"
    if report.contradictions:
        yield paint(say("cli_persona_check.contradictions", count=report.num_contradictions), "bold", enabled=color)
        for one in report.contradictions[:SHOWN]:
            yield f"  {_clipped(one.where, width - 2)}"
            yield f"    {_clipped(say('cli_persona_check.said', stretch=one.stretch, fact=one.fact), width - 4)}"
    if report.worst:
        yield paint(say("cli_persona_check.worst"), "bold", enabled=color)
        for answer in report.worst[:SHOWN]:
            yield f"  {_clipped(answer.spoken.where, width - 2)}  {_wrongs(answer)}"
            yield f"    {_clipped(answer.spoken.text.strip(), width - 4)}"


def _wrongs(answer: MeasuredAnswer) -> str:
    parts = [
        say(
            f"cli_persona_check.wrong_{name}",
            sentences=answer.num_sentences,
            characters=answer.num_characters,
            leaked=harmless(answer.leaked or ""),
        )
        for name, is_right in answer.right.items()
        if not is_right
    ]
    return say("cli_persona_check.comma").join(parts)


def _clipped(text: str, width: int) -> str:
    """Return a text in one line of a terminal, nothing of it harmful."""
    text = harmless(text)
    if cells(text) <= width:
        return text
    kept = ""
    for char in text:
        if cells(kept + char) > width - 1:
            break
        kept += char
    return kept + "…"


command = Group("persona", {"build": build, "check": check})
