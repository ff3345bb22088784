"""LAB009 repeated-eos."""

from __future__ import annotations

from collections.abc import Iterator

from finetooth.rules.endings import SPLIT, ending_of, terminator_of
from finetooth.rules.row import Row
from finetooth.rules.rule import Because, Hit, rule
from finetooth.types import IGNORE_INDEX


@rule("LAB009", "repeated-eos", severity="warning", fix="safe")
def repeated_eos(row: Row) -> Iterator[Hit]:
    """Find answers that end in two terminators with nothing but white space between.

    ## What it does
    Looks at what stands before and after the terminator of the last answer. A second stop token that is learned, with
    only white space between, is reported. Causes: `both-add` (they touch: the data or the template spells one, and the
    trainer or the template adds another) and `newline` (white space after the first one hid it from the test "does the
    text end in the EOS?").

    ## Why it is bad
    The second token is learned as what follows the end. Where inference stops at the first one nothing shows; where a
    server strips or ignores one of them, the other appears in the output.

    ## Example
    The completion is `はい。</s>` and a newline, and the trainer appends `</s>`, since the text does not end in it.

    ## Fix
    Drop one: take the literal out of the data where the trainer or the template adds it.

    ## Fix safety
    Safe where the data spells a terminator: what is learned before the first one stays, and the row still ends in one.
    Two that others add are left to their owner.

    ## Sources
    TRL #3318 and #4481; Megatron-Bridge pull request #2733.
    """
    ending = ending_of(row)
    if ending.branch not in ("stops", "not-in-stop-set", *SPLIT):
        return
    # Pieces that a stop token follows are LAB001's matter.
    first, second = ending.first_token, None if ending.branch in SPLIT else _stop_after(row, ending.end_token)
    if second is None:
        found = _two_in_text(row)
        if found is None:
            return
        first, second = found
    facts = row.facts
    ids = row.input_ids[first : second + 1]
    between = row.text[row.offsets[first][1] : row.offsets[second][0]]
    newline = bool(between) and between.isspace()
    values = {"first": facts.tokenizer.piece(ids[0]), "second": facts.tokenizer.piece(ids[-1])}
    yield Hit(
        "rules_lab.repeated_eos",
        values=values,
        help="rules_lab.repeated_eos_help",
        because=Because(
            code="newline" if newline else "both-add",
            key="rules_lab.repeated_eos_newline" if newline else "rules_lab.repeated_eos_both",
            evidence={"ids": ids, "pieces": facts.pieces(ids), "between": between},
        ),
        first_token=first,
        end_token=second + 1,
        fixable=_is_spelled(row),
    )


def _is_spelled(row: Row) -> bool:
    """Return whether the data itself spells a terminator at the end of an answer."""
    record = row.record
    texts = [record.text, record.completion, *(message.get("content") for message in record.messages or [])]
    literals = row.facts.stops.literals
    return any(isinstance(text, str) and text.rstrip().endswith(literals) for text in texts)


def _stop_after(row: Row, index: int) -> int | None:
    """Return the position of a learned stop token that follows, with only white space between."""
    stop_ids, length = row.facts.stop_ids, len(row.input_ids)
    while index < length:
        if row.input_ids[index] in stop_ids:
            return index if row.labels[index] != IGNORE_INDEX else None
        start, end = row.offsets[index]
        if end <= start or not row.text[start:end].isspace():
            return None
        index += 1
    return None


def _two_in_text(row: Row) -> tuple[int, int] | None:
    """Return the first token of each of two stop literals at the end of an answer's text."""
    answer = ending_of(row).answer
    last = terminator_of(row, answer)
    if last is None:
        return None
    before = row.text[answer.start : last[1]].rstrip()
    if not before.endswith((last[0], *row.facts.stops.literals)):
        return None
    literal = next(one for one in (last[0], *row.facts.stops.literals) if before.endswith(one))
    end = answer.start + len(before)
    first = row.tokens_in(end - len(literal), end)[0]
    second = row.tokens_in(last[1], last[2])[0]
    learned = row.labels[first] != IGNORE_INDEX and row.labels[second] != IGNORE_INDEX
    return (first, second) if learned and first < second else None
