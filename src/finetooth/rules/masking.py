"""Why the terminator of an answer is masked where the answer is learned: each cause is tried, and one is named."""

from __future__ import annotations

from typing import Any

from finetooth.errors import FinetoothError
from finetooth.rules.facts import SetupFacts
from finetooth.rules.row import Answer, Row
from finetooth.template import ChatTemplate
from finetooth.types import IGNORE_INDEX, Message

MaskCause = tuple[str, dict[str, Any]]
"""A cause's code, and its evidence."""


def mask_cause(row: Row, answer: Answer, literal: str, index: int) -> MaskCause:
    """Return why a terminator that is one token has no label.

    Args:
        row: The row.
        answer: The answer that it ends.
        literal: The terminator's text.
        index: Its position among the tokens.
    """
    facts, token_id = row.facts, row.input_ids[index]
    tokenizer = facts.tokenizer
    if token_id == tokenizer.pad_id and (facts.masks_pad_by_id or _all_pads_are_masked(row, token_id)):
        return "pad-is-eos", {
            "pad_token_id": token_id,
            "eos_token_id": tokenizer.eos_id,
            "masked_by": facts.way,
            "file": facts.file_of("pad_token"),
        }
    template = blocks_template(facts)
    if facts.way == "trl" and facts.setup.labels.assistant_only_loss and template is not None:
        return _template_cause(template, row, answer, literal)
    if facts.way == "completion-collator":
        # The mask of a question begins where the instruction template begins, and that begins with the terminator.
        return "next-message", {"instruction_template": facts.setup.labels.instruction_template}
    if template is not None and template.has_generation_blocks and not block_holds(facts, template, literal):
        return "generation-block", {"template": template.name}
    if token_id != tokenizer.eos_id:
        return "other-terminator", {"eos_token_id": tokenizer.eos_id, "eos_token": tokenizer.eos_token}
    return "content-only", {"eos_token_id": tokenizer.eos_id}


def _all_pads_are_masked(row: Row, pad_id: int) -> bool:
    """Return whether labels that are given mask every token of the padding id, among supervised ones."""
    return row.facts.way == "as-is" and all(
        label == IGNORE_INDEX for token, label in zip(row.input_ids, row.labels, strict=True) if token == pad_id
    )


def blocks_template(facts: SetupFacts) -> ChatTemplate | None:
    """Return the template whose generation blocks make the mask: TRL swaps its own in for one that has none."""
    template = facts.template
    if facts.way != "trl" or template is None or template.has_generation_blocks:
        return template
    known: dict[str, ChatTemplate | None] = facts.__dict__.setdefault("_blocks_template", {})
    if template.name not in known:
        from finetooth.labels.trl import training_template

        try:
            source = training_template(template.source)
        except FinetoothError:
            known[template.name] = None
        else:
            known[template.name] = ChatTemplate(
                source, name=f"{template.name} (TRL)", special_tokens=template.special_tokens
            )
    return known[template.name]


def _template_cause(template: ChatTemplate, row: Row, answer: Answer, literal: str) -> MaskCause:
    """Tell a block that ends too early from a terminator that only the next message brings."""
    evidence: dict[str, Any] = {"template": template.name, "message_index": answer.message_index}
    messages, index = row.record.messages or [], answer.message_index
    if index is None or index + 1 >= len(messages):
        return "generation-block", evidence
    upto = messages[: index + 1]
    try:
        text = template.render(
            [template.in_content_form(message) for message in upto],
            tools=row.record.tools,
            variables=row.record.chat_template_kwargs,
        )
    except FinetoothError:
        return "generation-block", evidence
    if literal in text[answer.start :]:
        return "generation-block", evidence
    return "next-message", {**evidence, "next_role": messages[index + 1].get("role")}


def block_holds(facts: SetupFacts, template: ChatTemplate, literal: str) -> bool:
    """Return whether the generation block of an answer holds its terminator; tried on a conversation of our own."""
    known: dict[str, bool] = facts.__dict__.setdefault("_block_holds", {})
    if literal not in known:
        turns: list[Message] = [template.message("user", "finetooth"), template.message("assistant", "probe")]
        try:
            text, blocks = template.render_with_generation(turns)
        except FinetoothError:
            known[literal] = True
        else:
            # A template that does not print the literal at all is not what masked it.
            known[literal] = not blocks or literal not in text[blocks[-1][1] :]
    return known[literal]
