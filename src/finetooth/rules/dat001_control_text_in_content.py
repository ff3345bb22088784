"""DAT001 control-text-in-content."""

from __future__ import annotations

import re
from collections.abc import Iterator

from finetooth.rules.contents import Part, parts_of, place_in_text, reproduction, without_code
from finetooth.rules.facts import SetupFacts
from finetooth.rules.literals import CONTROL
from finetooth.rules.row import Row
from finetooth.rules.rule import Because, Hit, rule
from finetooth.types import IGNORE_INDEX, Severity

_SHAPED = re.compile(rf"{CONTROL.pattern}|<(?:start|end)_of_turn>|\[/?INST\]|<</?SYS>>")
"""Text in the shape of a control token, whether this tokenizer has it or not."""

_BY_DESIGN = re.compile(
    r"think|tool|function|image|img|video|audio|vision|media|object|box|quad|fim_|file_sep|repo_name"
)
"""Tokens that content holds by design: thinking, tools, places of media, the middle to be filled in."""


@rule("DAT001", "control-text-in-content", severity="warning")
def control_text_in_content(row: Row) -> Iterator[Hit]:
    """Find the text of control tokens inside what people and models say.

    ## What it does
    Looks in the content of every message for the tokenizer's special tokens and for text in the shape of one
    (`<|im_end|>`, `</s>`, `[INST]`), and then at the ids that it has there. Rows of whole text spell their control
    marks by design and are left alone. Of a prompt and completion given as strings only a stop literal in the middle of
    the completion counts, with more words after it. Think and tool tags, places of images and the like are left out.

    Causes: `ends-answer` (error: a stop token inside an answer that is learned), `doubles-end` (warning: the data
    spells the terminator at an answer's end, and the template prints it again; LAB009's matter), `becomes-control-id`
    (error inside an answer that is learned, else a warning), `stays-text` (info; a warning where the template in force
    prints the same text as a mark). Text that is no control id counts outside code alone.

    ## Why it is bad
    A tokenizer matches special tokens wherever they stand. `</s>` in the middle of an answer becomes the EOS id: the
    model learns to stop there, and what follows is learned as if it came after the end. `<|im_start|>system` in a
    question opens a turn that nobody wrote.

    ## Example
    `{"role": "assistant", "content": "Close the tag with </s> and go on."}` on a Llama tokenizer.

    ## Fix
    Rewrite the text in the data (`&lt;/s&gt;`, or a zero-width space after the first character), or encode with
    `sanitize_control_tokens=True` (transformers 5.23) or `split_special_tokens=True`, in training and at inference.

    ## Fix safety
    Not fixed automatically: whether the text is meant as a mark is known to its author alone.

    ## Sources
    transformers #29279 and pull request #47853; vLLM pull request #31735.
    """
    record = row.record
    if record.messages is None:
        if record.completion is not None:
            yield from _in_completion(row)
        return
    first, pattern = _literals(row.facts)
    for part in parts_of(row):
        text = part.text
        # Most contents hold none of the characters that these texts begin with.
        if not any(character in text for character in first):
            continue
        for match in pattern.finditer(text):
            hit = _judged(row, part, match.start(), match.end())
            if hit is not None:
                yield hit


def _literals(facts: SetupFacts) -> tuple[str, re.Pattern[str]]:
    """Return the first characters of all that is looked for, and a pattern of it."""
    known: tuple[str, re.Pattern[str]] | None = facts.__dict__.get("_control_texts")
    if known is None:
        added = facts.tokenizer.added_tokens.values()
        specials = [token.content for token in added if token.special and len(token.content.strip()) > 1]
        wanted = [text for text in (*specials, *facts.stops.literals) if text and not _BY_DESIGN.search(text.lower())]
        longest_first = sorted(set(wanted), key=len, reverse=True)
        pattern = re.compile("|".join([*map(re.escape, longest_first), _SHAPED.pattern]))
        first = "".join(sorted({"<", "[", *(text[0] for text in wanted)}))
        known = facts.__dict__["_control_texts"] = (first, pattern)
    return known


