"""LAB005 supervised-prompt."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from finetooth.rules.row import Row
from finetooth.rules.rule import Because, Hit, rule
from finetooth.template import ASSISTANT_ROLES
from finetooth.types import IGNORE_INDEX

_NOBODY = ("template", "unknown", *ASSISTANT_ROLES)
"""Roles whose text is nobody's words, or the model's own."""


@rule("LAB005", "supervised-prompt", severity="error")
def supervised_prompt(row: Row) -> Iterator[Hit]:
    """Find rows that teach the model to write what others say.

    ## What it does
    Counts the supervised tokens whose characters are in the text of a user, a system message or a tool. Tokens that
    reach into an answer do not count, nor does what `train_on` or the row's own keys ask for. Causes:

    - `whole-text`: the whole row is learned, prompt and answer (a warning: it trains, and learns both);
    - `runs-on`: the mask of an answer goes on behind its terminator to the end of the row;
    - `marker-to-marker`: everything between the mark of an answer and the next mark is learned, and a tool's result or
      another role's text stands there;
    - `roles-unknown`: a text without marks, of which every token is learned (a warning: nobody knows whose words they
      are);
    - `LAB008`: SFTTrainer begins the completion where the ids of the prompt alone and those of the row part, which is
      before the prompt's end (a warning, told with LAB008);
    - `other`: none of these.

    ## Why it is bad
    The model learns to write the user's next question and the tool's result itself. Where prompts are long and answers
    are short, most of the loss is spent on prompts.

    ## Example
    `DataCollatorForLanguageModeling` on conversations: `[INST] こんにちは [/INST]` has labels.

    ## Fix
    Loss on the completion alone: `--labels finetooth`, SFTConfig's `completion_only_loss` or `assistant_only_loss`; for
    a text without marks name the mark before answers: `--response-template`.

    ## Fix safety
    Not fixed automatically: it changes what is trained.

    ## Sources
    TRL #3315, #3279, #1507; open-r1 #517; axolotl #1761; transformers #47325 and #34494 (a mask that runs on).
    """
    supervised = row.supervised
    if not supervised:
        return
    if not row.roles_are_known:
        yield from _unknown(row)
        return
    answers = row.answers
    if len(answers) == 1 and supervised[0] >= answers[0].first_token and supervised[-1] < answers[0].end_token:
        return
    foreign, roles, first, end = _foreign(row)
    if not foreign:
        return
    cause = _cause(row, first, end, roles)
    values: dict[str, Any] = {
        "tokens": foreign,
        "supervised": len(supervised),
        "roles": ", ".join(roles),
        "way": row.facts.way,
    }
    yield Hit(
        "rules_lab.supervised_prompt",
        values=values,
        help=_remedy(row),
        because=Because(
            code=cause,
            key={
                "whole-text": "rules_lab.supervised_prompt_whole",
                "runs-on": "rules_lab.supervised_prompt_runs_on",
                "marker-to-marker": "rules_lab.supervised_prompt_markers",
                "LAB008": "rules_lab.supervised_prompt_prefix",
                "other": "rules_lab.supervised_prompt_other",
            }[cause],
            values=values,
            evidence={"tokens": foreign, "supervised": len(supervised), "roles": list(roles)},
        ),
        first_token=first,
        end_token=end,
        severity="warning" if cause in ("whole-text", "LAB008") else None,
        folded_under="LAB008" if cause == "LAB008" else None,
    )


def _remedy(row: Row) -> str:
    if row.facts.way == "trl" and row.record.messages is not None:
        return "rules_lab.supervised_prompt_trl_help"
    return "rules_lab.supervised_prompt_help"


def _unknown(row: Row) -> Iterator[Hit]:
    """Report a text without roles, where all of it is learned; where a part is masked, somebody knew."""
    if row.facts.setup.labels.train_on == "all" and row.facts.way == "finetooth":
        return
    first = next((index for index, (start, end) in enumerate(row.offsets) if end > start), 0)
    while first < len(row.input_ids) and row.facts.tokenizer.is_special(row.input_ids[first]):
        first += 1
    if first >= len(row.labels) or row.labels[first] == IGNORE_INDEX:
        return
    yield Hit(
        "rules_lab.supervised_prompt_unknown",
        values={"tokens": len(row.supervised)},
        help="rules_lab.supervised_prompt_unknown_help",
        because=Because(
            code="roles-unknown",
            key="rules_lab.supervised_prompt_no_marks",
            evidence={"supervised": len(row.supervised), "shape": row.record.shape},
        ),
        first_token=first,
        end_token=min(first + 8, len(row.input_ids)),
        severity="warning",
    )


def _foreign(row: Row) -> tuple[int, tuple[str, ...], int, int]:
    """Return how many supervised tokens are others' words, whose, and the first run of them."""
    labels = row.labels
    taken: list[int] = []
    roles: dict[str, None] = {}
    for span in row.spans:
        if span.supervised or span.role in _NOBODY:
            continue
        first, end = row.tokens_in(span.start, span.end)
        # A token at the edge may hold the first characters of an answer as well: the matter of LAB007.
        found = [
            i for i in range(first, end) if labels[i] != IGNORE_INDEX and span.start <= row.offsets[i][0] < span.end
        ]
        found = [i for i in found if row.offsets[i][1] <= span.end or not _is_answer(row, i)]
        if found:
            taken += found
            roles[span.role] = None
    if not taken:
        return 0, (), 0, 0
    end = taken[0] + 1
    for index in taken[1:]:
        if index != end:
            break
        end += 1
    return len(taken), tuple(roles), taken[0], end


def _is_answer(row: Row, index: int) -> bool:
    return any(answer.first_token <= index < answer.end_token for answer in row.answers)


def _cause(row: Row, first: int, end: int, roles: tuple[str, ...]) -> str:
    """Tell the causes apart by where the run of labels that holds the words begins and ends."""
    labels, answers = row.labels, row.answers
    if row.facts.way == "trl" and row.supervised[0] == first and any(answer.first_token == end for answer in answers):
        return "LAB008"
    begin = first
    while begin > 0 and labels[begin - 1] != IGNORE_INDEX:
        begin -= 1
    while end < len(labels) and labels[end] != IGNORE_INDEX:
        end += 1
    before = [answer for answer in answers if answer.first_token < first]
    if not before or begin < before[0].first_token - 1:
        # The prompt before the first answer is learned: was anything masked at all?
        pad_id = row.facts.tokenizer.pad_id
        masked = [i for i, label in enumerate(labels) if label == IGNORE_INDEX and row.input_ids[i] != pad_id]
        return "whole-text" if len(masked) * 10 <= len(labels) else "other"
    if row.facts.way == "completion-collator" and row.facts.setup.labels.instruction_template:
        return "marker-to-marker"
    to_the_end = end >= len(labels) or all(row.facts.tokenizer.is_special(i) for i in row.input_ids[end:])
    if to_the_end and ("user" in roles or not answers[-1].first_token > first):
        return "runs-on"
    return "marker-to-marker"
