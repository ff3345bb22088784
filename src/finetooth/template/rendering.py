"""Render a record to a text with spans: who says what, and what the model has to learn to write.

The supervised span of an assistant turn runs from the end of the inference prompt (the messages before it, rendered
with `add_generation_prompt=True`) to the end of the first stop literal after the content. So every character that the
model must generate is inside, and none that inference supplies.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from finetooth.config import TrainOn
from finetooth.errors import TemplateError
from finetooth.messages import say
from finetooth.template.chat import ChatTemplate
from finetooth.template.marks import Found, Marked, attribute
from finetooth.template.turns import ASSISTANT_ROLES, DETAIL_KEY, TURN_KEYS, learned_turns
from finetooth.types import Record, Rendered, Span

CONTROL_LITERAL = re.compile(r"<\|[^|<>\s]{1,40}\|>|</s>|<end_of_turn>|<eos>|<turn\|>")
"""Text in the shape of a control token, which templates print even where the tokenizer has no such token."""

_TURN_KEYS = frozenset(TURN_KEYS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stops:
    """The texts that end a turn."""

    literals: tuple[str, ...]
    """The stop set of inference: the EOS token, and what generation_config.json adds."""
    specials: tuple[str, ...] = ()
    """Other special tokens of the vocabulary, which end a turn where no literal of the stop set does."""
    _stop_pattern: re.Pattern[str] | None = field(init=False, repr=False, compare=False)
    _special_pattern: re.Pattern[str] | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_stop_pattern", _any_of(self.literals))
        object.__setattr__(self, "_special_pattern", _any_of(self.specials))

    def find(self, text: str, start: int, end: int, *, opener: str | None = None) -> int | None:
        """Return the end of the first stop literal in `text[start:end]`.

        A literal of the stop set wins over an earlier special token: inference runs on to it. Without one, the first
        special token or control literal counts, unless it opens the next turn.

        Args:
            text: The rendered text.
            start: The end of the content.
            end: Where the next message's content begins.
            opener: The special token that opens a user's turn.
        """
        if self._stop_pattern is not None:
            match = self._stop_pattern.search(text, start, end)
            if match:
                return match.end()
        candidates = [
            match
            for pattern in (self._special_pattern, CONTROL_LITERAL)
            if pattern is not None and (match := pattern.search(text, start, end))
        ]
        first = min(candidates, key=lambda match: (match.start(), -match.end()), default=None)
        return None if first is None or first.group() == opener else first.end()


def _any_of(literals: Sequence[str]) -> re.Pattern[str] | None:
    longest_first = sorted({literal for literal in literals if literal}, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first))) if longest_first else None


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
        marked = attribute(template, messages, text, learned, tools=record.tools, variables=record.chat_template_kwargs)
        spans = _ConversationSpans(self, template, record, text, learned, marked).spans()
        if self.train_on == "all":
            spans = _filled(spans, len(text))
        notes = tuple(
            say("template.rewritten", index=index, role=messages[index].get("role", ""))
            for index in sorted(marked.unpaired)
        )
        return Rendered(text=text, spans=tuple(spans), notes=notes)

    def _template(self) -> ChatTemplate:
        if self.template is None:
            raise TemplateError(say("template.none"), help=say("template.none_help"))
        return self.template

    @cached_property
    def _opener(self) -> str | None:
        """The special token that opens a user's turn, so that it is not taken for the end of an answer."""
        if self.template is None:
            return None
        pattern = _any_of((*self.stops.literals, *self.stops.specials))
        matches = [*(pattern.finditer(self.template.user_header) if pattern else ())]
        matches += CONTROL_LITERAL.finditer(self.template.user_header)
        return max(matches, key=lambda match: match.end()).group() if matches else None

    def _last_turn(self, template: ChatTemplate, record: Record, text: str) -> Span | None:
        """Return the one supervised span of a conversation whose last message alone is learned, where it is plain.

        The same span as the marks give, without rendering the marks: for the many rows that are a prompt and one
        answer. `None` where anything is out of the ordinary.
        """
        messages = record.messages or []
        if len(messages) < 2:
            return None
        last = messages[-1]
        content = last.get("content")
        if (
            last.get("role") != "assistant"
            or not isinstance(content, str)
            or "</think>" in content
            or DETAIL_KEY in last
        ):
            return None
        for message in messages:
            if (message is not last and message.get("role") in ASSISTANT_ROLES) or not _TURN_KEYS.isdisjoint(message):
                return None
        prompt = prompt_text(template, record, len(messages) - 1)
        core = content.strip()
        if prompt is None or not core or not text.startswith(prompt):
            return None
        start = text.find(core, len(prompt))
        if start < 0 or text[len(prompt) : start].strip():
            return None
        end = self.turn_end(text, start + len(core), len(text), len(content) - len(content.rstrip()))
        return Span(start=len(prompt), end=end, role="assistant", message_index=len(messages) - 1, supervised=True)

    def turn_end(self, text: str, content_end: int, limit: int, tail: int) -> int:
        """Return where a turn ends: after its stop literal, or after its content with the white space of its own."""
        stop = self.stops.find(text, content_end, limit, opener=self._opener)
        if stop is not None:
            return stop
        return _blank_until(text, content_end, min(limit, content_end + tail))

    def render_text(self, text: str) -> Rendered:
        """Find the turns of a whole text, by the template's own marks or by those that were given."""
        # A tokenizer's BOS in front of a text that spells one would double it; this labelling never does.
        add_special_tokens = not (self.bos_token and text.startswith(self.bos_token))
        response, instruction = self._text_marks()
        spans = text_spans(text, response, instruction, self.stops, opener=self._opener) if response else []
        if not spans:
            spans = [Span(start=0, end=len(text), role="unknown", message_index=None, supervised=True)]
        elif self.train_on == "all":
            spans = _filled(spans, len(text))
        elif self.train_on == "last":
            last = max(index for index, span in enumerate(spans) if span.role == "assistant")
            spans = [replace(span, supervised=index == last) for index, span in enumerate(spans)]
        return Rendered(text=text, spans=tuple(spans), add_special_tokens=add_special_tokens)

    def _text_marks(self) -> tuple[str, str]:
        response, instruction = self.response_template, self.instruction_template
        if self.template is not None:
            if response is None:
                response = self.template.generation_prompt_header
            if instruction is None:
                instruction = _after_stop(self.template.next_user_header, self.stops)
        return response or "", instruction or ""

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
            text=text,
            spans=tuple(spans),
            add_special_tokens=not (self.bos_token and text.startswith(self.bos_token)),
            append_eos=True,
        )


