"""Labels as TRL's `DataCollatorForCompletionOnlyLM` made them, before it was removed (TRL 0.20).

The documented behaviour: labels are a copy of the ids with the padding id masked (transformers'
`DataCollatorForLanguageModeling`), and then everything up to the end of the response template is masked, which is
looked for in the *labels*, by the ids that the template has when it is encoded alone, without special tokens.
Of several places the last one counts. Where it is not found, the whole row is masked.

With an instruction template, let R be the ends of all responses' templates and H the starts of all instructions'
templates; where either is empty the row is masked. Where H[0] > R[0], a 0 is put in front of H. Over zip(H, R), the
first pair masks [0, R[0]), the others [H[i], R[i]); and where R is shorter than H, all from H[-1] on is masked.
"""

from __future__ import annotations

from finetooth.errors import LabelsError
from finetooth.labels.setup import Labeller, Setup
from finetooth.labels.texts import collating
from finetooth.messages import say
from finetooth.types import IGNORE_INDEX


def labeller(setup: Setup, *, roles: bool = True) -> Labeller:
    """Return what labels records as the collator did.

    Raises:
        LabelsError: No response template is given.
    """
    config = setup.labels
    response = _ids(setup, config.response_template, config.response_template_ids)
    instruction = _ids(setup, config.instruction_template, config.instruction_template_ids)
    if not response:
        raise LabelsError(
            say("labels.no_response_template"),
            where="--labels completion-collator",
            help=say("labels.no_response_help"),
        )
    named = {"labels.response_not_found": response, "labels.instruction_not_found": instruction}
    pad_id = setup.tokenizer.pad_id

    def labels_of(input_ids: list[int]) -> tuple[list[int], list[str]]:
        labels = [IGNORE_INDEX if token_id == pad_id else token_id for token_id in input_ids]
        notes = mask_in_place(labels, response, instruction)
        return labels, [say(note, ids=named[note]) for note in notes]

    return collating(setup, labels_of, roles=roles)


def _ids(setup: Setup, template: str | None, ids: tuple[int, ...] | None) -> list[int]:
    if ids is not None:
        return list(ids)
    if not template:
        return []
    return list(setup.tokenizer.encode([template], add_special_tokens=False)[0].ids)


def mask_in_place(labels: list[int], response: list[int], instruction: list[int]) -> list[str]:
    """Mask labels as the collator did.

    Args:
        labels: Ids with the padding id masked; changed in place.
        response: The ids of the response template.
        instruction: The ids of the instruction template; empty where none is given.

    Returns:
        The keys of what a reader has to know: which template was not found.
    """
    response_ends = [start + len(response) for start in _places(labels, response)]
    if not response_ends:
        labels[:] = [IGNORE_INDEX] * len(labels)
        return ["labels.response_not_found"]
    if not instruction:
        _mask(labels, 0, response_ends[-1])
        return []
    starts = _places(labels, instruction)
    if not starts:
        labels[:] = [IGNORE_INDEX] * len(labels)
        return ["labels.instruction_not_found"]
    if starts[0] > response_ends[0]:
        starts.insert(0, 0)
    for number, (start, end) in enumerate(zip(starts, response_ends, strict=False)):
        _mask(labels, start if number else 0, end)
    if len(response_ends) < len(starts):
        _mask(labels, starts[-1], len(labels))
    return []


def _places(labels: list[int], wanted: list[int]) -> list[int]:
    first, length = wanted[0], len(wanted)
    return [i for i, label in enumerate(labels) if label == first and labels[i : i + length] == wanted]


def _mask(labels: list[int], start: int, end: int) -> None:
    if end > start:
        labels[start:end] = [IGNORE_INDEX] * (end - start)
