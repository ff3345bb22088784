"""LAB002 masked-eos."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from finetooth.rules.endings import MASKED, Ending, endings_of
from finetooth.rules.row import Row
from finetooth.rules.rule import Because, Hit, rule

_CAUSES = {
    "pad-is-eos": "rules_lab.masked_eos_pad",
    "generation-block": "rules_lab.masked_eos_block",
    "next-message": "rules_lab.masked_eos_next",
    "other-terminator": "rules_lab.masked_eos_other",
    "content-only": "rules_lab.masked_eos_content",
}
_REMEDIES = {
    "pad-is-eos": "rules_lab.masked_eos_pad_help",
    "generation-block": "rules_lab.masked_eos_block_help",
    "next-message": "rules_lab.masked_eos_next_help",
    "other-terminator": "rules_lab.masked_eos_other_help",
    "content-only": "rules_lab.masked_eos_content_help",
}
_FIXABLE = ("pad-is-eos", "generation-block")


@rule("LAB002", "masked-eos", severity="error", fix="safe")
def masked_eos(row: Row) -> Iterator[Hit]:
    """Find answers whose stop token is in the row and is not learned.

    ## What it does
    Looks at the token that ends each answer. Where it is whole, the answer before it is learned, and its own label is
    -100, the cause is tried:

    - `pad-is-eos`: the token has the padding id, and the collator masks that id wherever it stands;
    - `generation-block`: the template's `{% generation %}` block ends before it;
    - `next-message`: the text of the next message brings it, so that it is masked with that message;
    - `other-terminator`: the template ends turns in another token than `eos_token`, which alone was learned;
    - `content-only`: the given labels end where the content ends.

    ## Why it is bad
    The model is shown where answers end and never learns to end them. It answers well and runs on until the limit of
    length. The loss curve is that of a healthy run.

    ## Example
    `pad_token` is `</s>`, and `DataCollatorForLanguageModeling` sets every label equal to the padding id to -100: the
    labels of an answer end in `。` where `。 </s>` was due.

    ## Fix
    By cause: give the tokenizer a padding token of its own (a reserved one: no new row is needed just for padding), or
    mask padding by position; move `{% endgeneration %}` behind the terminator.

    ## Fix safety
    Safe: neither a padding token nor the tag of a block changes any id of the training text.

    ## Sources
    transformers 5.23, data/data_collator.py, where labels equal to the padding id become -100; TRL #976, #1623 and
    pull request #992; axolotl #3754 and #1916; TRL pull request #5988.
    """
    endings = endings_of(row)
    last = endings[-1]
    if last.branch in MASKED:
        yield _hit(row, last, None)
        return
    for number, ending in enumerate(endings[:-1]):
        if ending.branch in MASKED:
            yield _hit(row, ending, number + 1)
            return


def _hit(row: Row, ending: Ending, turn: int | None) -> Hit:
    evidence = dict(ending.evidence)
    values: dict[str, Any] = {
        "literal": ending.terminator,
        "token_id": evidence["token_id"],
        "way": row.facts.way,
        "file": evidence.get("file"),
        "template": evidence.get("template"),
        "next_role": evidence.get("next_role") or "user",
        "eos": row.facts.tokenizer.eos_token,
        "eos_id": row.facts.tokenizer.eos_id,
    }
    if turn is not None:
        values["turn"] = evidence["turn"] = turn
    return Hit(
        "rules_lab.masked_eos" if turn is None else "rules_lab.masked_eos_turn",
        values=values,
        help=_REMEDIES[ending.cause],
        because=Because(code=ending.cause, key=_CAUSES[ending.cause], values=values, evidence=evidence),
        first_token=ending.first_token,
        end_token=ending.end_token,
        fixable=ending.cause in _FIXABLE,
        reproduction=_reproduction(row, ending),
    )


def _reproduction(row: Row, ending: Ending) -> tuple[str, ...]:
    if ending.cause != "pad-is-eos" or row.facts.files is None:
        return ()
    directory = str(row.facts.files.directory)
    return (
        f"from transformers import AutoTokenizer; t = AutoTokenizer.from_pretrained({directory!r})",
        "print(t.pad_token, t.pad_token_id, t.eos_token, t.eos_token_id)",
    )