def conversation_text(template: ChatTemplate, record: Record) -> str:
    """Return the text of a record's conversation, whole."""
    return template.render(
        [template.in_content_form(message) for message in record.messages or []],
        tools=record.tools,
        variables=record.chat_template_kwargs,
    )


def prompt_text(template: ChatTemplate, record: Record, num_messages: int) -> str | None:
    """Return the inference prompt for the message after the first `num_messages`; `None` where there is none.

    Some templates refuse a prompt that ends where the conversation can not (after an assistant's turn).
    """
    try:
        return template.render(
            [template.in_content_form(message) for message in (record.messages or [])[:num_messages]],
            tools=record.tools,
            variables=record.chat_template_kwargs,
            add_generation_prompt=True,
        )
    except TemplateError:
        return None


@dataclass(frozen=True, slots=True)
class _ConversationSpans:
    """The spans of one rendered conversation."""

    renderer: Renderer
    template: ChatTemplate
    record: Record
    text: str
    learned: Sequence[bool]
    marked: Marked

    def spans(self) -> list[Span]:
        """Return every message's spans, in the order of the text."""
        messages = self.record.messages or []
        found: dict[int, list[Found]] = {}
        for stretch in self.marked.found:
            found.setdefault(stretch.message_index, []).append(stretch)
        spans: list[Span] = []
        for index, message in enumerate(messages):
            role = str(message.get("role", ""))
            stretches = found.get(index, [])
            if role in ASSISTANT_ROLES:
                spans += self._turn(index, role, stretches)
            elif self.learned[index]:
                spans += self._learned(index, role, stretches, stretches[0].start if stretches else None)
            else:
                spans += [self._span(index, role, s.start, s.end, s.learned) for s in stretches]
        return _without_overlap(spans)

    def _span(self, index: int, role: str, start: int, end: int, supervised: bool) -> Span:
        return Span(start=start, end=end, role=role, message_index=index, supervised=supervised)

    def _turn(self, index: int, role: str, stretches: list[Found]) -> list[Span]:
        """Return the spans of a turn that the model writes."""
        start = self._prompt_end(index, stretches[0].start if stretches else None)
        return self._learned(index, role, stretches, start)

    def _learned(self, index: int, role: str, stretches: list[Found], start: int | None) -> list[Span]:
        """Return a turn from where it starts to its stop literal, cut where learning begins or ends inside it."""
        if start is None:
            return []
        content_end = max([start, *(stretch.end for stretch in stretches)])
        limit = min(
            (s.start for s in self.marked.found if s.message_index != index and s.start >= content_end),
            default=len(self.text),
        )
        end = self.renderer.turn_end(self.text, content_end, limit, stretches[-1].tail if stretches else 0)
        if not stretches:
            return [self._span(index, role, start, end, self.learned[index])] if end > start else []
        spans: list[Span] = []
        for number, stretch in enumerate(stretches):
            following = stretches[number + 1] if number + 1 < len(stretches) else None
            # The white space after a piece is the piece's own; what else lies between is the next one's.
            stop = end if following is None else min(stretch.end + stretch.tail, following.start)
            if spans and spans[-1].supervised == stretch.learned:
                spans[-1] = self._span(index, role, spans[-1].start, stop, stretch.learned)
            else:
                spans.append(self._span(index, role, start, stop, stretch.learned))
            start = stop
        return [span for span in spans if span.end > span.start]

    def _prompt_end(self, index: int, content_start: int | None) -> int | None:
        """Return where the model takes over: the end of what the inference prompt and the text have in common."""
        prompt = prompt_text(self.template, self.record, index)
        if prompt is None:
            return content_start
        before = max(
            (
                s.end
                for s in self.marked.found
                if s.message_index < index and (content_start is None or s.end <= content_start)
            ),
            default=0,
        )
        common = common_length(self.text, prompt)
        if common < before:
            # The prompt renders the history otherwise (thinking that later turns drop); compare from the last words.
            messages = (self.record.messages or [])[:index]
            marked = attribute(
                self.template,
                messages,
                prompt,
                [False] * index,
                tools=self.record.tools,
                variables=self.record.chat_template_kwargs,
                add_generation_prompt=True,
            )
            prompt_before = max((s.end for s in marked.found), default=None)
            if prompt_before is None:
                return content_start
            header = prompt[prompt_before:]
            common = before + common_length(self.text[before : before + len(header)], header)
            whole = common - before == len(header)
        else:
            whole = common == len(prompt)
        # What a prompt and an answer have in common by chance belongs to the answer.
        return common if whole or content_start is None else min(common, content_start)


