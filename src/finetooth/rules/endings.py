"""How the last answer of a record ends: exactly one branch of a tree for each record and way of making labels.

A model stops because it has learned to write the token at which inference stops. That token may be absent from the row;
present and masked; present in pieces of ordinary text; cut away; forged at a cut; or learned, and not in the stop set. Each
shows in another way at inference, and each wants another remedy. The tree looks for the terminator of the row's last answer
and says which branch holds, with what shows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from finetooth.rules.row import Answer, Row
from finetooth.types import IGNORE_INDEX

Branch = Literal[
    "stops",
    "unsupervised",
    "absent",
    "masked-by-pad",
    "masked-by-template",
    "masked-other-terminator",
    "split-by-normalizer",
    "split-no-token",
    "cut",
    "forged",
    "not-in-stop-set",
]

BRANCHES: tuple[Branch, ...] = (
    "stops",
    "not-in-stop-set",
    "split-by-normalizer",
    "split-no-token",
    "masked-by-pad",
    "masked-by-template",
    "masked-other-terminator",
    "absent",
    "cut",
    "forged",
    "unsupervised",
)
"""In the order of the table that `check` prints."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a record's last answer ends."""

    branch: Branch
    first_token: int
    """The half-open tokens of the terminator, or where it should stand."""
    end_token: int
    terminator: str | None
    """The stop literal in the text, where there is one."""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    """What was seen, in plain JSON."""


def ending_of(row: Row) -> Ending:
    """Return the branch of a record; worked out once for each `Row`."""
    known: Ending | None = row.__dict__.get("_ending")
    if known is None:
        known = row.__dict__["_ending"] = _ending(row)
    return known


def _ending(row: Row) -> Ending:
    answer = row.answers[-1] if row.answers else _whole_text(row)
    cut = _cut(row, answer)
    if cut is not None:
        return cut
    if not row.supervised:
        return _made(row, "unsupervised", len(row.input_ids), len(row.input_ids), answer)
    if answer.terminator is not None:
        start = answer.end - len(answer.terminator)
        first, end = row.tokens_in(start, answer.end)
        whole = row.facts.special_ids.get(answer.terminator)
        if end == first + 1 and (row.input_ids[first] == whole or row.input_ids[first] in row.facts.stop_ids):
            return _whole(row, answer, first)
        return _split(row, answer, first, end, start)
    # A terminator that no character stands for: appended as an id, or by the tokenizer's post-processor.
    after = answer.end_token
    if after < len(row.input_ids) and row.input_ids[after] in row.facts.stop_ids:
        return _whole(row, answer, after)
    return _made(row, "absent", after, after, answer)


def _whole_text(row: Row) -> Answer:
    """Return the text as one answer, where nobody knows whose the words are."""
    text = row.text
    end = len(text.rstrip()) or len(text)
    literals = (*row.facts.stops.literals, *row.facts.stops.specials)
    terminator = next((literal for literal in literals if text.endswith(literal, 0, end)), None)
    last = max((i + 1 for i, (s, e) in enumerate(row.offsets) if e > s), default=0)
    return Answer(
        start=0,
        end=end if terminator else len(text),
        message_index=None,
        first_token=0,
        end_token=last,
        terminator=terminator,
        is_last=True,
    )


def _made(row: Row, branch: Branch, first: int, end: int, answer: Answer, **evidence: Any) -> Ending:
    shown = {"ids": row.input_ids[first:end], "pieces": row.facts.pieces(row.input_ids[first:end]), **evidence}
    return Ending(branch=branch, first_token=first, end_token=end, terminator=answer.terminator, evidence=shown)


def _cut(row: Row, answer: Answer) -> Ending | None:
    """Return `cut` or `forged` where a limit of length took the end of the answer."""
    if not row.encoded.num_cut or row.facts.setup.labels.truncation_mode == "keep_end":
        return None
    kept = max((e for _, e in row.offsets), default=0)
    if kept >= answer.end:
        return None
    last = len(row.input_ids) - 1
    learned_stop = last >= 0 and row.labels[last] != IGNORE_INDEX and row.input_ids[last] in row.facts.stop_ids
    branch: Branch = "forged" if learned_stop else "cut"
    return _made(row, branch, max(last, 0), last + 1, answer, tokens_cut=row.encoded.num_cut, kept=len(row.input_ids))


def _whole(row: Row, answer: Answer, index: int) -> Ending:
    """Return the branch of a terminator that is one token."""
    facts, token_id = row.facts, row.input_ids[index]
    if row.labels[index] != IGNORE_INDEX:
        branch: Branch = "stops" if token_id in facts.stop_ids else "not-in-stop-set"
        return _made(row, branch, index, index + 1, answer, stop_ids=sorted(facts.stop_ids))
    pad_id = facts.tokenizer.pad_id
    if token_id == pad_id and (facts.masks_pad_by_id or _all_pads_are_masked(row, pad_id)):
        return _made(
            row, "masked-by-pad", index, index + 1, answer, pad_token_id=pad_id, eos_token_id=facts.tokenizer.eos_id
        )
    if token_id != facts.tokenizer.eos_id and not _has_generation_blocks(row):
        return _made(row, "masked-other-terminator", index, index + 1, answer, eos_token_id=facts.tokenizer.eos_id)
    return _made(row, "masked-by-template", index, index + 1, answer)


def _all_pads_are_masked(row: Row, pad_id: int) -> bool:
    """Return whether labels that are given mask every token of the padding id, among supervised ones."""
    return row.facts.way == "as-is" and all(
        label == IGNORE_INDEX for token, label in zip(row.input_ids, row.labels, strict=True) if token == pad_id
    )


def _has_generation_blocks(row: Row) -> bool:
    return row.facts.setup.labels.assistant_only_loss and row.facts.template is not None


def _split(row: Row, answer: Answer, first: int, end: int, start: int) -> Ending:
    """Return why a terminator is in pieces."""
    facts, literal = row.facts, answer.terminator or ""
    before = row.text[max(0, start - 1) : start]
    token = facts.tokenizer.added_tokens.get(facts.special_ids.get(literal, -1))
    if token is None:
        return _made(row, "split-no-token", first, end, answer, previous_character=before, in_vocabulary=False)
    return _made(
        row,
        "split-by-normalizer",
        first,
        end,
        answer,
        previous_character=before,
        token_id=facts.special_ids[literal],
        normalized=token.normalized,
        stored_pattern=facts.normalized.get(literal, literal),
        normalizer=facts.normalizer_name,
        single_word=token.single_word,
        split_special_tokens=facts.tokenizer.backend.encode_special_tokens,
        file=facts.file_of("added_tokens_decoder"),
    )
