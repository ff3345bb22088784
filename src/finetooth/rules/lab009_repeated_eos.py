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
    trainer or the template adds another), `newline` (white space after the first one hid it from the test "does the
    text end in the EOS?"), and `template` (the template prints both, as Phi-3's does; for information where they are
    two tokens, since inference stops at the first).

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
    literals: list[str] = []
    first, second = ending.first_token, None if ending.branch in SPLIT else _stop_after(row, ending.end_token)
    if second is None:
        found = _two_in_text(row)
        if found is None:
            return
        first, second, *literals = found
    facts = row.facts
    ids = row.input_ids[first : second + 1]
    between = row.text[row.offsets[first][1] : row.offsets[second][0]]
    newline = bool(between) and between.isspace()
    cause = "template" if _both_printed(row, first, second) else "newline" if newline else "both-add"
    template = facts.template.name if facts.template is not None else ""
    # Of a terminator in pieces the first piece says nothing.
    shown = literals or [facts.tokenizer.piece(ids[0]), facts.tokenizer.piece(ids[-1])]
    values = {"first": shown[0], "second": shown[1], "template": template}
    yield Hit(
        "rules_lab.repeated_eos",
        values=values,
        help="rules_lab.repeated_eos_template_help" if cause == "template" else "rules_lab.repeated_eos_help",
        because=Because(
            code=cause,
            key=f"rules_lab.repeated_eos_{cause.replace('-add', '')}",
            values=values,
            evidence={"ids": ids, "pieces": facts.pieces(ids), "between": between},
        ),
        first_token=first,
        end_token=second + 1,
        severity="info" if cause == "template" and ids[0] != ids[-1] else None,
        fixable=_is_spelled(row),
    )


def _both_printed(row: Row, first: int, second: int) -> bool:
    """Return whether two terminators both stand in the text of a conversation, and neither in its words."""
    in_text = all(row.offsets[index][1] > row.offsets[index][0] for index in (first, second))
    return row.record.messages is not None and row.facts.template is not None and in_text and not _is_spelled(row)


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


def _two_in_text(row: Row) -> tuple[int, int, str, str] | None:
    """Return the first token of each of two stop literals at the end of an answer's text, and the literals."""
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
    return (first, second, literal, last[0]) if learned and first < second else None
