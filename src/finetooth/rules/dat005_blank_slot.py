"""DAT005 blank-slot."""

from __future__ import annotations

from collections.abc import Iterator

from finetooth.rules.contents import Part, excerpt, parts_of, place_in_text, reproduction
from finetooth.rules.row import Row
from finetooth.rules.rule import Because, Hit, rule
from finetooth.rules.slots import Slot, blank_slots, speaks_of_templates, unfilled_slots

_ANSWER_MARKS = (
    "[/INST]",
    "<|im_start|>assistant",
    "<start_of_turn>model",
    "<|start_header_id|>assistant",
    "<|assistant|>",
    "### Response:",
    "### 応答",
    "ASSISTANT:",
)
"""What stands before an answer in well-known forms: where nobody says whose a text is, the prompt ends there."""


@rule("DAT005", "blank-slot", severity="warning", never_exceeds="warning")
def blank_slot(row: Row) -> Iterator[Hit]:
    r"""Find slots of a prompt that were left unfilled or blank.

    ## What it does
    Looks at the words of users and systems, outside code, for

    - `unfilled`: `{name}`, `{{name}}`, `${name}`, and in prompts `<your name>`, where they are plainly slots: not in
      code, JSON, mathematics or HTML, and not in a text that speaks of templates;
    - `blank-lines`: three or more blank lines, which is what a slot leaves behind that was filled with nothing;
    - `empty-heading`: a heading such as `情報:` or `# Facts` with nothing under it.

    Answers are looked at for unfilled slots, which are counted apart. Blank lines in an answer, and at the end of a
    question, are no slots.

    ## Why it is bad
    A prompt builder that fills nothing in trains the model on prompts that inference never makes, and on answers that
    use facts it was not shown: it learns to make them up. An answer with `{{name}}` teaches the model to write braces.

    ## Example
    `Answer with the facts below where they help.\n\n\n\nHello`

    ## Fix
    Fill the slot where the rows are made, or leave out its heading and its blank lines where there is nothing to say.

    ## Fix safety
    Not fixed automatically: what belongs there is not in the row.

    ## Sources
    The report that finetooth began with: its slot for reference facts is blank. LLaMA-Factory's identity
    data set holds `{{name}}` and `{{author}}` by design, to be filled in before training.
    """
    for part in parts_of(row):
        if part.is_answer:
            slots = unfilled_slots(part.text, is_prompt=False)[:1]
            # An answer about templates may not say so itself: the question does.
            if slots and not any(speaks_of_templates(other.text) for other in parts_of(row) if not other.is_answer):
                yield _hit(row, part, slots[0], "answer")
            continue
        if part.role == "tool":
            continue  # a program's output, which nobody fills in
        prompt = part
        if part.role == "unknown":
            ends = [end for mark in _ANSWER_MARKS if (end := part.text.rfind(mark)) >= 0]
            if not ends:
                continue
            prompt = Part("user", part.text[: max(ends)], None, part.start)
        seen: set[str] = set()
        is_system = prompt.role in ("system", "developer")
        for slot in (
            *unfilled_slots(prompt.text, is_prompt=True),
            *blank_slots(prompt.text, is_system=is_system, is_whole=prompt.start is not None),
        ):
            if slot.kind not in seen:
                seen.add(slot.kind)
                yield _hit(row, prompt, slot, "prompt")


def _hit(row: Row, part: Part, slot: Slot, side: str) -> Hit:
    place = place_in_text(row, part, slot.start, slot.end)
    text = part.text[slot.start : slot.end]
    before = part.text[max(0, slot.start - 12) : slot.start]
    after = part.text[slot.end : slot.end + 12]
    key = slot.kind.replace("-", "_")
    message = f"rules_dat.slot_{key}_in_answer" if side == "answer" else f"rules_dat.slot_{key}"
    return Hit(
        message,
        {"slot": excerpt(text.strip() or text, 60)},
        help=f"rules_dat.slot_{key}_help",
        because=Because(
            code=slot.kind,
            key="rules_dat.slot_cause",
            values={"before": excerpt(before), "after": excerpt(after), "role": part.role},
            evidence={
                "slot": text,
                "before": before,
                "after": after,
                "role": part.role,
                "message_index": part.message_index,
            },
        ),
        start=place[0] if place else None,
        end=place[1] if place else None,
        reproduction=reproduction(row, f"{text.strip()!r} in str(row)" if text.strip() else f"{text!r} in row['text']")
        if text.strip() or row.record.shape == "text"
        else (),
    )
