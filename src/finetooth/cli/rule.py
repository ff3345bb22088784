"""`finetooth rule`: what a rule looks for, why it is bad, and how it is mended."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Sequence

import click
from click.shell_completion import CompletionItem

from finetooth.cli.options import Invocation, argument, option, subcommand
from finetooth.errors import ConfigError
from finetooth.formats.documentation import documentation_of, sections_of
from finetooth.messages import say
from finetooth.rules import Rule, all_rules, rule_of
from finetooth.view.paint import Styled, fold, paint
from finetooth.view.visible import cells, harmless

FORMATS = ("text", "markdown", "json")

_MIN_WIDTH = 20
_MAX_WIDTH = 100
"""Prose in longer lines is hard to read."""

_ITEM = re.compile(r"(?P<indent> *)(?P<sign>[-*]|[0-9]+\.) +(?P<text>.*)")


def _complete(context: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    begun = incomplete.lower()
    return [
        CompletionItem(rule.code if rule.code.lower().startswith(begun) else rule.name, help=rule.name)
        for rule in all_rules()
        if rule.code.lower().startswith(begun) or rule.name.startswith(begun)
    ]


@subcommand("rule", reads_config=False)
@argument("name", required=False, shell_complete=_complete)
@option("--all", "everything", is_flag=True, help_key="cli_rule.all")
@option("--format", "format_name", choices=FORMATS, default="text", help_key="cli_rule.format")
def command(invocation: Invocation, name: str | None, everything: bool, format_name: str) -> None:
    """Write the documentation of a rule, or a list of all."""
    if everything and name is not None:
        raise ConfigError(say("cli_rule.both", name=name), where="--all", help=f"finetooth rule {name}")
    if not everything and name is None:
        raise ConfigError(say("cli_rule.neither"), where="finetooth rule", help="finetooth rule --all")
    rules = all_rules() if name is None else (rule_of(name),)
    if format_name == "json":
        click.echo(json.dumps([to_json(rule) for rule in rules], ensure_ascii=False, indent=2))
        return
    if format_name == "markdown":
        lines = _table(rules) if everything else _page(rules[0])
        click.echo("\n".join(lines))
        return
    width = max(min(shutil.get_terminal_size((_MAX_WIDTH, 24)).columns, _MAX_WIDTH), _MIN_WIDTH)
    styled = _listed(rules) if everything else _told(rules[0], width)
    click.echo("\n".join(paint(line, color=invocation.color) for line in styled))


def to_json(rule: Rule) -> dict[str, str | None]:
    """Return what is known of a rule, in English."""
    return {
        "code": rule.code,
        "name": rule.name,
        "severity": rule.severity,
        "scope": rule.scope,
        "fix": rule.fix,
        "documentation": documentation_of(rule, english=True),
    }


def _facts(rule: Rule) -> list[str]:
    scope = say(f"cli_rule.scope_{rule.scope.replace(' ', '_').replace('-', '_')}")
    return [
        say("cli_rule.fact_severity", severity=say(f"formats.severity_{rule.severity}")),
        say("cli_rule.fact_scope", scope=scope),
        say("cli_rule.fact_fix", fix=_fix(rule)),
    ]


def _fix(rule: Rule) -> str:
    return say(f"cli_rule.fix_{rule.fix}") if rule.fix else say("cli_rule.fix_none")


def _cells_of(rule: Rule) -> tuple[str, ...]:
    return rule.code, rule.name, say(f"formats.severity_{rule.severity}"), _fix(rule)


def _heads() -> tuple[str, ...]:
    return say("cli_rule.head_code"), say("cli_rule.head_name"), say("formats.head_severity"), say("cli_rule.head_fix")


def _listed(rules: Sequence[Rule]) -> Iterator[Styled]:
    """Yield the table of rules."""
    rows = [_heads(), *map(_cells_of, rules)]
    widths = [max(cells(row[column]) for row in rows) for column in range(len(rows[0]))]
    styles = {"error": "warning", "warning": "bad", "info": "info"}
    for number, row in enumerate(rows):
        padded = [text + " " * (width - cells(text) + 2) for text, width in zip(row, widths, strict=True)]
        if number == 0:
            yield [("".join(padded), "quiet")]
            continue
        yield [
            (padded[0], "heading"),
            (padded[1], ""),
            (padded[2], styles[rules[number - 1].severity]),
            (padded[3], ""),
        ]


def _told(rule: Rule, width: int) -> Iterator[Styled]:
    """Yield the documentation of a rule for a terminal: code stays as it is, prose is folded."""
    yield from fold([(f"{rule.code} {rule.name}", "heading")], width=width)
    yield from fold([(" · ".join(_facts(rule)), "quiet")], width=width)
    for section in sections_of(documentation_of(rule)):
        yield []
        if section.title:
            yield from fold([(harmless(section.title), "heading")], width=width)
        for line in _blocks(section.text):
            yield from _block(line, width)


def _blocks(text: str) -> Iterator[str]:
    """Yield paragraphs on one line each, and lines of code and lists as they are; empty lines between."""
    paragraph: list[str] = []
    fenced = False
    for line in text.splitlines():
        is_fence = line.lstrip().startswith("```")
        begins = is_fence or fenced or not line.strip() or (line.startswith("    ") and not paragraph)
        if (begins or _ITEM.fullmatch(line)) and paragraph:
            yield " ".join(paragraph)
            paragraph = []
        if is_fence:
            fenced = not fenced
        elif fenced:
            yield f"    {line}"
        elif not line.strip() or begins:
            yield line
        else:
            # The first line of an item keeps its indent; what follows is joined to it.
            paragraph.append(line.rstrip() if not paragraph else line.strip())
    if paragraph:
        yield " ".join(paragraph)


def _block(line: str, width: int) -> list[Styled]:
    if not line.strip():
        return [[]]
    if line.startswith("    ") and not _ITEM.fullmatch(line):
        return [[(harmless(line), "")]]
    item = _ITEM.fullmatch(line)
    indent = 2 + (len(item["indent"]) + len(item["sign"]) + 1 if item else 0)
    shown: Styled = [(harmless(line.strip()), "")]
    return fold(shown, width=width, first_indent=2 + (len(item["indent"]) if item else 0), indent=indent)


def _page(rule: Rule) -> Iterator[str]:
    """Yield the documentation of a rule as Markdown."""
    yield f"# {rule.code} {rule.name}"
    yield ""
    yield " · ".join(_facts(rule))
    yield ""
    yield documentation_of(rule)


def _table(rules: Sequence[Rule]) -> Iterator[str]:
    """Yield the table of rules as Markdown."""
    yield f"| {' | '.join(_heads())} |"
    yield "|---|---|---|---|"
    for rule in rules:
        yield f"| {' | '.join(_cells_of(rule))} |"
