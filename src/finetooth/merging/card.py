"""The card of a merged model: what it was made from, for whoever finds it a year later."""

from __future__ import annotations

import json
from collections.abc import Mapping

from finetooth.merging.configuration import MergeConfig
from finetooth.merging.planning import Models
from finetooth.version import __version__

# A card is read by others than who merged, and by programs: it is English, whatever the language in force.


def merge_card(
    title: str, configs: Mapping[str, MergeConfig], text: str, models: Mapping[str, Models], seed: int
) -> str:
    """Return the text of a README.md, with the front matter that the hub reads.

    Args:
        title: The merged model's name.
        configs: The merges by the name of their stage, in order; the last one is the merged model.
        text: The configuration as YAML.
        models: The models of each stage.
        seed: Of methods that draw random numbers.
    """
    stages = set(configs)
    references = dict.fromkeys(
        reference for one in models.values() for reference in one if reference.path not in stages
    )
    paths = dict.fromkeys(reference.path for reference in references)
    last = list(configs.values())[-1]
    lines = [
        "---",
        f"base_model: {json.dumps(list(paths), ensure_ascii=False)}",
        "library_name: transformers",
        "tags: [finetooth, merge]",
        "---",
        "",
        f"# {title}",
        "",
        f"A merge of {len(references)} models by `{last.method.name}`, made with finetooth {__version__}.",
        "",
        "```yaml",
        text.strip("\n"),
        "```",
        "",
        *([f"Random seed: {seed}.", ""] if any(one.method.is_random for one in configs.values()) else []),
        "## Inputs",
        "",
        "SHA-256 of the header of every weight file:",
        "",
        "| model | file | header |",
        "| --- | --- | --- |",
    ]
    opened = {reference: model for one in models.values() for reference, model in one.items()}
    for reference in references:
        for file, fingerprint in opened[reference].fingerprints.items():
            lines.append(f"| {_cell(str(reference))} | {_cell(file)} | `{fingerprint}` |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
