"""The turns of a whole text, found by the marks before answers and before questions."""

from __future__ import annotations

from dataclasses import dataclass

from finetooth.template.chat import ChatTemplate
from finetooth.template.spans import common_length
from finetooth.template.stops import Stops
from finetooth.types import Span


@dataclass(frozen=True, slots=True, kw_only=True)
class TextMarks:
    """What stands before answers and before questions; empty where unknown."""

    response: str
    instruction: str
    header: str = ""
    """What inference supplies from the mark before an answer on, where that is more than the mark."""


def marks_of(
    template: ChatTemplate | None, stops: Stops, *, response: str | None, instruction: str | None
) -> TextMarks:
    """Return the marks that were given, and the template's own for those that were not."""
    header = ""
    if template is not None:
        question = template.next_user_header
        if response is None:
            # Inference may open a thinking part that answers in training do without.
            header = template.generation_prompt_header
            answer = template.answer_header
            response = header[: common_length(header, answer)] if answer else header
            if response.strip() and response.strip() in question:
                # What stands before questions too tells nothing: the template ignores add_generation_prompt.
                response = header = ""
        if instruction is None:
            stop = stops.find(question, 0, len(question))
            instruction = question[stop:] if stop is not None else question
    return TextMarks(response=response or "", instruction=instruction or "", header=header)


def text_spans(
    text: str, response: str, instruction: str, stops: Stops, *, opener: str | None = None, header: str = ""
) -> list[Span]:
    """Find the turns of a text by the marks before answers and before questions.

    Args:
        text: A whole text.
        response: What stands before an answer. Found with its outer white space where the text has it, else without.
        instruction: What stands before a question; empty where unknown.
        stops: What ends an answer.
        opener: The special token that opens a user's turn.
        header: What inference supplies, where that is more than `response`.

    Returns:
        Spans of the roles `assistant` (supervised), `user`, and `unknown` where an answer and the next question
        cannot be told apart; empty where no answer begins.
    """
    mark, question = response.strip(), instruction.strip()
    if not mark:
        return []
    starts = []
    position = text.find(mark)
    while position >= 0:
        begin = position - (len(response) - len(response.lstrip()))
        start = position + len(mark)
        for whole in (header, response):
            if whole and begin >= 0 and text.startswith(whole, begin):
                start = begin + len(whole)
                break
        starts.append((position, start))
        position = text.find(mark, position + len(mark))
    spans: list[Span] = []
    previous_end = 0
    for number, (mark_start, start) in enumerate(starts):
        is_last = number + 1 == len(starts)
        limit = len(text) if is_last else starts[number + 1][0]
        next_question = text.find(question, start, limit) if question else -1
        if next_question >= 0:
            limit = next_question
        stop = stops.find(text, start, limit, opener=opener)
        # Without a stop the answer runs to the next question, whose own white space is not the model's.
        end = stop if stop is not None else (limit if limit == len(text) else start + len(text[start:limit].rstrip()))
        is_known = stop is not None or next_question >= 0 or is_last
        if mark_start > previous_end:
            spans.append(Span(start=previous_end, end=mark_start, role="user", message_index=None, supervised=False))
        if end > start:
            role = "assistant" if is_known else "unknown"
            spans.append(Span(start=start, end=end, role=role, message_index=None, supervised=is_known))
        previous_end = max(end, start)
    return spans
