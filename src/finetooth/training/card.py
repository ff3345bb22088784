"""The model card: what a model was made from, for whoever finds it a year later."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from finetooth.config import Config
from finetooth.fingerprint import Fingerprint
from finetooth.types import Finding
from finetooth.version import __version__

# A card is read by others than who trained, and by programs: it is English, whatever the language in force.


def model_card(
    config: Config,
    fingerprint: Fingerprint,
    *,
    data_hash: str,
    num_rows: int,
    findings: Sequence[Finding],
    metrics: Mapping[str, Any],
    loss_path: str,
    packing: str,
) -> str:
    """Return the text of a README.md, with the front matter that the hub reads.

    Args:
        config: The recipe.
        fingerprint: Of the set-up, with the hash of its labels.
        data_hash: Of the records as they were read.
        num_rows: Rows that were trained on.
        findings: What the check found.
        metrics: The last metrics by name.
        loss_path: What computed the loss.
        packing: How rows were packed.
    """
    is_adapter = config.train.method == "lora"
    front = [
        "---",
        f"base_model: {json.dumps(config.model.path)}",
        f"library_name: {'peft' if is_adapter else 'transformers'}",
        "tags: [finetooth, sft" + (", lora]" if is_adapter else "]"),
        "---",
    ]
    facts = {
        "Base model": config.model.path,
        "Trained": "an adapter (LoRA)" if is_adapter else "all weights",
        "Data": ", ".join(config.data.train),
        "Data hash": data_hash,
        "Rows": f"{num_rows:,}",
        "Labels": f"{config.labels.way}, train_on {config.labels.train_on}",
        "Labels hash (ids and labels of all rows)": fingerprint.label_hash,
        "Tokenizer": f"{fingerprint.model} ({fingerprint.tokenizer_class})",
        "Tokenizer hash (ids of probe texts)": fingerprint.probe_hash,
        "Template hash": fingerprint.template_hash,
        "Loss": loss_path,
        "Packing": packing,
    }
    lines = [*front, "", f"# {(config.model.path or '').rstrip('/').rpartition('/')[2]}, fine-tuned", ""]
    lines += ["| | |", "| --- | --- |", *(f"| {name} | {_cell(value)} |" for name, value in facts.items()), ""]
    lines += ["## What the check found", ""]
    shown = [finding for finding in findings if finding.folded_under is None]
    lines += [
        f"- {one.severity} {one.code} {one.name}: {one.count} records ({one.share:.0%})"
        + (f", because of {one.cause.code}" if one.cause else "")
        for one in shown
    ] or ["Nothing."]
    numbers = {name: value for name, value in metrics.items() if isinstance(value, float)}
    if numbers:
        lines += ["", "## Last metrics", "", "| | |", "| --- | --- |"]
        lines += [f"| {name} | {value:.4g} |" for name, value in numbers.items()]
    lines += [
        "",
        f"Made with finetooth {__version__}. The whole configuration is `recipe.yaml` beside this directory.",
        "",
    ]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    return "-" if value is None else str(value).replace("|", "\\|").replace("\n", " ")
