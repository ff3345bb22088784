"""The edits of rows: what each proposes for a row in which its rule finds something, and how a proposal is judged.

A proposal is labelled in the same set-up as the row was. It is taken where the rule finds nothing any more and
`accepts` holds; else the next one is tried. So no edit reaches a row that its rule does not name, and none changes more
than it means to.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from finetooth.config import DataConfig
from finetooth.fix.columns import Changes, answer_paths, end_path, text_path, value_of
from finetooth.fix.edits import Safety
from finetooth.rules.endings import ending_of
from finetooth.rules.row import Row

Drop = Literal["drop"]
Proposal = Changes | Drop


@dataclass(frozen=True, slots=True, kw_only=True)
class RowEdit:
    """One kind of edit of rows."""

    name: str
    code: str
    """The rule that names the rows."""
    message: str
    """The key of the sentence that tells of it; `{count}` is filled."""
    propose: Callable[[Row, DataConfig], Iterator[Proposal]]
    accepts: Callable[[Row, Row], bool] = lambda before, after: True
    safety: Safety = "safe"
    everywhere: bool = False
    """Whether it is proposed for rows too in which the rule finds nothing, once it finds any."""


# A second BOS -----------------------------------------------------------------------------------------------------


def without_bos(row: Row, config: DataConfig) -> Iterator[Changes]:
    """Drop the BOS that a text spells, where the tokenizer adds one.

    Safe: what is supervised stays the same. Source: TRL #1400, #1912; OpenRLHF #393. (Where a chat template spells it,
    rendered text has to be encoded with `add_special_tokens=False`, which no file can say.)
    """
    bos, path = row.facts.tokenizer.bos_token, text_path(row.record, config)
    if bos and path is not None and (text := value_of(row.record.row, path)).startswith(bos):
        while text.startswith(bos):
            text = text.removeprefix(bos)
        yield {path: text}


def learns_the_same(before: Row, after: Row) -> bool:
    """Return whether the supervised ids are the same, a BOS at their start aside."""
    bos_id = before.facts.tokenizer.token_id("bos_token")

    def learned(row: Row) -> list[int]:
        ids = [row.labels[index] for index in row.supervised]
        while ids and ids[0] == bos_id:
            ids.pop(0)
        return ids

    return learned(before) == learned(after)


# A second EOS -----------------------------------------------------------------------------------------------------


def without_repeated_eos(row: Row, config: DataConfig) -> Iterator[Changes]:
    """Drop the terminators that an answer spells at its end, all but one, or all where another adds it.

    Safe: what is learned before the first terminator stays, and the row still ends in one. White space after the
    terminator goes with it: it is what hides the first from a trainer that asks whether a text ends in its EOS (TRL
    #3318, #4481).
    """
    literals = sorted({*row.facts.stops.literals, ending_of(row).terminator or ""} - {""}, key=len, reverse=True)
    if not literals:
        return
    literal = "|".join(map(re.escape, literals))
    paths = {path: value_of(row.record.row, path) for path in answer_paths(row.record, config)}
    for pattern, put in ((rf"({literal})(?:\s*(?:{literal}))*\s*\Z", r"\1"), (rf"(?:(?:{literal})\s*)+\Z", "")):
        changes = {path: new for path, text in paths.items() if (new := re.sub(pattern, put, text)) != text}
        if changes:
            yield changes


def ends_once(before: Row, after: Row) -> bool:
    """Return whether a row learns what it learned, up to a stop token at which it now ends."""
    old = [before.labels[index] for index in before.supervised]
    new = [after.labels[index] for index in after.supervised]
    if ending_of(after).branch not in ("stops", "not-in-stop-set") or not new:
        return False
    # In a conversation the earlier turns may have ended twice as well.
    return old[: len(new)] == new or (after.record.messages is not None and len(new) < len(old))


# White space at the boundary ----------------------------------------------------------------------------------------


def with_space_moved(row: Row, config: DataConfig) -> Iterator[Changes]:
    """Move the white space from the end of the prompt to the start of the completion.

    Safe where a token straddles the boundary: the ids stay the same, and the token that was half of the prompt's is
    learned. In other rows it changes labels: there it is made with `--unsafe` alone, so that all prompts end alike.
    The prompt that is given at inference must then end without it as well. Source: TRL #5213, #6105, #4147.
    """
    record = row.record
    prompt_path, path = text_path(record, config), end_path(record, config)
    if record.prompt is None or prompt_path is None or path is None:
        return
    prompt, completion = value_of(record.row, prompt_path), value_of(record.row, path)
    for core in dict.fromkeys((prompt.rstrip(" "), prompt.rstrip())):
        if core != prompt:
            yield {prompt_path: core, path: prompt[len(core) :] + completion}


def has_same_ids(before: Row, after: Row) -> bool:
    """Return whether the ids are the same."""
    return before.input_ids == after.input_ids


# No EOS -----------------------------------------------------------------------------------------------------------


def with_eos(row: Row, config: DataConfig) -> Iterator[Changes]:
    """Write the EOS at the end of a text or completion that nothing ends.

    Safe: the ids before it stay, and one is added. Source: TRL #931, #1623, PR #3091.
    """
    eos, path = row.facts.tokenizer.eos_token, end_path(row.record, config)
    if eos and path is not None and row.record.messages is None:
        yield {path: value_of(row.record.row, path) + eos}


def ends_in_one_more(before: Row, after: Row) -> bool:
    """Return whether a row is the same with a learned stop token behind it."""
    # Where generation does not stop at the EOS yet, the list of stop ids is mended next.
    return (
        ending_of(after).branch in ("stops", "not-in-stop-set")
        and after.input_ids[: len(before.input_ids)] == before.input_ids
    )


# Nothing to learn -------------------------------------------------------------------------------------------------


def dropped_if_empty(row: Row, config: DataConfig) -> Iterator[Drop]:
    """Drop a row of which no answer has words.

    Safe: no other row changes. A row with one empty answer among others is left, since the others are learned.
    Source: Axolotl and mistral-finetune drop such rows as well.
    """
    literals = row.facts.stops.literals
    for path in answer_paths(row.record, config):
        words = value_of(row.record.row, path)
        for literal in literals:
            words = words.replace(literal, "")
        if words.strip() and row.record.text is None:
            return
    if row.record.text is not None and any(_has_words(row, a.start, a.end) for a in row.answers):
        return
    if row.record.messages is not None and any(message.get("tool_calls") for message in row.record.messages):
        return
    yield "drop"


def _has_words(row: Row, start: int, end: int) -> bool:
    words = row.text[start:end]
    for literal in row.facts.stops.literals:
        words = words.replace(literal, "")
    return bool(words.strip())


ROW_EDITS = (
    RowEdit(name="second-bos", code="TOK001", message="fix.second_bos", propose=without_bos, accepts=learns_the_same),
    RowEdit(
        name="repeated-eos", code="LAB009", message="fix.repeated_eos", propose=without_repeated_eos, accepts=ends_once
    ),
    RowEdit(
        name="boundary-space",
        code="LAB007",
        message="fix.boundary_space",
        propose=with_space_moved,
        accepts=has_same_ids,
    ),
    RowEdit(
        name="boundary-space-everywhere",
        code="LAB007",
        message="fix.boundary_space_everywhere",
        propose=with_space_moved,
        accepts=has_same_ids,
        safety="unsafe",
        everywhere=True,
    ),
    RowEdit(name="absent-eos", code="LAB003", message="fix.absent_eos", propose=with_eos, accepts=ends_in_one_more),
    RowEdit(name="empty-row", code="DAT004", message="fix.empty_row", propose=dropped_if_empty),
)
"""In the order in which they are made."""
