"""The cards of adapters that are made: from what, and how much of it is kept."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from finetooth.merging.adapterfiles import AdapterFile
from finetooth.version import __version__

# A card is read by others than who made it, and by programs: it is English, whatever the language in force.


def combination_card(title: str, record: str, adapters: Sequence[AdapterFile]) -> str:
    """Return the text of a README.md of a combined adapter.

    Args:
        title: The adapter's name.
        record: What was asked for, as YAML.
        adapters: What it is combined from.
    """
    base = next((str(name) for one in adapters if (name := one.config.get("base_model_name_or_path"))), None)
    what = f"A combination of {len(adapters)} adapters, made with finetooth {__version__}."
    inputs = [(str(one.directory), one.file.file.name, one.file.fingerprint) for one in adapters]
    return "\n".join([*_head(title, base, what, record), *_inputs(inputs)]) + "\n"


def extraction_card(
    title: str, record: str, base: str, table: Sequence[str], inputs: Mapping[str, Mapping[str, str]]
) -> str:
    """Return the text of a README.md of an extracted adapter.

    Args:
        title: The adapter's name.
        record: What was asked for, as YAML.
        base: The base model.
        table: The lines of a Markdown table of what each layer keeps, and what follows it.
        inputs: SHA-256 of headers by model and file name.
    """
    what = f"The change of a fine-tune as a LoRA, extracted with finetooth {__version__}."
    files = [(model, name, digest) for model, found in inputs.items() for name, digest in found.items()]
    return "\n".join([*_head(title, base, what, record), *table, "", *_inputs(files)]) + "\n"


def _head(title: str, base: str | None, what: str, record: str) -> list[str]:
    return [
        "---",
        *([f"base_model: {json.dumps(base, ensure_ascii=False)}"] if base else []),
        "library_name: peft",
        "tags: [finetooth, lora, merge]",
        "---",
        "",
        f"# {title}",
        "",
        what,
        "",
        "```yaml",
        record.strip("\n"),
        "```",
        "",
    ]


def _inputs(files: Sequence[tuple[str, str, str]]) -> list[str]:
    return [
        "## Inputs",
        "",
        "SHA-256 of the header of every weight file:",
        "",
        "| from | file | header |",
        "| --- | --- | --- |",
        *(f"| {_cell(model)} | {_cell(name)} | `{digest}` |" for model, name, digest in files),
    ]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
