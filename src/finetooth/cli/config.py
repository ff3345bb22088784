"""`finetooth config`: every configuration value, and where it came from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import click

from finetooth.cli.color import paint
from finetooth.cli.help import columns, wrap
from finetooth.cli.options import Invocation, argument, option, subcommand
from finetooth.config import Key, flatten, key_of, keys, nest
from finetooth.messages import say


@subcommand("config")
@argument("key", required=False)
@option(
    "--format",
    "format_name",
    choices=("text", "json", "yaml", "markdown"),
    default="text",
    help_key="cli_config.format",
)
def command(invocation: Invocation, key: str | None, format_name: str) -> None:
    """Write the whole configuration, or what is known of one key or one section."""
    names = _names(key)
    values = {name: value for name, value in flatten(invocation.config).items() if name in names}
    if format_name == "json":
        rows = [
            {"key": name, "value": values[name], "origin": invocation.origin(name), "allowed": keys()[name].allowed}
            for name in names
        ]
        click.echo(json.dumps(rows, ensure_ascii=False, indent=2))
    elif format_name == "yaml":
        import yaml

        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
        click.echo(yaml.safe_dump(nest(plain), allow_unicode=True, sort_keys=False), nl=False)
    elif format_name == "markdown":
        click.echo(markdown(values))
    elif key in keys():
        click.echo(_page(keys()[names[0]], values[names[0]], invocation))
    else:
        click.echo(_table(values, invocation))


def _names(key: str | None) -> Sequence[str]:
    """Return the names of the keys meant: all, those of a section, or one."""
    if key is None:
        return list(keys())
    section = [name for name in keys() if name.startswith(f"{key}.")]
    return section or [key_of(key).name]


def _table(values: Mapping[str, Any], invocation: Invocation) -> str:
    """Return key, value and origin in columns; what differs from the default stands out."""
    heads = (say("cli_config.head_key"), say("cli_config.value"), say("cli_config.origin"))
    rows = [(name, shown(value), _origin(name, invocation)) for name, value in values.items()]
    widths = [max(columns(row[index]) for row in [heads, *rows]) for index in range(2)]
    lines = [paint(_row(heads, widths), "bold", enabled=invocation.color)]
    for row in rows:
        is_default = invocation.origin(row[0]) == "default"
        lines.append(paint(_row(row, widths), "dim" if is_default else "green", enabled=invocation.color))
    return "\n".join(lines)


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [cell + " " * (width - columns(cell)) for cell, width in zip(cells, widths, strict=False)]
    return "  ".join([*padded, cells[-1]])


def _page(key: Key, value: Any, invocation: Invocation) -> str:
    """Return all that is known of one key."""
    facts = [
        (say("cli_config.value"), shown(value)),
        (say("cli_config.origin"), _origin(key.name, invocation)),
        (say("cli_config.default"), shown(key.default)),
        (say("cli_config.allowed"), key.allowed),
        (say("cli_config.variable"), key.variable),
    ]
    width = max(columns(label) for label, _ in facts)
    lines = [paint(key.name, "bold", enabled=invocation.color)]
    lines += [f"  {line}" for line in wrap(key.documentation, 78)]
    lines += [f"  {label}{' ' * (width - columns(label))}  {fact}" for label, fact in facts]
    return "\n".join(lines)


def markdown(values: Mapping[str, Any]) -> str:
    """Return keys, values, what they allow and what they do, as the table that docs/configuration.md holds."""
    heads = [say(f"cli_config.{name}") for name in ("head_key", "value", "allowed", "meaning")]
    rows = [
        [f"`{name}`", f"`{shown(value)}`", f"`{keys()[name].allowed}`".replace("|", "\\|"), keys()[name].documentation]
        for name, value in values.items()
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [heads, ["---"] * len(heads), *rows])


def _origin(name: str, invocation: Invocation) -> str:
    origin = invocation.origin(name)
    return say("cli_config.from_default") if origin == "default" else origin


def shown(value: Any) -> str:
    """Return a value as the file would hold it."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return f"[{', '.join(map(str, value))}]" if isinstance(value, tuple) else str(value)
