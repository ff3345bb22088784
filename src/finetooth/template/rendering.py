"""Render a record to a text with spans: who says what, and what the model has to learn to write.

The supervised span of an assistant turn runs from the end of the inference prompt (the messages before it, rendered
with `add_generation_prompt=True`) to the end of the first stop literal after the content. So every character that the
model must generate is inside, and none that inference supplies.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from functools import cached_property

from finetooth.config import TrainOn
from finetooth.errors import TemplateError
from finetooth.messages import say
from finetooth.template.attribution import attribute, attribute_plainly
from finetooth.template.chat import ChatTemplate
from finetooth.template.marks import Marked
from finetooth.template.spans import (
    ConversationSpans,
    conversation_text,
    learned_flags,
    plain_turn_end,
    prompt_text,
    says_something,
)
from finetooth.template.spans import turn_end as turn_end_of
from finetooth.template.stops import Stops
from finetooth.template.texts import TextMarks, marks_of, text_spans
from finetooth.template.turns import ASSISTANT_ROLES, DETAIL_KEY, TURN_KEYS, learned_turns
from finetooth.types import Message, Record, Rendered, Span

_LEARNING_KEYS = frozenset((*TURN_KEYS, DETAIL_KEY))


@dataclass(frozen=True, kw_only=True)
class Renderer:
    """What rendering needs to know of a set-up."""

    template: ChatTemplate | None
    stops: Stops
    train_on: TrainOn = "completion"
    response_template: str | None = None
    """Where answers begin in `text` rows; `None` takes the chat template's own mark."""
    instruction_template: str | None = None
    """Where questions begin in `text` rows; `None` takes the chat template's own mark."""
    bos_token: str | None = None

    def render(self, record: Record, *, roles: bool = True) -> Rendered:
        """Render a record.

        Args:
            record: A record of any shape but `encoded`.
            roles: Whether every message's span is wanted. Without, the spans that are not supervised may be left out,
                which is cheaper.

        Raises:
            TemplateError: There is no chat template, or it refuses the conversation.
        """
        if record.messages is not None:
            return self.render_messages(record, roles=roles)
        if record.text is not None:
            return self.render_text(record.text)
        return self.render_pair(record.prompt or "", record.completion or "")

    def render_messages(self, record: Record, *, roles: bool = True) -> Rendered:
        """Render a conversation through the chat template."""
        template = self._template()
        messages = record.messages or []
        text = conversation_text(template, record)
        if not roles and self.train_on != "all":
            span = self._last_turn(template, record, text)
            if span is not None:
                return Rendered(text=text, spans=(span,))
        learned = learned_turns(messages, record.num_prompt_messages, self.train_on)
        marked = None
        if not record.tools and not record.chat_template_kwargs:
            marked = attribute_plainly(template, messages, text, learned)
        if marked is None:
            marked = attribute(
                template, messages, text, learned, tools=record.tools, variables=record.chat_template_kwargs
            )
        spans = ConversationSpans(
            template=template,
            record=record,
            text=text,
            learned=learned,
            marked=marked,
            stops=self.stops,
            opener=self._opener,
        ).spans()
        notes, unclear = _notes(messages, marked, spans)
        if self.train_on == "all":
            unlearned = {index for index in unclear if learned_flags(messages[index], learned[index]) != {True}}
            spans = _filled(spans, len(text), unlearned)
        return Rendered(text=text, spans=tuple(spans), notes=tuple(notes))

    def _template(self) -> ChatTemplate:
        if self.template is None:
            raise TemplateError(say("template.none"), help=say("template.none_help"))
        return self.template

    @cached_property
    def _opener(self) -> str | None:
        """The special token that opens a user's turn, so that it is not taken for the end of an answer."""
        return None if self.template is None else self.stops.last_token(self.template.user_header)

    @cached_property
    def _text_marks(self) -> TextMarks:
        return marks_of(
            self.template, self.stops, response=self.response_template, instruction=self.instruction_template
        )

    def _last_turn(self, template: ChatTemplate, record: Record, text: str) -> Span | None:
        """Return the one supervised span of a conversation whose last message alone is learned, where it is plain.

        The same span as the marks give, without rendering the marks: for the many rows that are a prompt and one
        answer. `None` where anything is out of the ordinary.
        """
        messages = record.messages or []
        index = len(messages) - 1
        if index < 1 or not _is_plain(messages):
            return None
        if self.train_on == "completion" and index < (record.num_prompt_messages or 0):
            return None
        content: str = messages[index]["content"]
        prompt = prompt_text(template, record, index)
        if prompt is None or not text.startswith(prompt):
            return None
        end = plain_turn_end(text, content, len(prompt), stops=self.stops, opener=self._opener)
        if end is None:
            return None
        role = str(messages[index]["role"])
        return Span(start=len(prompt), end=end, role=role, message_index=index, supervised=True)

    def turn_end(self, text: str, content_end: int, limit: int, tail: int) -> int:
        """Return where a turn ends: after its stop literal, or after its content with the white space of its own."""
        return turn_end_of(text, content_end, limit, tail, stops=self.stops, opener=self._opener)

    def render_text(self, text: str) -> Rendered:
        """Find the turns of a whole text, by the template's own marks or by those that were given."""
        marks = self._text_marks
        spans = text_spans(
            text, marks.response, marks.instruction, self.stops, opener=self._opener, header=marks.header
        )
        notes = [say("template.no_end", start=span.start) for span in spans if span.role == "unknown"]
        if not spans:
            spans = [Span(start=0, end=len(text), role="unknown", message_index=None, supervised=True)]
        elif self.train_on == "all":
            spans = _filled([replace(span, supervised=True) for span in spans], len(text))
        elif self.train_on == "last":
            answers = [index for index, span in enumerate(spans) if span.role == "assistant"]
            spans = [replace(span, supervised=index in answers[-1:]) for index, span in enumerate(spans)]
        return Rendered(
            text=text, spans=tuple(spans), add_special_tokens=self._adds_special_tokens(text), notes=tuple(notes)
        )

    def render_pair(self, prompt: str, completion: str) -> Rendered:
        """Join a prompt and a completion given as strings."""
        text = prompt + completion
        everything = self.train_on == "all"
        spans = [
            Span(start=start, end=end, role=role, message_index=None, supervised=everything or role == "assistant")
            for role, start, end in (("user", 0, len(prompt)), ("assistant", len(prompt), len(text)))
            if end > start
        ]
        return Rendered(
            text=text, spans=tuple(spans), add_special_tokens=self._adds_special_tokens(text), append_eos=True
        )

    def _adds_special_tokens(self, text: str) -> bool:
        # A tokenizer's BOS in front of a text that spells one would double it; this labelling never does.
        return not (self.bos_token and text.startswith(self.bos_token))


