"""`finetooth env`: what a report of a defect has to tell about the machine."""

from __future__ import annotations

import json
import os
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from finetooth.cli.color import paint
from finetooth.cli.help import columns
from finetooth.cli.options import Invocation, option, subcommand
from finetooth.messages import language, say
from finetooth.version import __version__

if TYPE_CHECKING:
    from finetooth.fingerprint import Fingerprint

PACKAGES = (
    "tokenizers", "jinja2", "click", "rich", "pydantic", "PyYAML", "safetensors",
    "transformers", "trl", "torch", "peft", "accelerate", "datasets", "pyarrow", "liger-kernel", "flash-attn",
    "starlette", "uvicorn", "matplotlib",
)  # fmt: skip
"""What decides which tokens and labels come out, the torch-free first."""

NO_EXTRAS = ("all", "dev")
"""Extras that are nothing but others together, or no concern of users."""


@subcommand("env", reads_config=False)
@option("-m", "--model", metavar="MODEL", help_key="cli_env.model")
@option("--format", "format_name", choices=("text", "json"), default="text", help_key="cli_env.format")
def command(invocation: Invocation, model: str | None, format_name: str) -> None:
    """Write versions, platform, extras, the configuration file in force, and the fingerprint of a model."""
    facts = environment(invocation.resolved.file)
    if model is not None:
        facts["fingerprint"] = model_fingerprint(model).to_json()
    click.echo(json.dumps(facts, ensure_ascii=False, indent=2) if format_name == "json" else _text(facts, invocation))


def environment(config_file: Path | None) -> dict[str, Any]:
    """Return what is known of the machine; versions come from metadata, and no package is imported for them."""
    return {
        "finetooth": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": num_cores(),
        "memory_bytes": memory_bytes(),
        "language": language(),
        "config_file": None if config_file is None else str(config_file),
        "packages": {name: version(name) for name in PACKAGES},
        "extras": {extra: {"missing": sorted(missing(extra))} for extra in extras()},
    }


def model_fingerprint(model: str) -> Fingerprint:
    """Return the fingerprint of a model's tokenizer and template, with the labels that are made by default."""
    from finetooth.fingerprint import fingerprint
    from finetooth.labels import make_setup

    return fingerprint(make_setup(model))


def version(package: str) -> str | None:
    """Return the version of an installed package, or `None`."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def num_cores() -> int:
    """Return how many cores this process may use, which in a container are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_bytes() -> int | None:
    """Return the machine's memory, or `None` where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def extras() -> list[str]:
    """Return the names of the extras, as the installed package declares them."""
    try:
        declared = metadata.metadata("finetooth").get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:  # run from a source tree that was never installed
        return []
    return sorted(set(declared) - set(NO_EXTRAS))


def missing(extra: str) -> set[str]:
    """Return the packages of an extra that are not installed."""
    belongs = re.compile(rf"""extra\s*==\s*['"]{re.escape(extra)}['"]""")
    requirements = [text.partition(";") for text in metadata.requires("finetooth") or []]
    packages = {re.split(r"[^\w.-]", name.strip())[0] for name, _, marker in requirements if belongs.search(marker)}
    return {package for package in packages if version(package) is None}


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
