"""DAT004 empty-completion."""

from __future__ import annotations

from collections.abc import Iterator

from finetooth.rules.contents import content_of, reproduction
from finetooth.rules.row import Row
from finetooth.rules.rule import Because, Hit, rule
from finetooth.template import ASSISTANT_ROLES
from finetooth.types import Severity

_OTHER_WORDS = ("tool_calls", "function_call", "reasoning_content", "reasoning", "thinking")
"""Keys of a message that hold words beside its content."""


@rule("DAT004", "empty-completion", severity="error", fix="safe")
def empty_completion(row: Row) -> Iterator[Hit]:
    """Find answers that are empty or white space alone.

    ## What it does
    Looks at the answers that are to be learned: a message's content (unless the message calls a tool or thinks), a
    completion, the stretch of a text between its marks, and the supervised ids of rows that are encoded already. Stop
    literals and white space are no words.

    It is an error where the row's only words to learn are missing, so that nothing but the end is learned
    (`nothing-but-the-end`), and a warning where other answers of the row have words (`one-of-several`), or where not
    even the end is supervised (`nothing`; LAB004 has more on that).

    ## Why it is bad
    The model learns to stop at once. Among many rows a few of them are a small dent; in a data set of short answers
    they show as empty replies.

    ## Example
    `{"prompt": "What is your name?", "completion": ""}`

    ## Fix
    Drop the rows, or write the answers.

    ## Fix safety
    Safe: `finetooth fix` drops rows of which no answer has words, and no other row changes. A row that has one empty
    answer among others is left.

    ## Sources
    Axolotl, mistral-finetune's `reformat_data.py`.
    """
    record = row.record
    if record.messages is not None:
        yield from _in_messages(row)
    elif record.completion is not None:
        completion = record.completion
        if len(completion) < 64 and not _words(row, completion):
            start = len(record.prompt or "")
            yield _hit(row, start, start + len(completion), 0)
    elif record.text is not None:
        answers = row.answers
        empty = [
            answer
            for answer in answers
            if answer.end - answer.start < 64 and not _words(row, row.text[answer.start : answer.end])
        ]
        if empty:
            yield _hit(row, empty[0].start, empty[0].end, len(answers) - len(empty))
    elif len(supervised := row.supervised) <= 4 and supervised:
        ids = [row.input_ids[index] for index in supervised]
        if all(token_id in row.facts.stop_ids or _is_blank(row, token_id) for token_id in ids):
            start, end = row.characters_of(supervised[0], supervised[-1] + 1)
            yield _hit(row, start, end, 0)


def _in_messages(row: Row) -> Iterator[Hit]:
    messages = row.record.messages or []
    empty: list[int] = []
    num_words = 0
    for index, message in enumerate(messages):
        if message.get("role") not in ASSISTANT_ROLES or index < (row.record.num_prompt_messages or 0):
            continue
        content = message.get("content")
        # Looked at as it stands first: a long one has words.
        is_long = isinstance(content, str) and len(content) >= 64
        if is_long or _words(row, content_of(message)) or any(message.get(key) for key in _OTHER_WORDS):
            num_words += 1
        else:
            empty.append(index)
    if not empty:
        return
    index = empty[-1]
    span = next((span for span in row.spans if span.message_index == index), None)
    learned = any(answer.message_index in empty for answer in row.answers)
    if learned or not row.supervised:
        yield _hit(row, span.start if span else None, span.end if span else None, num_words, index)


def _words(row: Row, text: str) -> str:
    """Return what a text holds beside white space and stop literals."""
    words = text.strip()
    if not words:
        return ""
    for literal in row.facts.stops.literals:
        words = words.replace(literal, "")
    return words.strip()


def _is_blank(row: Row, token_id: int) -> bool:
    data = row.facts.tokenizer.piece_bytes(token_id)
    return data is not None and not data.strip()


def _hit(row: Row, start: int | None, end: int | None, num_words: int, index: int | None = None) -> Hit:
    severity: Severity = "warning"
    if num_words:
        cause = "one-of-several"
    elif not row.supervised:
        cause = "nothing"
    else:
        cause, severity = "nothing-but-the-end", "error"
    learned = [row.labels[position] for position in row.supervised[:8]]
    return Hit(
        "rules_dat.empty_completion",
        help="rules_dat.empty_completion_help",
        because=Because(
            code=cause,
            key=f"rules_dat.empty_{cause.replace('-', '_')}",
            values={} if cause == "nothing" else {"pieces": " ".join(row.facts.pieces(learned)), "words": num_words},
            evidence={
                "message_index": index,
                "supervised_ids": learned,
                "pieces": row.facts.pieces(learned),
                "answers_with_words": num_words,
            },
        ),
        start=start,
        end=end,
        severity=severity,
        fixable=num_words == 0,
        reproduction=_reproduction(row, index),
    )


def _reproduction(row: Row, index: int | None) -> tuple[str, ...]:
    if row.record.shape == "messages" and index is not None:
        return reproduction(row, f"row['messages'][{index}]")
    if row.record.completion is not None:
        key = "completion" if row.record.row.get("completion") is not None else "response"
        return reproduction(row, f"repr(row[{key!r}])")
    return ()
