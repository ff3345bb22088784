"""LAB001 split-eos."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from finetooth.rules.endings import SPLIT, Ending, endings_of
from finetooth.rules.row import Row
from finetooth.rules.rule import Because, Hit, rule

_CAUSES = {
    "TOK003": "rules_lab.split_eos_normalized",
    "single-word": "rules_lab.split_eos_single_word",
    "split-special-tokens": "rules_lab.split_eos_setting",
    "encoded-otherwise": "rules_lab.split_eos_otherwise",
    "other-token": "rules_lab.split_eos_other_token",
    "TOK009": "rules_lab.split_eos_no_token",
    "spelling": "rules_lab.split_eos_spelling",
}
_REMEDIES = {
    "TOK003": "rules_lab.split_eos_normalized_help",
    "single-word": "rules_lab.split_eos_single_word_help",
    "split-special-tokens": "rules_lab.split_eos_setting_help",
    "encoded-otherwise": "rules_lab.split_eos_otherwise_help",
    "other-token": "rules_lab.split_eos_other_token_help",
    "TOK009": "rules_lab.split_eos_no_token_help",
    "spelling": "rules_lab.split_eos_spelling_help",
}


@rule("LAB001", "split-eos", severity="error", fix="safe")
def split_eos(row: Row) -> Iterator[Hit]:
    """Find answers that end in the text of the stop token, cut into ordinary pieces.

    ## What it does
    Looks at the end of every answer. Where the text there is a stop literal (`</s>`, `<|im_end|>`), and the tokens of
    those characters are not that one token, the answer is reported with its pieces. The cause is tried on the
    tokenizer itself:

    - `TOK003`: the added token has `normalized: true`, and the normalizer makes another text of it (`▁</s>`), which is
      found after a space and not after the character that stands there;
    - `TOK009`: the literal is no added token of this vocabulary;
    - `spelling`: the data spells it by hand in another way (`</S>`, `< /s>`);
    - `single-word`: the added token has `single_word: true` and stands next to a word;
    - `split-special-tokens`: the tokenizer is told to cut special tokens;
    - `encoded-otherwise`: rows that hold ids, which this tokenizer would now encode as one token;
    - `other-token`: none of these; another token takes some of its characters.

    ## Why it is bad
    The model learns to write the text `</s>` at the end of its answers, letter by letter, and never the token at which
    inference stops. It shows `</s>` and runs on. The loss curve is that of a healthy run.

    ## Example
    With `normalized: true` and Llama 2's normalizer, `嬉しいですわ。</s>` ends in `</` `s` `>` (829, 29879, 29958)
    where the EOS (2) was due.

    ## Fix
    By cause: set `normalized` to false on the added token; end answers with a token that the vocabulary has; or spell
    the literal as the token is spelt.

    ## Fix safety
    Safe for `TOK003`: the flag changes no id of any other text. The others change data or vocabulary, and are left to
    their owner.

    ## Sources
    transformers #23833 and #23818; peft #1003; transformers #26743. Measured on a 260K-parameter Llama, 40 epochs: EOS
    split, 0 of 30 answers stop and 30 of 30 show `</s>`; EOS whole, 30 of 30 stop.
    """
    endings = endings_of(row)
    last = endings[-1]
    if last.branch in SPLIT:
        yield _hit(row, last, None)
        return
    for number, ending in enumerate(endings[:-1]):
        if ending.branch in SPLIT:
            yield _hit(row, ending, number + 1)
            return


def _hit(row: Row, ending: Ending, turn: int | None) -> Hit:
    evidence = dict(ending.evidence)
    literal = ending.terminator or ""
    values: dict[str, Any] = {
        "literal": literal,
        "pieces": " ".join(f"`{piece}`" for piece in evidence["pieces"]),
        "ids": ", ".join(map(str, evidence["ids"])),
        "before": _visible(evidence.get("previous_character") or ""),
        "token_id": evidence.get("token_id"),
        "pattern": evidence.get("stored_pattern"),
        "normalizer": evidence.get("normalizer"),
        "file": evidence.get("file"),
        "intended": evidence.get("intended") or row.facts.tokenizer.eos_token or "",
    }
    if turn is not None:
        values["turn"] = evidence["turn"] = turn
    cause = ending.cause
    start, end = row.characters_of(ending.first_token, ending.end_token)
    context = row.text[max(0, start - 1) : end]
    return Hit(
        "rules_lab.split_eos" if turn is None else "rules_lab.split_eos_turn",
        values=values,
        help=_REMEDIES[cause],
        because=Because(code=cause, key=_CAUSES[cause], values=values, evidence=evidence),
        first_token=ending.first_token,
        end_token=ending.end_token,
        fixable=cause == "TOK003",
        reproduction=row.facts.reproduction(context),
    )


def _visible(character: str) -> str:
    return {"\n": "\\n", "\t": "\\t", "": "^"}.get(character, character)
