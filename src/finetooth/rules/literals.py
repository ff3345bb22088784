"""Special tokens as text: in which contexts a literal is its one token, and where rows hold it as scaffolding."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator

from finetooth.rules.facts import CONTEXTS, SetupFacts
from finetooth.rules.row import Row
from finetooth.template import ASSISTANT_ROLES, CONTROL_LITERAL

CONTROL = re.compile(f"{CONTROL_LITERAL.pattern}|<｜[^｜<>\\s]{{1,40}}｜>")
"""Text in the shape of a control token; DeepSeek's has full-width bars."""


def broken_contexts(facts: SetupFacts, literal: str, further: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the contexts after which a literal is not one token of its own; remembered with the set-up.

    Args:
        facts: The set-up.
        literal: The text of a special token, or one that looks like it.
        further: Contexts beside `CONTEXTS`: the last characters of the data's own answers.
    """
    known: dict[tuple[str, str], bool] = facts.__dict__.setdefault("_whole_in_context", {})
    broken = []
    for before in dict.fromkeys((*CONTEXTS, *further)):
        key = (literal, before)
        if key not in known:
            # Not every vocabulary lists its terminator among the added tokens; what counts is that it is one id.
            whole = facts.special_ids.get(literal, facts.tokenizer.backend.token_to_id(literal))
            known[key] = whole is not None and facts.ids_in_context(before, literal) == [whole]
        if not known[key]:
            broken.append(before)
    return tuple(broken)


def is_whole_everywhere(facts: SetupFacts, literal: str) -> bool:
    """Return whether a literal is one token in every context; worked out once for each set-up."""
    known: dict[str, bool] = facts.__dict__.setdefault("_whole_everywhere", {})
    found = known.get(literal)
    if found is None:
        found = known[literal] = not broken_contexts(facts, literal)
    return found


def emitted_by_template(facts: SetupFacts) -> list[str]:
    """Return the literals in control shape that the template in force prints around any conversation."""
    template = facts.template
    if template is None:
        return []
    printed = (template.user_header, template.generation_prompt_header, template.next_user_header)
    return list(dict.fromkeys(literal for text in printed for literal in CONTROL.findall(text)))


def scaffolding(row: Row, literal: str) -> Iterator[tuple[int, int]]:
    """Yield where a row's text holds a literal that is not somebody's words.

    In a row of text or of prompt and completion all of it is the row's own scaffolding. In a conversation the template
    prints the scaffolding, and what stands in the content is there by somebody's hand: the matter of DAT001.
    """
    quoted = row.record.messages is not None and literal in _content(row)
    position = row.text.find(literal)
    while position >= 0:
        end = position + len(literal)
        if not quoted or not _is_content(row, position, end):
            yield position, end
        position = row.text.find(literal, end)


def _content(row: Row) -> str:
    return json.dumps(row.record.messages, ensure_ascii=False, default=str)


def _is_content(row: Row, start: int, end: int) -> bool:
    """Return whether characters are inside a message, and not the terminator at the end of an answer."""
    return any(
        span.start <= start and end <= span.end and not (span.role in ASSISTANT_ROLES and end == span.end)
        for span in row.spans
    )


def is_one_token(row: Row, start: int, end: int, token_id: int | None) -> tuple[bool, int, int]:
    """Return whether some characters are one token of this id, and the half-open tokens that hold them."""
    first, last = row.tokens_in(start, end)
    return last == first + 1 and row.input_ids[first] == token_id, first, last
