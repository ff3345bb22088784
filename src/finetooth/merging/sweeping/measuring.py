"""What a model on disk is worth: its loss on held-out data, and how its answers end.

Shapes: T tokens, V vocabulary.
"""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from finetooth.config import Config
from finetooth.errors import DataError
from finetooth.inspection import open_records
from finetooth.labels import Setup, encode_records, make_setup
from finetooth.loss import SUMS, Targets, metrics_of, observed_loss
from finetooth.messages import say
from finetooth.probing.loading import load
from finetooth.probing.probe import probe_model
from finetooth.probing.prompts import prompts_of_data
from finetooth.types import IGNORE_INDEX

NUM_PROMPTS = 30
"""Prompts that a model is asked, unless given."""
NUM_SAMPLES = 4
"""Answers of a model that are kept."""
_KEPT = ("record", "question", "shown", "stopped", "leaked")
RATES = ("stop_rate", "leak_rate", "runaway_rate", "repetition_rate")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """What is measured, and by what."""

    data: Mapping[str, str]
    """Held-out data by a short name; the loss is told for each."""
    config: Config = field(default_factory=Config)
    """How it is read, and its labels made."""
    num_prompts: int = NUM_PROMPTS
    """Prompts of each data set that are asked."""
    max_new_tokens: int | None = None
    style: tuple[str, ...] = ()
    """Regular expressions of a style."""
    asked_chars: int | None = None
    limit: int | None = None
    """Records of each data set that the loss is taken over; all where it is not given."""


def measure(directory: Path, measures: Measures, *, name: str, adapter: str | None = None) -> dict[str, Any]:
    """Load a model, and return its measures as plain JSON.

    Args:
        directory: The model's.
        measures: What is measured.
        name: What the model is called.
        adapter: The directory of an adapter for it.

    Raises:
        FinetoothError: It cannot be loaded, or the data not be read.
    """
    setup = make_setup(str(directory), measures.config)
    model = load(str(directory), adapter)
    losses = {}
    prompts = []
    for data_name, source in measures.data.items():
        losses[data_name] = held_out_loss(model, setup, source, measures)
        asked = islice(prompts_of_data([source], setup, measures.config), measures.num_prompts)
        prompts += list(asked)
    report = probe_model(
        model,
        setup.tokenizer,
        prompts,
        name=name,
        max_new_tokens=measures.max_new_tokens,
        style=measures.style,
        asked_chars=measures.asked_chars,
    ).to_json()
    found: dict[str, Any] = {
        "loss": sum(losses.values()) / max(len(losses), 1),
        "losses": losses,
        **{rate: report[rate] for rate in RATES},
        "mean_chars": report["mean_chars"],
        **{name: report[name] for name in ("num_prompts", "counts", "intervals", "outcomes", "max_new_tokens")},
    }
    if measures.style:
        found["style_rate"] = max(one["rate"] for one in report["style"]) if report["style"] else 0.0
        found["style"] = report["style"]
    if measures.asked_chars is not None:
        found["in_length_rate"] = report["in_length_rate"]
    found["samples"] = [{name: one[name] for name in _KEPT} for one in report["samples"][:NUM_SAMPLES]]
    del model
    gc.collect()
    return found


def held_out_loss(model: Any, setup: Setup, source: str, measures: Measures) -> float:
    """Return the mean loss of a data set's supervised tokens.

    One row at a time, and logits of supervised positions alone: the memory is that of the longest row.

    Raises:
        DataError: Nothing in it is supervised.
    """
    records = islice(open_records([source], measures.config.data), measures.limit)
    sums = torch.zeros(len(SUMS), dtype=torch.float64)
    device = next(model.parameters()).device
    stop_ids = torch.tensor(sorted(setup.tokenizer.stop_ids), dtype=torch.long, device=device)
    model.eval()
    for encoded in encode_records(setup, records, roles=False):
        if encoded.dropped is not None or all(label == IGNORE_INDEX for label in encoded.labels[1:]):
            continue
        ids_1T = torch.tensor([encoded.input_ids], device=device)
        targets = Targets.from_labels(torch.tensor([encoded.labels], device=device))
        with torch.no_grad():
            logits_NV = model(input_ids=ids_1T, logits_to_keep=targets.source_N).logits[0]
            _, row = observed_loss(logits_NV, torch.nn.Identity(), targets.in_order(), stop_ids=stop_ids)
        sums += row.double().cpu()
    loss = metrics_of(dict(zip(SUMS, sums.tolist(), strict=True)))["loss"]
    if loss is None:
        raise DataError(say("sweeping.nothing_supervised"), where=source, help="finetooth inspect " + source)
    return float(loss)


def names_of_data(sources: Sequence[str]) -> dict[str, str]:
    """Return sources by their names: `NAME=PATH` names itself, a path is called by its stem."""
    found: dict[str, str] = {}
    for source in sources:
        name, equals, path = source.partition("=")
        if equals and not Path(source).exists():
            found[name] = path
        else:
            found[Path(source).name.partition(".")[0] if Path(source).name not in found else source] = source
    return found
