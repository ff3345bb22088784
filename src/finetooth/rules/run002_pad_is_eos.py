"""RUN002: the padding token is a token at which inference stops."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from finetooth.rules.endings import ending_of
from finetooth.rules.facts import SetupFacts
from finetooth.rules.row import Row
from finetooth.rules.rule import Because, Hit, dataset_rule
from finetooth.types import Severity

_RESERVED = (
    "<pad>",
    "[PAD]",
    "<|pad|>",
    "<|finetune_right_pad_id|>",
    "<|vision_pad|>",
    "<|fim_pad|>",
    "<|reserved_special_token_0|>",
    "<|endoftext|>",
    "<unk>",
)
"""Tokens that models have and never write, in the order in which they serve as padding."""


@dataclass(slots=True)
class PadIsEos:
    """Find set-ups whose padding token is a stop token.

    ## What it does
    Compares the padding id with the ids at which inference stops, and says what that does with this way of making
    labels: it masks every padding id, and so the real EOS of rows, now; it would, as soon as the EOS is one token
    again (rows hold it in pieces, or not at all); the rows do not end in it; or it masks by position, and nothing
    happens.

    ## Why it is bad
    `labels[labels == pad_token_id] = -100` cannot tell a padding token from the EOS of an answer. The model never
    learns to stop, and the loss looks healthy. Repairing a split EOS alone trades one fault for this one.

    ## Example
    `tokenizer.pad_token = tokenizer.eos_token` with `DataCollatorForLanguageModeling`.

    ## Fix
    Name another token as `pad_token` that the vocabulary has already and that no text holds; or take a collator that
    masks by position.

    ## Fix safety
    None is offered: a token that is new needs a row of embeddings, and which reserved token is free is the model's
    matter.

    ## Sources
    TRL #976, #1623, PR #992; alignment-handbook #127; transformers 5.23, data/data_collator.py (`torch_call` masks by
    id).
    """

    rows: int = 0
    masked: int = 0
    pieces: int = 0
    taught: dict[int, int] = field(default_factory=dict)
    """The ids in which the rows' last answers end, with the number of rows."""

    def add(self, row: Row) -> None:
        """Count a row by what becomes of its terminator."""
        ending = ending_of(row)
        self.rows += 1
        if ending.branch == "masked-by-pad":
            self.masked += 1
        elif ending.branch in ("split-by-normalizer", "split-no-token"):
            self.pieces += 1
        elif ending.branch in ("stops", "not-in-stop-set"):
            token_id = row.input_ids[ending.first_token]
            self.taught[token_id] = self.taught.get(token_id, 0) + 1

    def merge(self, other: PadIsEos) -> None:
        """Take in what was counted over later records."""
        self.rows += other.rows
        self.masked += other.masked
        self.pieces += other.pieces
        for token_id, count in other.taught.items():
            self.taught[token_id] = self.taught.get(token_id, 0) + count

    def hits(self, facts: SetupFacts) -> Iterator[Hit]:
        """Say what the padding token does to the EOS."""
        tokenizer = facts.tokenizer
        pad_id = tokenizer.pad_id
        if pad_id is None or pad_id not in facts.stop_ids:
            return
        cause, severity, count = self._judge(facts, pad_id)
        free = _free_token(facts)
        values: dict[str, Any] = {
            "token": tokenizer.special_tokens["pad_token"],
            "pad_id": pad_id,
            "way": facts.way,
            "file": facts.file_of("pad_token"),
            "rows": count,
            "num_rows": self.rows,
            "free": free or "",
        }
        yield Hit(
            "rules_run.pad_is_eos",
            values=values,
            help="rules_run.pad_is_eos_help" if free else "rules_run.pad_is_eos_help_position",
            fixable=free is not None,
            because=Because(
                code=cause,
                key=f"rules_run.pad_is_eos_{cause.replace('-', '_')}",
                values=values,
                evidence={
                    "pad_token_id": pad_id,
                    "eos_token_id": tokenizer.eos_id,
                    "stop_ids": sorted(facts.stop_ids),
                    "file": values["file"],
                    "masks_by_id": facts.masks_pad_by_id,
                    "rows_masked": self.masked,
                    "rows_in_pieces": self.pieces,
                    "rows": self.rows,
                },
            ),
            severity=severity,
            folded_under="LAB002" if cause == "masks-now" else None,
            where=values["file"],
            reproduction=_reproduction(facts),
        )

    def _judge(self, facts: SetupFacts, pad_id: int) -> tuple[str, Severity, int]:
        if self.masked:
            return "masks-now", "warning", self.masked
        if not facts.masks_pad_by_id:
            return "harmless", "info", 0
        if self.pieces:
            return "masks-once-repaired", "warning", self.pieces
        if self.taught and pad_id not in self.taught and pad_id != facts.tokenizer.eos_id:
            # Qwen's padding is one of its stop ids, and its answers end in another.
            return "not-taught", "info", 0
        return "masks-once-there", "warning", 0


def _reproduction(facts: SetupFacts) -> tuple[str, ...]:
    if facts.files is None:
        return ()
    directory = str(facts.files.directory)
    return (
        f"from transformers import AutoTokenizer; t = AutoTokenizer.from_pretrained({directory!r})",
        f"print(t.pad_token_id, {sorted(facts.stop_ids)})",
    )


def _free_token(facts: SetupFacts) -> str | None:
    """Return a token of the vocabulary that can serve as padding."""
    backend = facts.tokenizer.backend
    for text in _RESERVED:
        token_id = backend.token_to_id(text)
        if token_id is not None and token_id not in facts.stop_ids:
            return text
    return None


# Not as a decorator: a tally is pickled between processes, by the name of its class.
pad_is_eos = dataset_rule("RUN002", "pad-is-eos", severity="warning", fix="safe", never_exceeds="warning")(PadIsEos)
