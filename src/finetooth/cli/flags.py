"""The configuration keys that commands about labels offer as flags: one list for all of them."""

from __future__ import annotations

LABELS_FLAGS = (
    "labels.way",
    "labels.train_on",
    "labels.response_template",
    "labels.response_template_ids",
    "labels.instruction_template",
    "labels.instruction_template_ids",
    "labels.max_length",
    "labels.truncation_mode",
    "labels.completion_only_loss",
    "labels.assistant_only_loss",
)
TOKENIZER_FLAGS = ("tokenizer.template", "tokenizer.loader", "tokenizer.revision")
DATA_FLAGS = ("data.shape", "data.split", "data.name", "data.revision", "data.skip_broken")

SETUP_FLAGS = (*LABELS_FLAGS, *TOKENIZER_FLAGS, *DATA_FLAGS)
"""What decides the labels of a data set."""
