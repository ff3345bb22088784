"""LAB003 absent-eos."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from finetooth.rules.endings import Ending, endings_of, is_learned
from finetooth.rules.row import Row
from finetooth.rules.rule import Because, Hit, rule


@rule("LAB003", "absent-eos", severity="error", fix="safe")
def absent_eos(row: Row) -> Iterator[Hit]:
    r"""Find answers that no stop token ends.

    ## What it does
    Looks for a stop token at the end of every answer that is learned: as text, or as an id that was appended. Where
    there is neither, the cause is tried:

    - `nobody-appends`: neither the text, nor the chat template, nor the tokenizer puts one there;
    - `add-eos-ignored`: `add_eos_token` is true in tokenizer_config.json, and the tokenizer's post-processor, which
      decides, does not add one;
    - `no-eos`: the set-up has no stop token at all that could be appended (told with TOK012);
    - `last-turn-only`: the last answer has one, an earlier one has none (a warning);
    - `SEQ001`: a limit of length cut it off (a warning, told with SEQ001).

    ## Why it is bad
    The model never sees an answer end, and so never ends one.

    ## Example
    A row `{"text": "Q: Who?\nA: Hello"}` under a collator that encodes it as it is: the last label is that of
    `Hello`.

    ## Fix
    End each answer with the EOS: append the id, or write the token's text where the tokenizer takes it for one token.

    ## Fix safety
    Safe: the id is added at the end of the row, and no other id changes.

    ## Sources
    TRL #931, #1623, #734 and pull request #3091; transformers #22794 and #30947 (a post-processor that ignores
    `add_eos_token`); open-instruct pull request #1876 (cut rows). Measured on a 260K-parameter Llama, 40 epochs: EOS
    absent, 0 of 30 answers stop.
    """
    endings = endings_of(row)
    last = endings[-1]
    if last.branch == "absent":
        yield _absent(row, last, None)
        return
    if last.branch in ("cut", "forged") and last.cause == "SEQ001":
        if last.branch == "cut" and is_learned(row, last.answer.first_token, last.answer.end_token):
            yield _cut(last)
        return
    for number, ending in enumerate(endings[:-1]):
        if ending.branch == "absent":
            yield _absent(row, ending, number + 1)
            return


def _absent(row: Row, ending: Ending, turn: int | None) -> Hit:
    evidence = dict(ending.evidence)
    facts = row.facts
    conversation = row.record.messages is not None and facts.template is not None
    # Where the tokenizer declares no EOS, generation_config.json or config.json may still name a stop id.
    eos_id = facts.tokenizer.eos_id if facts.tokenizer.eos_id is not None else min(facts.stop_ids, default=None)
    values: dict[str, Any] = {
        "eos": facts.tokenizer.piece(eos_id) if eos_id is not None else "",
        "eos_id": eos_id,
        "file": evidence.get("file"),
        "template": facts.template.name if facts.template is not None else "",
        "turn": turn,
    }
    cause = ending.cause if facts.stop_ids else "no-eos"
    key = {
        "no-eos": "rules_lab.absent_eos_none",
        "add-eos-ignored": "rules_lab.absent_eos_flag",
        "last-turn-only": "rules_lab.absent_eos_last_only",
        "nobody-appends": "rules_lab.absent_eos_template" if conversation else "rules_lab.absent_eos_text",
    }[cause]
    if turn is not None:
        evidence["turn"] = turn
    at = max(ending.first_token - 1, 0)
    return Hit(
        "rules_lab.absent_eos" if turn is None else "rules_lab.absent_eos_turn",
        values=values,
        help="rules_lab.absent_eos_none_help"
        if cause == "no-eos"
        else "rules_lab.absent_eos_template_help"
        if conversation
        else "rules_lab.absent_eos_help",
        because=Because(code=cause, key=key, values=values, evidence=evidence),
        first_token=at,
        end_token=ending.first_token,
        severity=None if turn is None else "warning",
        # Ids that other software made are its own to make again, and rows end in the EOS that the tokenizer declares.
        fixable=cause in ("nobody-appends", "add-eos-ignored")
        and not (conversation or facts.way == "as-is" or facts.tokenizer.eos_id is None),
        reproduction=facts.reproduction(row.text[-8:], add_special_tokens=True) if not conversation else (),
    )


def _cut(ending: Ending) -> Hit:
    values = {"kept": ending.evidence["kept"], "tokens": ending.evidence["tokens_cut"]}
    return Hit(
        "rules_lab.absent_eos_cut",
        values=values,
        help="rules_lab.absent_eos_cut_help",
        because=Because(
            code="SEQ001", key="rules_lab.absent_eos_by_length", values=values, evidence=dict(ending.evidence)
        ),
        first_token=ending.first_token,
        end_token=ending.end_token,
        severity="warning",
        folded_under="SEQ001",
    )
