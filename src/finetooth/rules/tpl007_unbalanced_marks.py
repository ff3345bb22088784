"""TPL007 unbalanced-marks."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from finetooth.rules.contents import content_of, reproduction, without_code
from finetooth.rules.row import Row
from finetooth.rules.rule import Because, Hit, rule
from finetooth.template import ASSISTANT_ROLES

Fault = Literal["opened_twice", "not_closed", "not_opened"]


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two marks of which the second closes the first."""

    name: str
    """The cause's code."""
    opening: str
    closing: str
    counts_in_answers: bool = False
    """Whether the model writes them, so that they count in an answer's own words too."""
    pattern: re.Pattern[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        pattern = re.compile(f"{re.escape(self.opening)}|{re.escape(self.closing)}")
        object.__setattr__(self, "pattern", pattern)


_PAIRS = (
    _Pair("sys", "<<SYS>>", "<</SYS>>"),
    _Pair("inst", "[INST]", "[/INST]"),
    _Pair("system-prompt", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"),
    _Pair("available-tools", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]"),
    _Pair("tool-results", "[TOOL_RESULTS]", "[/TOOL_RESULTS]"),
    _Pair("tools", "<tools>", "</tools>"),
    _Pair("tool-call", "<tool_call>", "</tool_call>", True),
    _Pair("tool-response", "<tool_response>", "</tool_response>"),
    _Pair("tool-list", "<|tool_list_start|>", "<|tool_list_end|>"),
    _Pair("tool-call", "<|tool_call_start|>", "<|tool_call_end|>", True),
    _Pair("think", "<think>", "</think>", True),
    _Pair("think", "<thinking>", "</thinking>", True),
    _Pair("think", "[THINK]", "[/THINK]", True),
)
"""Turn marks (`<|im_start|>` and its like) are left out: a turn that does not end is LAB003's and LAB009's matter."""

_ENDINGS = ("SYS>>", "INST]", "think", "tool", "TOOL", "THINK", "SYSTEM_PROMPT")
"""Where a text holds none of these, it holds none of the marks."""


@rule("TPL007", "unbalanced-marks", severity="warning")
def unbalanced_marks(row: Row) -> Iterator[Hit]:
    r"""Find paired marks that do not pair.

    ## What it does
    Goes through the marks that come in pairs, in the order of the text: `<<SYS>>`, `[INST]`, `[SYSTEM_PROMPT]`, the
    marks around tools and tool calls, think tags. One that is opened twice, not closed, or closed without being open is
    a finding, once for each kind of mark. In a conversation the words of users, systems and tools are left out, and of
    an answer's own words think tags and tool calls alone count. Marks in code are words. Thinking that the template's
    inference prompt opens need not be opened in the answer.

    The cause is the mark (`sys`, `inst`, `think`, `tool-call`...); the evidence lists the marks with their positions.

    ## Why it is bad
    The model was trained on paired marks: a system block that never closes takes the question in, and two `<think>` in
    a row teach to open a second one. At inference the marks come from a template that pairs them, and differ.

    ## Example
    `[INST] <<SYS>>\nYou are a helpful assistant.\n<<SYS>>\n\nHello [/INST]`: the second `<<SYS>>` should be
    `<</SYS>>`.

    ## Fix
    Write the closing mark where it belongs. For doubled think tags: take them out of the data where the template writes
    them, or give the thinking as `reasoning_content`.

    ## Fix safety
    Not fixed automatically: where a block ends is known to its author alone.

    ## Sources
    TRL pull request #6363 (think tags wrapped twice); Meta's Llama 2 documentation for the form of
    `<<SYS>>`.
    """
    text = row.text
    for ending in _ENDINGS:
        if ending in text:
            break
    else:
        return
    for pair in _PAIRS:
        opened, closed = text.count(pair.opening), text.count(pair.closing)
        if not opened and not closed:
            continue
        if opened == closed and pair.pattern.findall(text) == [pair.opening, pair.closing] * opened:
            continue  # in turn, whoever says them
        hit = _check(row, pair)
        if hit is not None:
            yield hit


def _check(row: Row, pair: _Pair) -> Hit | None:
    marks = list(_marks(row, pair))
    fault: Fault | None = None
    at = 0
    open_at: int | None = None
    for position, is_opening in marks:
        if is_opening and open_at is not None:
            fault, at = "opened_twice", position
            break
        if not is_opening and open_at is None:
            if _is_opened_by_the_prompt(row, pair, position):
                continue
            fault, at = "not_opened", position
            break
        open_at = position if is_opening else None
    if fault is None and open_at is not None:
        fault, at = "not_closed", open_at
    if fault is None:
        return None
    mark = pair.closing if fault == "not_opened" else pair.opening
    return Hit(
        f"rules_tpl.marks_{fault}",
        {"mark": mark, "opening": pair.opening, "closing": pair.closing},
        help=f"rules_tpl.marks_{fault}_help",
        because=Because(
            code=pair.name,
            key="rules_tpl.marks_cause",
            values={
                "opening": pair.opening,
                "closing": pair.closing,
                "num_opening": sum(is_opening for _, is_opening in marks),
                "num_closing": sum(not is_opening for _, is_opening in marks),
            },
            evidence={
                "fault": fault.replace("_", "-"),
                "marks": [
                    {"mark": pair.opening if is_opening else pair.closing, "start": position}
                    for position, is_opening in marks[:16]
                ],
            },
        ),
        start=at,
        end=at + len(mark),
        reproduction=_reproduction(row, pair),
    )


def _marks(row: Row, pair: _Pair) -> Iterator[tuple[int, bool]]:
    """Yield the place of each mark that is no quotation, and whether it opens."""
    messages = row.record.messages
    text = without_code(row.text) if messages is None else row.text
    held = ""
    if messages is not None:
        unplaced = set(range(len(messages))) - {span.message_index for span in row.spans}
        held = "".join(content_of(messages[index]) for index in unplaced)
        if row.record.tools:
            held += json.dumps(row.record.tools, ensure_ascii=False, default=str)
        if pair.pattern.search(held):
            return  # somebody's words that cannot be told from the template's
    answers = {}
    is_mentioned = False
    for match in pair.pattern.finditer(text):
        start = match.start()
        is_opening = match.group() == pair.opening
        if pair.counts_in_answers:
            # Prose about the marks ("use the <think> tag"): a mark that is one begins a line, or follows another.
            if is_opening and not _begins(text, start):
                is_mentioned = True
                continue
            if not is_opening and is_mentioned:
                is_mentioned = False
                continue
        if messages is not None:
            span = next((one for one in row.spans if one.start <= start < one.end), None)
            if span is not None and span.role != "template":
                if span.role not in ASSISTANT_ROLES or not pair.counts_in_answers:
                    continue
                if span not in answers:
                    answers[span] = without_code(row.text[span.start : span.end])
                if answers[span][start - span.start] == " ":
                    continue  # in code: a quotation
        yield start, is_opening


def _begins(text: str, start: int) -> bool:
    """Return whether a mark begins a line, or follows another mark."""
    before = text[max(0, start - 16) : start].rstrip(" \t")
    return not before or before[-1] in "\n>]｜:："


def _is_opened_by_the_prompt(row: Row, pair: _Pair, position: int) -> bool:
    """Return whether a mark that closes in an answer was opened by the template's inference prompt."""
    template = row.facts.template
    if not pair.counts_in_answers or template is None or pair.opening not in template.generation_prompt_header:
        return False
    return any(span.role in ASSISTANT_ROLES and span.start <= position < span.end for span in row.spans)


def _reproduction(row: Row, pair: _Pair) -> tuple[str, ...]:
    if row.record.shape != "text":
        return ()
    column = next((key for key, value in row.record.row.items() if value == row.record.text), "text")
    counts = (f"row[{column!r}].count({mark!r})" for mark in (pair.opening, pair.closing))
    return reproduction(row, ", ".join(counts))
