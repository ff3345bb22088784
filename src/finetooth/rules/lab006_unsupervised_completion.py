"""LAB006 unsupervised-completion."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from finetooth.rules.endings import terminator_of
from finetooth.rules.row import Answer, Row
from finetooth.rules.rule import Because, Hit, rule
from finetooth.types import IGNORE_INDEX


@rule("LAB006", "unsupervised-completion", severity="warning")
def unsupervised_completion(row: Row) -> Iterator[Hit]:
    """Find answers that should be learned, and of which tokens are masked.

    ## What it does
    Looks in every answer for tokens with the label -100. The terminator alone is LAB002's matter, white space around
    the answer is left out, and so is what `train_on` or the row's own keys leave out. Causes:

    - `last-turn-only`: earlier answers are masked whole, the last one is learned;
    - `boundary-cut`: the first or the last tokens of an answer are masked;
    - `pad-inside`: the masked tokens have the padding id, which the collator masks wherever it stands;
    - `other`: tokens in the middle, or a whole answer that is not an earlier one.

    ## Why it is bad
    The model learns to continue answers that it never learned to begin, or only the last answer of each conversation.

    ## Example
    `completion-collator` without an instruction template on a conversation of three turns: everything up to the last
    `[/INST]` is masked, two answers of three with it.

    ## Fix
    By cause: give the instruction template as well, label by turn (`--labels finetooth`), or take the padding token for
    padding alone.

    ## Fix safety
    Not fixed automatically: to learn the last turn alone can be a choice (`--train-on last` says so).

    ## Sources
    axolotl #1761 and #2089; LLaMA-Factory #3729 and #5165; transformers 5.23, whose assistant mask drops the last
    tokens of a last character that has several.
    """
    labels = row.labels
    hurt = [
        (number, answer)
        for number, answer in enumerate(row.answers)
        if IGNORE_INDEX in labels[answer.first_token : answer.end_token]
    ]
    if not hurt or not row.supervised:
        return
    missing = [(number, answer, run) for number, answer in hurt if (run := _missing(row, answer))]
    if not missing:
        return
    number, answer, run = missing[0]
    whole = [n for n, one, masked in missing if len(masked) >= _num_tokens(row, one)]
    last = len(row.answers) - 1
    ids = [row.input_ids[index] for index in run]
    if whole == list(range(len(whole))) and len(whole) == last > 0 and len(missing) == len(whole):
        cause = "last-turn-only"
    elif row.facts.masks_pad_by_id and all(token == row.facts.tokenizer.pad_id for token in ids):
        cause = "pad-inside"
    elif number not in whole and (_at_edge(row, answer, run)):
        cause = "boundary-cut"
    else:
        cause = "other"
    values: dict[str, Any] = {
        "tokens": sum(len(masked) for _, _, masked in missing),
        "answers": len(missing),
        "of": len(row.answers),
        "way": row.facts.way,
        "pad": row.facts.tokenizer.special_tokens.get("pad_token"),
        "ids": ", ".join(map(str, ids[:8])),
        "pieces": " ".join(f"`{piece}`" for piece in row.facts.pieces(ids[:8])),
    }
    yield Hit(
        "rules_lab.unsupervised_completion",
        values=values,
        help={
            "last-turn-only": "rules_lab.unsupervised_last_help",
            "pad-inside": "rules_lab.unsupervised_pad_help",
        }.get(cause, "rules_lab.unsupervised_help"),
        because=Because(
            code=cause,
            key={
                "last-turn-only": "rules_lab.unsupervised_last",
                "pad-inside": "rules_lab.unsupervised_pad",
                "boundary-cut": "rules_lab.unsupervised_edge",
                "other": "rules_lab.unsupervised_other",
            }[cause],
            values=values,
            evidence={"ids": ids[:16], "pieces": row.facts.pieces(ids[:16]), "answers": [n for n, _, _ in missing]},
        ),
        first_token=run[0],
        end_token=run[-1] + 1,
        folded_under="LAB007" if run == [answer.first_token] and row.offsets[run[0]][0] < answer.start else None,
    )


def _content(row: Row, answer: Answer) -> list[int]:
    """Return the tokens of an answer without its terminator, and without white space at its edges."""
    found = terminator_of(row, answer)
    end = found[1] if found is not None else answer.end
    text = row.text[answer.start : end]
    start = answer.start + len(text) - len(text.lstrip())
    end = answer.start + len(text.rstrip())
    first, last = row.tokens_in(start, end) if end > start else (0, 0)
    if found is not None:
        # The pieces of a terminator that is cut may begin inside the last word.
        while last > first and row.offsets[last - 1][1] > found[1]:
            last -= 1
    return list(range(first, last))


def _missing(row: Row, answer: Answer) -> list[int]:
    return [index for index in _content(row, answer) if row.labels[index] == IGNORE_INDEX]


def _num_tokens(row: Row, answer: Answer) -> int:
    return len(_content(row, answer))


def _at_edge(row: Row, answer: Answer, run: list[int]) -> bool:
    """Return whether masked tokens are one run, at the start or at the end of an answer."""
    content = _content(row, answer)
    return run[-1] - run[0] + 1 == len(run) and (run[0] == content[0] or run[-1] == content[-1])
