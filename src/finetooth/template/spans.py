"""Who says what in a rendered conversation, and what of it the model has to write."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from finetooth.errors import TemplateError
from finetooth.template.attribution import attribute
from finetooth.template.chat import ChatTemplate
from finetooth.template.marks import Found, Marked
from finetooth.template.stops import Stops
from finetooth.template.turns import ASSISTANT_ROLES, content_pieces, part_flag
from finetooth.types import Message, Record, Span

_PROBE = "finetooth probe"

_EMPTY_THINKING = re.compile(r"\s*(?:<think>\s*)?</think>")
"""What templates put before an answer without thinking; its opening tag may be in the inference prompt."""


def conversation_text(template: ChatTemplate, record: Record) -> str:
    """Return the text of a record's conversation, whole."""
    return _text(template, record, record.messages or [])


def prompt_text(template: ChatTemplate, record: Record, num_messages: int) -> str | None:
    """Return the inference prompt for the message after the first `num_messages`; `None` where there is none.

    Some templates refuse a prompt that ends where the conversation can not (after an assistant's turn).
    """
    try:
        return _text(template, record, (record.messages or [])[:num_messages], add_generation_prompt=True)
    except TemplateError:
        return None


def _text(
    template: ChatTemplate, record: Record, messages: Sequence[Message], *, add_generation_prompt: bool = False
) -> str:
    return template.render(
        [template.in_content_form(message) for message in messages],
        tools=record.tools,
        variables=record.chat_template_kwargs,
        add_generation_prompt=add_generation_prompt,
    )


def turn_end(text: str, content_end: int, limit: int, tail: int, *, stops: Stops, opener: str | None) -> int:
    """Return where a turn ends: after its stop literal, or after its content with the white space of its own.

    Args:
        text: The rendered text.
        content_end: Where the words of the turn end.
        limit: Where the next turn's words begin.
        tail: White-space characters that follow the words in the content.
        stops: What ends a turn.
        opener: The special token that opens a user's turn, which is not taken for the end of an answer.
    """
    stop = stops.find(text, content_end, limit, opener=opener)
    return stop if stop is not None else blank_until(text, content_end, min(limit, content_end + tail))


