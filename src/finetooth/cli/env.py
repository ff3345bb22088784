"""`finetooth env`: what a report of a defect has to tell about the machine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from finetooth.cli.color import paint
from finetooth.cli.help import columns
from finetooth.cli.options import Invocation, option, subcommand
from finetooth.environment import environment
from finetooth.messages import say

if TYPE_CHECKING:
    from finetooth.fingerprint import Fingerprint


@subcommand("env", reads_config=False)
@option("-m", "--model", metavar="MODEL", help_key="cli_env.model")
@option("--format", "format_name", choices=("text", "json"), default="text", help_key="cli_env.format")
def command(invocation: Invocation, model: str | None, format_name: str) -> None:
    """Write versions, platform, extras, the configuration file in force, and the fingerprint of a model."""
    facts = environment(invocation.resolved.file)
    if model is not None:
        facts["fingerprint"] = model_fingerprint(model).to_json()
    click.echo(json.dumps(facts, ensure_ascii=False, indent=2) if format_name == "json" else _text(facts, invocation))


def model_fingerprint(model: str) -> Fingerprint:
    """Return the fingerprint of a model's tokenizer and template, with the labels that are made by default."""
    from finetooth.fingerprint import fingerprint
    from finetooth.labels import make_setup

    return fingerprint(make_setup(model))


def _text(facts: dict[str, Any], invocation: Invocation) -> str:
    memory = facts["memory_bytes"]
    unknown = say("cli_env.unknown")
    machine = {
        "finetooth": facts["finetooth"],
        "python": facts["python"],
        say("cli_env.platform"): facts["platform"],
        say("cli_env.cores"): str(facts["cores"]),
        say("cli_env.memory"): unknown if memory is None else f"{memory / 2**30:.1f} GiB",
        say("cli_env.language"): facts["language"],
        say("cli_env.config_file"): facts["config_file"] or say("cli_env.no_config_file"),
    }
    absent = paint(say("cli_env.not_installed"), "dim", enabled=invocation.color)
    packages = {name: number or absent for name, number in facts["packages"].items()}
    present = paint(say("cli_env.present"), "green", enabled=invocation.color)
    extra_rows = {
        extra: say("cli_env.missing", packages=", ".join(fact["missing"])) if fact["missing"] else present
        for extra, fact in facts["extras"].items()
    }
    blocks = [
        _block(None, machine, invocation),
        _block(say("cli_env.packages"), packages, invocation),
        _block(say("cli_env.extras"), extra_rows, invocation),
        _block(say("cli_env.fingerprint"), _fingerprint_rows(facts), invocation),
    ]
    return "\n\n".join(block for block in blocks if block)


def _fingerprint_rows(facts: dict[str, Any]) -> dict[str, str]:
    if "fingerprint" not in facts:
        return {}
    from finetooth.fingerprint import Fingerprint, rows

    return rows(Fingerprint(**facts["fingerprint"]))


def _block(title: str | None, rows: dict[str, str], invocation: Invocation) -> str:
    if not rows:
        return ""
    width = max(columns(name) for name in rows)
    head = [] if title is None else [paint(title, "bold", enabled=invocation.color)]
    return "\n".join([*head, *(f"{name}{' ' * (width - columns(name))}  {value}" for name, value in rows.items())])