def _is_plain(messages: Sequence[Message]) -> bool:
    """Return whether the last message alone can be learned, whole, and all that it holds is a text."""
    last = messages[-1]
    content = last.get("content")
    if last.get("role") not in ASSISTANT_ROLES or not isinstance(content, str) or "</think>" in content:
        return False
    if len(last) > 2 and any(value is not None for key, value in last.items() if key not in ("role", "content")):
        return False
    for message in messages:
        if (message is not last and message.get("role") in ASSISTANT_ROLES) or isinstance(message.get("content"), list):
            return False
        if not _LEARNING_KEYS.isdisjoint(message):
            return False
    return True


def _notes(messages: Sequence[Message], marked: Marked, spans: Sequence[Span]) -> tuple[list[str], set[int]]:
    """Return what a reader has to know of messages whose words are not found or not whole, and those not found."""
    with_spans = {span.message_index for span in spans}
    notes: list[str] = []
    unclear: set[int] = set()
    for index, message in enumerate(messages):
        values = {"index": index, "role": message.get("role", "")}
        is_lost = index not in with_spans and index not in marked.dropped and says_something(message)
        if index in marked.unpaired:
            notes.append(say("template.rewritten", **values))
        elif index in marked.dropped:
            notes.append(say("labels.not_shown", **values))
        elif is_lost:
            notes.append(say("template.not_found", **values))
        elif index in marked.without_calls:
            notes.append(say("template.calls_not_shown", **values))
        if is_lost:
            unclear.add(index)
    return notes, unclear


def _filled(spans: list[Span], length: int, unlearned: Set[int] = frozenset()) -> list[Span]:
    """Return the spans with the gaps between them as spans of the template's own, all to be learned.

    Args:
        spans: In the order of the text.
        length: How long the text is.
        unlearned: Messages without a span that are not to be learned; what they may stand in is not supervised.
    """
    filled: list[Span] = []
    position, last = 0, -1
    for span in [*spans, Span(start=length, end=length, role="", message_index=length, supervised=True)]:
        following = last if span.message_index is None else span.message_index
        if span.start > position:
            sure = not any(last < index < following for index in unlearned)
            filled.append(Span(start=position, end=span.start, role="template", message_index=None, supervised=sure))
        if span.end > span.start:
            filled.append(span)
        position, last = span.end, following
    return filled