def plain_turn_end(text: str, words: str, start: int, *, stops: Stops, opener: str | None) -> int | None:
    """Return where a turn ends that is its words, white space and a stop literal; `None` where it is not that plain.

    Args:
        text: The rendered text.
        words: The content.
        start: Where the model takes over.
        stops: What ends a turn.
        opener: The special token that opens a user's turn.
    """
    core = words.strip()
    thinking = _EMPTY_THINKING.match(text, start)
    first = blank_until(text, thinking.end() if thinking else start, len(text))
    if not core or not text.startswith(core, first):
        return None
    content_end = first + len(core)
    stop = stops.match(text, content_end, len(text), opener=opener)
    # Anything else may be a template's own: the answer `<` begins as `<tool_call>` does.
    if not stops.is_bare(text[content_end : stop.start() if stop else len(text)]):
        return None
    if stop is not None:
        return stop.end()
    return blank_until(text, content_end, min(content_end + len(words) - len(words.rstrip()), len(text)))


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationSpans:
    """The spans of one rendered conversation."""

    template: ChatTemplate
    record: Record
    text: str
    learned: Sequence[bool]
    """Whether each message is to be learned."""
    marked: Marked
    stops: Stops
    opener: str | None

    @property
    def messages(self) -> list[Message]:
        """The conversation."""
        return self.record.messages or []

    def spans(self) -> list[Span]:
        """Return every message's spans, in the order of the text."""
        found: dict[int, list[Found]] = {}
        for stretch in self.marked.found:
            found.setdefault(stretch.message_index, []).append(stretch)
        spans: list[Span] = []
        for index, message in enumerate(self.messages):
            stretches = found.get(index, [])
            if message.get("role") in ASSISTANT_ROLES:
                spans += self._turn(index, stretches, self._prompt_end(index, stretches))
            elif self.learned[index]:
                spans += self._turn(index, stretches, self._content_start(index, stretches))
            else:
                spans += [self._span(index, s.start, s.end, s.mark.learned) for s in stretches]
        return _without_overlap(spans)

    def _span(self, index: int, start: int, end: int, supervised: bool) -> Span:
        role = str(self.messages[index].get("role", ""))
        return Span(start=start, end=end, role=role, message_index=index, supervised=supervised)

    def _turn(self, index: int, stretches: Sequence[Found], start: int | None) -> list[Span]:
        """Return a turn from where the model takes over to its stop literal, cut where learning begins or ends."""
        if start is None:
            return []
        own: dict[int, Found] = {}
        for stretch in stretches:
            # A template may show a stretch twice, as in a recapitulation; the model writes the first.
            if stretch.end > start:
                own.setdefault(stretch.number, stretch)
        others = [s for s in stretches if s not in own.values()]
        spans = [self._span(index, s.start, s.end, False) for s in others]
        if own:
            return self._cut(index, list(own.values()), start) + spans
        return self._whole(index, start) + spans

    def _cut(self, index: int, stretches: Sequence[Found], start: int) -> list[Span]:
        """Return a turn in spans, cut where learning begins or ends, and where another message stands inside it."""
        spans: list[Span] = []
        for number, stretch in enumerate(stretches):
            following = stretches[number + 1] if number + 1 < len(stretches) else None
            inside = None if following is None else self._first_other(index, stretch.end, following.start)
            if following is None:
                end = self._end(index, max(s.end for s in stretches), stretch.mark.tail)
            elif inside is not None:
                end = self._interrupted_end(index, stretch.end, inside)
            else:
                # The white space after a piece is the piece's own; what else lies between is the next one's.
                end = blank_until(self.text, stretch.end, min(stretch.end + stretch.mark.tail, following.start))
            if spans and spans[-1].end == start and spans[-1].supervised == stretch.mark.learned:
                spans[-1] = replace(spans[-1], end=end)
            else:
                spans.append(self._span(index, start, end, stretch.mark.learned))
            start = following.start if following is not None and inside is not None else end
        return [span for span in spans if span.end > span.start]

    def _first_other(self, index: int, start: int, end: int) -> int | None:
        """Return where the first words of another message begin in a range."""
        others = (s.start for s in self.marked.found if s.message_index != index and start <= s.start < end)
        return next(others, None)

    def _interrupted_end(self, index: int, content_end: int, limit: int) -> int:
        """Return where the model stops for a message that the template shows inside its turn, as a tool's answer."""
        literal = self.stops.match_literal(self.text, content_end, limit)
        if literal is not None:
            return literal.end()
        alone = self._rendered(self.messages[: index + 1])
        common = 0 if alone is None else common_length(self.text, alone)
        return min(max(common, content_end), limit)

    def _whole(self, index: int, start: int) -> list[Span]:
        """Return a turn in which no mark was found: it is empty, or the template looks at its words."""
        message = self.messages[index]
        words = _words(message)
        end = plain_turn_end(self.text, words, start, stops=self.stops, opener=self.opener)
        flags = learned_flags(message, self.learned[index])
        if len(flags) > 1 or (end is None and self.stops.find(words, 0, len(words)) is not None):
            # The words are somewhere, in another form, and where learning begins or ends in them cannot be told.
            return []
        if end is None:
            end = self._end(index, start, 0 if words.strip() else len(words))
        return [self._span(index, start, end, flags == {True})] if end > start else []

    def _end(self, index: int, content_end: int, tail: int) -> int:
        limit = self._first_other(index, content_end, len(self.text))
        if limit is None:
            limit = len(self.text)
        is_last = index + 1 == len(self.messages)
        next_is_found = any(s.message_index == index + 1 for s in self.marked.found)
        literal = self.stops.match_literal(self.text, content_end, limit)
        if literal is not None and (is_last or next_is_found):
            return literal.end()
        alone = None if is_last else self._rendered(self.messages[: index + 1])
        if alone is not None and len(alone) >= content_end and self.text.startswith(alone):
            # No turn runs on into the next one's header: `<|assistant|>` does not end the answer before it. A stop
            # literal may open that header (GLM), and stands at its very start then.
            if literal is not None and literal.start() <= blank_until(self.text, len(alone), limit):
                return literal.end()
            own = min(len(alone.rstrip()), limit)
            return own if own > content_end else blank_until(self.text, content_end, min(limit, content_end + tail))
        if literal is not None:
            return literal.end()
        return turn_end(self.text, content_end, limit, tail, stops=self.stops, opener=self.opener)

    def _prompt_end(self, index: int, stretches: Sequence[Found]) -> int | None:
        """Return where the model takes over: the end of what the inference prompt and the text have in common."""
        prompt = prompt_text(self.template, self.record, index)
        if prompt is not None and self.text.startswith(prompt):
            return len(prompt)
        starts = [stretch.start for stretch in stretches[:1]]
        if prompt is not None:
            common, is_whole = self._common(index, prompt, starts[0] if starts else None)
            if is_whole:
                return common
            starts += [] if common is None else [common]
        # What a prompt and an answer have in common by chance belongs to the answer.
        probed = self._probed_start(index)
        return min([*starts, probed]) if probed is not None else min(starts) if stretches else None

    def _content_start(self, index: int, stretches: Sequence[Found]) -> int | None:
        """Return where the content of a turn begins that no inference prompt leads to, as a question's."""
        starts = [_blank_before(self.text, s.start, s.mark.lead) for s in stretches[:1]]
        probed = self._probed_start(index)
        return min([*starts, probed]) if probed is not None else min(starts, default=None)

    def _common(self, index: int, prompt: str, content_start: int | None) -> tuple[int | None, bool]:
        """Return where a prompt that is no prefix of the text leaves it, and whether that is at the prompt's end."""
        before = max(
            (
                s.end
                for s in self.marked.found
                if s.message_index < index and (content_start is None or s.end <= content_start)
            ),
            default=0,
        )
        common = common_length(self.text, prompt)
        if common >= before:
            return common, False
        # The prompt renders the history otherwise (thinking that later turns drop); compare from the last words.
        marked = attribute(
            self.template,
            self.messages[:index],
            prompt,
            [False] * index,
            tools=self.record.tools,
            variables=self.record.chat_template_kwargs,
            add_generation_prompt=True,
        )
        if not marked.found:
            return None, False
        header = prompt[max(s.end for s in marked.found) :]
        length = common_length(self.text[before : before + len(header)], header)
        return before + length, length == len(header)

    def _probed_start(self, index: int) -> int | None:
        """Return where other words would begin in this turn's place; `None` where the text before it would differ."""
        words = _PROBE
        while words in self.text:
            words += "?"
        probe = self.template.message(str(self.messages[index].get("role")), words)
        text = self._rendered([*self.messages[:index], probe, *self.messages[index + 1 :]])
        before, found, _ = (text or "").partition(words)
        return len(before) if found and self.text.startswith(before) else None

    def _rendered(self, messages: Sequence[Message]) -> str | None:
        try:
            return _text(self.template, self.record, messages)
        except TemplateError:
            return None


def _words(message: Message) -> str:
    content = message.get("content")
    return content if isinstance(content, str) else ""


def learned_flags(message: Message, learned: bool) -> set[bool]:
    """Return what is said of the parts of a turn, learned or not: one of the two, or both."""
    content = message.get("content")
    if isinstance(content, list):
        return {part_flag(part, learned) for part in content} or {learned}
    return {piece.learned for piece in content_pieces(message, learned)} or {learned}


def says_something(message: Mapping[str, Any]) -> bool:
    """Return whether a message holds words."""
    content = message.get("content")
    if isinstance(content, list):
        return any(not isinstance(part, str) or bool(part.strip()) for part in content)
    return bool(message.get("tool_calls")) or (isinstance(content, str) and bool(content.strip()))


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


def blank_until(text: str, start: int, end: int) -> int:
    """Return where the white space from `start` on ends, at `end` at the latest."""
    while start < end and text[start].isspace():
        start += 1
    return start


def _blank_before(text: str, start: int, most: int) -> int:
    first = max(start - most, 0)
    while start > first and text[start - 1].isspace():
        start -= 1
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