def common_length(left: str, right: str) -> int:
    """Return how many characters two texts have in common at their start."""
    if left.startswith(right):
        return len(right)
    low, high = 0, min(len(left), len(right))
    while low < high:
        middle = (low + high + 1) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _blank_until(text: str, start: int, end: int) -> int:
    while start < end and text[start].isspace():
        start += 1
    return start


def _without_overlap(spans: list[Span]) -> list[Span]:
    """Sort spans, and cut from each what an earlier one holds."""
    result: list[Span] = []
    position = 0
    for span in sorted(spans, key=lambda span: (span.start, span.end)):
        start = max(span.start, position)
        if start < span.end:
            result.append(replace(span, start=start))
            position = span.end
    return result


def _filled(spans: list[Span], length: int) -> list[Span]:
    """Return the spans with the gaps between them as spans of the template's own; all supervised."""
    filled: list[Span] = []
    position = 0
    for span in [*spans, Span(start=length, end=length, role="", message_index=None, supervised=True)]:
        if span.start > position:
            filled.append(Span(start=position, end=span.start, role="template", message_index=None, supervised=True))
        if span.end > span.start:
            filled.append(replace(span, supervised=True))
        position = span.end
    return filled


def _after_stop(header: str, stops: Stops) -> str:
    """Return the part of the text between an answer and a question that follows the answer's end."""
    stop = stops.find(header, 0, len(header))
    return header[stop:] if stop is not None else header


def text_spans(text: str, response: str, instruction: str, stops: Stops, *, opener: str | None = None) -> list[Span]:
    """Find the turns of a text by the marks before answers and before questions.

    Args:
        text: A whole text.
        response: What stands before an answer. Found with its outer white space where the text has it, else without.
        instruction: What stands before a question; empty where unknown.
        stops: What ends an answer.
        opener: The special token that opens a user's turn.

    Returns:
        Spans of the roles `assistant` (supervised) and `user`; empty where no answer begins.
    """
    mark, question = response.strip() or response, instruction.strip()
    starts = []
    position = text.find(mark)
    while position >= 0:
        begin = position - (len(response) - len(response.lstrip()))
        whole = text.startswith(response, begin) if begin >= 0 else False
        starts.append((position, begin + len(response) if whole else position + len(mark)))
        position = text.find(mark, position + len(mark))
    spans: list[Span] = []
    previous_end = 0
    for number, (mark_start, start) in enumerate(starts):
        limit = starts[number + 1][0] if number + 1 < len(starts) else len(text)
        if question and (next_question := text.find(question, start, limit)) >= 0:
            limit = next_question
        stop = stops.find(text, start, limit, opener=opener)
        # Without a stop the answer runs to the next question, whose own white space is not the model's.
        end = stop if stop is not None else (limit if limit == len(text) else start + len(text[start:limit].rstrip()))
        if mark_start > previous_end:
            spans.append(Span(start=previous_end, end=mark_start, role="user", message_index=None, supervised=False))
        if end > start:
            spans.append(Span(start=start, end=end, role="assistant", message_index=None, supervised=True))
        previous_end = max(end, start)
    return spans
