"""The ways of making labels; one module each.

    finetooth            our own: supervised where the model has to write
    as-is                those that the rows hold
    completion-collator  TRL's removed DataCollatorForCompletionOnlyLM
    causal-lm            transformers' DataCollatorForLanguageModeling
    trl                  TRL 1.16's SFTTrainer

Those of other software exist so that users see and check what *their* trainer learns; each is held by a differential
test against the real library where it still exists.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from itertools import islice

from finetooth.labels.setup import Labeller, Setup, choose_template, make_setup
from finetooth.labels.trained import Trained
from finetooth.types import Encoded, Record

WAYS = {
    "finetooth": "finetooth.labels.finetooth",
    "as-is": "finetooth.labels.as_is",
    "completion-collator": "finetooth.labels.completion_collator",
    "causal-lm": "finetooth.labels.causal_lm",
    "trl": "finetooth.labels.trl",
}
"""The module of each way."""

READS = {
    "finetooth": {"train_on", "response_template", "instruction_template", "max_length", "truncation_mode"},
    "as-is": {"max_length", "truncation_mode"},
    "completion-collator": {
        "response_template",
        "response_template_ids",
        "instruction_template",
        "instruction_template_ids",
        "max_length",
        "truncation_mode",
    },
    "causal-lm": {"max_length", "truncation_mode"},
    "trl": {"max_length", "truncation_mode", "completion_only_loss", "assistant_only_loss"},
}
"""The fields of `LabelsConfig` that each way reads; the others have no effect there, and commands say so."""

_BATCH = 256


def make_labeller(setup: Setup, *, roles: bool = True) -> Labeller:
    """Return the way of making labels that a set-up names, bound to it.

    Args:
        setup: The set-up.
        roles: Whether the spans of what is not supervised are wanted as well; without is cheaper.
    """
    labeller: Labeller = importlib.import_module(WAYS[setup.labels.way]).labeller(setup, roles=roles)
    return labeller


def encode_records(setup: Setup, records: Iterable[Record], *, roles: bool = True) -> Iterator[Encoded]:
    """Encode records in batches, lazily, in their order."""
    labeller = make_labeller(setup, roles=roles)
    source = iter(records)
    while batch := list(islice(source, _BATCH)):
        yield from labeller(batch)


__all__ = [
    "READS",
    "WAYS",
    "Labeller",
    "Setup",
    "Trained",
    "choose_template",
    "encode_records",
    "make_labeller",
    "make_setup",
]