def _judged(row: Row, part: Part, start: int, end: int) -> Hit | None:
    """Return a hit for a literal in a content, by the ids that it has in the row."""
    literal = part.text[start:end]
    facts = row.facts
    token_id = facts.special_ids.get(literal)
    if _BY_DESIGN.search(literal.lower()):
        return None
    place = place_in_text(row, part, start, end)
    if place is None:
        return None  # the template dropped it
    first, last = row.tokens_in(*place)
    is_control = token_id is not None and row.input_ids[first:last] == [token_id]
    if not is_control:
        if first == last or without_code(part.text)[start:end] != literal:
            return None  # cut away, or a quotation that does no harm
        if literal == "</s>" and "<s>" in part.text:
            return None  # HTML that strikes text out
        return _hit(row, part, literal, place, (first, last), "stays-text", _stays_text_severity(facts, literal))
    if part.is_answer and literal in facts.stops.literals and not part.text[end:].strip():
        # The data spells the terminator: by design where the template prints none, and twice where it does.
        is_twice = any(span.message_index == part.message_index and span.end > place[1] for span in row.spans)
        return _hit(row, part, literal, place, (first, last), "doubles-end", "warning") if is_twice else None
    learned = part.is_answer and row.labels[first] != IGNORE_INDEX
    cause = "ends-answer" if learned and token_id in facts.stop_ids else "becomes-control-id"
    return _hit(row, part, literal, place, (first, last), cause, "error" if learned else "warning")


def _stays_text_severity(facts: SetupFacts, literal: str) -> Severity:
    template = facts.template
    return "warning" if template is not None and literal in template.source else "info"


def _in_completion(row: Row) -> Iterator[Hit]:
    """Yield the stop literal in the middle of a completion, where more words follow that no mark opens."""
    completion = row.record.completion or ""
    for literal in row.facts.stops.literals:
        if literal not in completion:
            continue
        start = completion.find(literal)
        after = completion[start + len(literal) :].strip()
        bos = row.facts.tokenizer.bos_token
        if not after or (bos and after.startswith(bos)) or _SHAPED.match(after) or after.startswith(literal):
            continue  # the end, or a conversation of several turns written by hand
        part = parts_of(row)[-1]
        place = place_in_text(row, part, start, start + len(literal))
        if place is None:
            continue
        first, last = row.tokens_in(*place)
        if row.input_ids[first:last] != [row.facts.special_ids.get(literal)]:
            continue  # in pieces: LAB001's matter
        learned = row.labels[first] != IGNORE_INDEX
        yield _hit(row, part, literal, place, (first, last), "ends-answer", "error" if learned else "warning")


def _hit(
    row: Row,
    part: Part,
    literal: str,
    place: tuple[int, int],
    tokens: tuple[int, int],
    cause: str,
    severity: Severity,
) -> Hit:
    ids = row.input_ids[slice(*tokens)]
    shown = ", ".join(map(str, ids))
    learned = part.is_answer and any(label != IGNORE_INDEX for label in row.labels[slice(*tokens)])
    return Hit(
        f"rules_dat.control_text_{'answer' if part.is_answer else 'prompt'}",
        {"literal": literal, "role": part.role},
        help="rules_dat.control_text_help",
        because=Because(
            code=cause,
            key=f"rules_dat.control_text_{cause.replace('-', '_')}",
            values={"literal": literal, "ids": shown},
            evidence={
                "literal": literal,
                "ids": ids,
                "pieces": row.facts.pieces(ids),
                "role": part.role,
                "message_index": part.message_index,
                "supervised": learned,
            },
        ),
        start=place[0],
        end=place[1],
        first_token=tokens[0],
        end_token=tokens[1],
        severity=severity,
        folded_under="LAB009" if cause == "doubles-end" else None,
        reproduction=row.facts.reproduction(f"a {literal} b") if cause != "stays-text" else _reproduction(row, literal),
    )


def _reproduction(row: Row, literal: str) -> tuple[str, ...]:
    return reproduction(row, f"{literal!r} in str(row)")
