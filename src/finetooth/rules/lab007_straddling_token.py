"""LAB007 straddling-token."""

from __future__ import annotations

from collections.abc import Iterator

from finetooth.rules.row import Row
from finetooth.rules.rule import Because, Hit, rule


@rule("LAB007", "straddling-token", severity="warning", fix="safe")
def straddling_token(row: Row) -> Iterator[Hit]:
    """Find tokens that hold the end of a prompt and the start of its answer.

    ## What it does
    Looks at the first token of every answer: where its characters begin before the answer does, one token holds both.
    Causes: `space` (what it holds of the prompt is white space) and `merge` (other characters).

    ## Why it is bad
    At inference the prompt ends inside that token. It is encoded as other tokens there, the model has never seen them
    at the end of a prompt, and the first token of the answer is one that it has not learned to write.

    ## Example
    The prompt ends in `Answer: `, the completion is `Paris`: a byte-level tokenizer makes one token of the space and
    the word, ` Paris`, while the prompt alone ends in a token for the space.

    ## Fix
    Move the white space from the end of the prompt to the start of the completion.

    ## Fix safety
    Safe for white space between a prompt and a completion: the ids stay the same. The prompt that is used at inference
    has to change with it. Other causes are left to their owner.

    ## Sources
    TRL #5213, #6105, #4147; Axolotl's documentation of conversations (spans inside tokens).
    """
    for answer in row.answers:
        index = answer.first_token
        if index >= answer.end_token or row.offsets[index][0] >= answer.start:
            continue
        start, end = row.offsets[index]
        before, after = row.text[start : answer.start], row.text[answer.start : end]
        cause = "space" if before.isspace() else "merge"
        token_id = row.input_ids[index]
        values = {
            "piece": row.facts.tokenizer.piece(token_id),
            "token_id": token_id,
            "before": before.replace("\n", "\\n"),
            "after": after.replace("\n", "\\n"),
        }
        yield Hit(
            "rules_lab.straddling_token",
            values=values,
            # Where the answer's part alone is white space, that moves, and no words do: `:` and a newline.
            help="rules_lab.straddling_token_back_help"
            if after.isspace() and cause == "merge"
            else "rules_lab.straddling_token_help",
            because=Because(
                code=cause,
                key="rules_lab.straddling_token_space" if cause == "space" else "rules_lab.straddling_token_merge",
                values=values,
                evidence={"id": token_id, "piece": values["piece"], "prompt_part": before, "completion_part": after},
            ),
            first_token=index,
            end_token=index + 1,
            fixable=cause == "space" and row.record.prompt is not None,
            reproduction=row.facts.reproduction(row.text[max(0, start - 8) : end]),
        )
        return
