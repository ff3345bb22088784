"""Attribute characters of a rendered text to messages, by marks that are put into the content and taken out again.

A chat template may reorder, trim or drop what it is given, so the only way to know where a message's words went is to
ask the template. Each stretch of content is wrapped in a pair of private-use characters inside its outer white space
(so that `| trim` still trims), the template is rendered, and the pairs are found and removed. What remains must be
the text as rendered without marks: where it is not, the template looked at the content, and the marks are put in
other places, from the finest to the coarsest, and then into fewer messages. The unmarked text is always the truth;
marks only attribute.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from finetooth.errors import TemplateError
from finetooth.template.chat import REASONING_KEYS, ChatTemplate
from finetooth.template.turns import ASSISTANT_ROLES, TURN_KEYS, Piece, content_pieces, part_flag
from finetooth.types import Message

_PLANES = (range(0x100000, 0x10FFFE), range(0xF0000, 0xFFFFE))
"""The planes of private-use characters; the second serves where a text uses the first (icon fonts)."""

_OPENING, _CLOSING = "<think>", "</think>"

_MOST_RENDERINGS = 40
"""How often a conversation is rendered to find the messages whose content the template looks at."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One marked stretch: whose it is, and whether it is to be learned."""

    message_index: int
    learned: bool
    lead: int
    """White-space characters that went before the stretch in the content."""
    tail: int
    """White-space characters that followed the stretch in the content."""
    is_call: bool = False
    """Whether it stands in a tool call."""


@dataclass(frozen=True, slots=True)
class Found:
    """A marked stretch as it was found in the rendered text."""

    start: int
    end: int
    mark: Mark
    number: int
    """Which stretch of its message it is. A template may show one twice."""

    @property
    def message_index(self) -> int:
        """The message whose words these are."""
        return self.mark.message_index


@dataclass(frozen=True, slots=True)
class Marked:
    """What the marks tell of a text."""

    found: tuple[Found, ...] = ()
    """In the order of the text."""
    unpaired: frozenset[int] = frozenset()
    """Messages of which the template kept one end of a stretch and dropped the other."""
    dropped: frozenset[int] = frozenset()
    """Messages of which the template shows nothing."""
    without_calls: frozenset[int] = frozenset()
    """Messages of whose tool calls the template shows nothing."""
    lost: frozenset[int] = frozenset()
    """Messages that cannot be marked, since the template then writes another text."""

    def __add__(self, other: Marked) -> Marked:
        found = sorted((*self.found, *other.found), key=lambda stretch: (stretch.start, stretch.end))
        return Marked(
            found=tuple(found),
            unpaired=self.unpaired | other.unpaired,
            dropped=self.dropped | other.dropped,
            without_calls=self.without_calls | other.without_calls,
            lost=self.lost | other.lost,
        )


class _Marker:
    """Hand out pairs of characters, and remember what they stand for.

    Args:
        alphabet: Characters that the text does not hold.
    """

    def __init__(self, alphabet: range) -> None:
        self.alphabet = alphabet
        self.marks: list[Mark] = []
        self.unmarked: set[int] = set()
        """Messages for which no pair was left."""

    def wrap(self, pieces: Sequence[Piece], message_index: int, *, is_call: bool = False) -> str:
        """Return the text of some pieces, each with a pair around it inside the outer white space of all.

        A blank text stays as it is: a pair in it would turn `if message.content` around.
        """
        text = pieces[0].text if len(pieces) == 1 else "".join(piece.text for piece in pieces)
        core = text.strip()
        if not core:
            return text
        start = len(text) - len(text.lstrip())
        end = start + len(core)
        wrapped = [text[:start]]
        position = 0
        for piece in pieces:
            first, last = max(position, start), min(position + len(piece.text), end)
            position += len(piece.text)
            if first >= last:
                continue
            number = 2 * len(self.marks)
            if number + 1 >= len(self.alphabet):
                self.unmarked.add(message_index)
                wrapped.append(text[first:last])
                continue
            lead, tail = (start if first == start else 0), (len(text) - end if last == end else 0)
            self.marks.append(Mark(message_index, piece.learned, lead, tail, is_call))
            wrapped += (chr(self.alphabet[number]), text[first:last], chr(self.alphabet[number + 1]))
        return "".join((*wrapped, text[end:]))

    def read(self, marked: str, text: str) -> Marked | None:
        """Return what the marks tell, or `None` where the text without them is not `text`."""
        opened: dict[int, int] = {}
        found: list[Found] = []
        unpaired: set[int] = set()
        kept: list[str] = []
        position = last = 0
        for match in re.finditer(_any_of(self.alphabet), marked):
            piece = marked[last : match.start()]
            kept.append(piece)
            position += len(piece)
            last = match.end()
            number, closing = divmod(self.alphabet.index(ord(match.group())), 2)
            if number >= len(self.marks):
                return None
            mark = self.marks[number]
            if not closing:
                if number in opened:
                    unpaired.add(mark.message_index)
                opened[number] = position
            elif number in opened:
                found.append(Found(opened.pop(number), position, mark, number))
            else:
                unpaired.add(mark.message_index)
        kept.append(marked[last:])
        if "".join(kept) != text:
            return None
        unpaired.update(self.marks[number].message_index for number in opened)
        found.sort(key=lambda stretch: (stretch.start, stretch.end))
        shown = unpaired.union(stretch.message_index for stretch in found)
        with_calls = unpaired.union(stretch.message_index for stretch in found if stretch.mark.is_call)
        return Marked(
            found=tuple(found),
            unpaired=frozenset(unpaired),
            dropped=frozenset({mark.message_index for mark in self.marks} - shown),
            without_calls=frozenset({mark.message_index for mark in self.marks if mark.is_call} - with_calls),
            lost=frozenset(self.unmarked),
        )


def _alphabet(text: str) -> range:
    """Return private-use characters that a text does not hold: a plane, or the widest gap between those it holds."""
    for plane in _PLANES:
        if not re.search(_any_of(plane), text):
            return plane
    used = sorted(code for code in set(map(ord, text)) if any(code in plane for plane in _PLANES))
    bounds = [(plane.start - 1, plane.stop) for plane in _PLANES]
    gaps = [
        range(first + 1, last)
        for low, high in bounds
        for first, last in pairwise([low, *(code for code in used if low < code < high), high])
    ]
    return max(gaps, key=len)


def _any_of(alphabet: range) -> str:
    return f"[{chr(alphabet[0])}-{chr(alphabet[-1])}]"


_TURNS_FOUND_PLAINLY = 8
"""Messages up to which their words are looked for in each other; more are marked."""


def attribute_plainly(
    template: ChatTemplate, messages: Sequence[Message], text: str, learned: Sequence[bool]
) -> Marked | None:
    """Find where the words of each message stand by looking for them, where that cannot be wrong.

    What the marks would tell, without rendering them: for the many conversations whose words stand in the text once
    each. Words that the template itself may print, or that are part of another message's, are not looked for.

    Returns:
        What was found; `None` where the marks have to tell.
    """
    if len(messages) > _TURNS_FOUND_PLAINLY:
        return None
    contents: list[str] = []
    for message in messages:
        content = message.get("content")
        if not isinstance(content, str) or "</think>" in content or not _PLAIN_KEYS.issuperset(message):
            return None
        contents.append(content)
    found: list[Found] = []
    for index, content in enumerate(contents):
        words = content.strip()
        start = text.find(words) if words else -1
        if start < 0 or text.find(words, start + 1) >= 0:
            return None
        if words in template.source or words.replace("\n", "\\n") in template.source:
            return None
        if any(words in other for place, other in enumerate(contents) if place != index):
            return None
        lead, tail = len(content) - len(content.lstrip()), len(content) - len(content.rstrip())
        found.append(Found(start, start + len(words), Mark(index, learned[index], lead, tail), 0))
    found.sort(key=lambda stretch: stretch.start)
    return Marked(found=tuple(found))


_PLAIN_KEYS = frozenset({"role", "content", *TURN_KEYS})
"""Keys of a message that bring no words of their own into the text."""


def attribute(
    template: ChatTemplate,
    messages: Sequence[Message],
    text: str,
    learned: Sequence[bool],
    *,
    tools: Sequence[Any] | None,
    variables: Mapping[str, Any],
    add_generation_prompt: bool = False,
) -> Marked:
    """Find where the words of each message stand in a text that the template rendered.

    Args:
        template: The template that rendered the text.
        messages: The conversation, as the record holds it.
        text: The text as rendered without marks.
        learned: Whether each message is to be learned; parts of a message may overrule it.
        tools: As they were given to the template.
        variables: As they were given to the template.
        add_generation_prompt: As it was given to the template.

    Returns:
        What was found. A message without words is nowhere in it.
    """

    def render(marked_messages: Sequence[Message]) -> str:
        return template.render(
            marked_messages, tools=tools, variables=variables, add_generation_prompt=add_generation_prompt
        )

    return _Attribution(template, messages, text, learned, _alphabet(text), render).of(range(len(messages)))


class _Attribution:
    """The search for one text's words, from one rendering to the next."""

    def __init__(
        self,
        template: ChatTemplate,
        messages: Sequence[Message],
        text: str,
        learned: Sequence[bool],
        alphabet: range,
        render: Callable[[Sequence[Message]], str],
    ) -> None:
        self.template = template
        self.messages = messages
        self.text = text
        self.learned = learned
        self.alphabet = alphabet
        self.render = render
        self.num_left = _MOST_RENDERINGS

    def of(self, chosen: Sequence[int]) -> Marked:
        """Find the words of some messages; of those that no place does for, half at a time."""
        best: Marked | None = None
        for place in _PLACES:
            result = self._tried(place, chosen)
            if result is None or len(result.lost) == len(chosen):
                continue
            if best is None or len(result.unpaired | result.lost) < len(best.unpaired | best.lost):
                best = result
            if not best.unpaired | best.lost:
                break
        if best is not None:
            return replace(best, lost=frozenset()) + self.of(sorted(best.lost)) if best.lost else best
        if len(chosen) < 2 or not self.num_left:
            return Marked(lost=frozenset(chosen))
        middle = len(chosen) // 2
        return self.of(chosen[:middle]) + self.of(chosen[middle:])

    def _tried(self, place: _Place, indices: Sequence[int]) -> Marked | None:
        if not self.num_left:
            return None
        self.num_left -= 1
        marker = _Marker(self.alphabet)
        marked = [self.template.in_content_form(message) for message in self.messages]
        for index in indices:
            marked[index] = place(self.template, marker, index, self.messages[index], self.learned[index])
        try:
            return marker.read(self.render(marked), self.text)
        except TemplateError:
            return None


_Place = Callable[[ChatTemplate, _Marker, int, Message, bool], Message]
_Cut = Callable[[str], Iterator[tuple[str, bool]]]


def _mark_all(template: ChatTemplate, marker: _Marker, index: int, message: Message, learned: bool) -> Message:
    """Mark the content, each thinking part and the answer apart, and the strings of tool calls."""
    marked = _mark_content(template, marker, index, message, learned)
    changes: dict[str, Any] = {}
    for key in REASONING_KEYS:
        if isinstance(message.get(key), str):
            changes[key] = marker.wrap([Piece(message[key], learned)], index)
    if isinstance(message.get("tool_calls"), list):
        changes["tool_calls"] = [_mark_call(marker, index, call, learned) for call in message["tool_calls"]]
    return {**marked, **changes} if changes else marked


def _mark_content(template: ChatTemplate, marker: _Marker, index: int, message: Message, learned: bool) -> Message:
    """Mark the content, each thinking part and the answer apart."""
    return _mark_pieces(template, marker, index, message, learned, _answer_and_thinking)


def _mark_whole(template: ChatTemplate, marker: _Marker, index: int, message: Message, learned: bool) -> Message:
    """Mark the content as a whole."""
    return _mark_pieces(template, marker, index, message, learned, lambda text: iter(((text, True),)))


def _mark_tagged(template: ChatTemplate, marker: _Marker, index: int, message: Message, learned: bool) -> Message:
    """Mark the content inside the tags around it."""
    return _mark_pieces(template, marker, index, message, learned, _inside_tags)


def _mark_prompt(template: ChatTemplate, marker: _Marker, index: int, message: Message, learned: bool) -> Message:
    """Mark everything but what the model writes: for templates that rewrite an answer whatever is in it."""
    if message.get("role") in ASSISTANT_ROLES:
        marker.unmarked.add(index)
        return template.in_content_form(message)
    return _mark_whole(template, marker, index, message, learned)


_PLACES: tuple[_Place, ...] = (_mark_all, _mark_content, _mark_whole, _mark_tagged, _mark_prompt)


def _mark_pieces(
    template: ChatTemplate, marker: _Marker, index: int, message: Message, learned: bool, cut: _Cut
) -> Message:
    content = message.get("content")
    if isinstance(content, list) and template.content_form == "parts":
        parts = [_mark_part(marker, index, part, part_flag(part, learned), cut) for part in content]
        return {**message, "content": parts}
    pieces = content_pieces(message, learned)
    if not pieces:
        return template.in_content_form(message)
    return template.in_content_form({**message, "content": _mark_text(marker, index, pieces, cut)})


def _mark_part(marker: _Marker, index: int, part: Any, learned: bool, cut: _Cut) -> Any:
    """Mark the text of one content part; an image, a sound and the like stay as they are."""
    if isinstance(part, str):
        return _mark_text(marker, index, [Piece(part, learned)], cut)
    if isinstance(part, Mapping) and isinstance(part.get("text"), str):
        return {**part, "text": _mark_text(marker, index, [Piece(part["text"], learned)], cut)}
    return part


def _mark_text(marker: _Marker, index: int, pieces: Sequence[Piece], cut: _Cut) -> str:
    text = "".join(piece.text for piece in pieces)
    segments = list(cut(text))
    if len(segments) == 1:
        return marker.wrap(pieces, index)
    marked: list[str] = []
    position = 0
    for segment, is_words in segments:
        end = position + len(segment)
        marked.append(marker.wrap(_between(pieces, position, end), index) if is_words else segment)
        position = end
    result = "".join(marked)
    # Where nothing stands between tags, the tags are the words.
    return marker.wrap(pieces, index) if result == text else result


def _between(pieces: Sequence[Piece], start: int, end: int) -> list[Piece]:
    """Return what of some pieces lies in a range of their text."""
    found: list[Piece] = []
    position = 0
    for piece in pieces:
        first, last = max(start - position, 0), min(end - position, len(piece.text))
        if first < last:
            found.append(Piece(piece.text[first:last], piece.learned))
        position += len(piece.text)
    return found


def _answer_and_thinking(text: str) -> Iterator[tuple[str, bool]]:
    """Cut `<think>..</think>answer` into its words and its tags; yields (text, whether it is words)."""
    last = 0
    while (closing := text.find(_CLOSING, last)) >= 0:
        opening = text.find(_OPENING, last, closing)
        if opening >= 0:
            yield text[last:opening], True
            yield _OPENING, False
            last = opening + len(_OPENING)
        # Without the opening tag, the inference prompt holds it.
        yield text[last:closing], True
        yield _CLOSING, False
        last = closing + len(_CLOSING)
    yield text[last:], True


def _inside_tags(text: str) -> Iterator[tuple[str, bool]]:
    """Cut `<tag>words</tag>` into its words and its tags, as templates tell tool results from questions."""
    start, end = text.find(">") + 1, text.rfind("</")
    if text.lstrip().startswith("<") and text.rstrip().endswith(">") and 0 < start <= end:
        yield text[:start], False
        yield text[start:end], True
        yield text[end:], False
    else:
        yield from _answer_and_thinking(text)


def _mark_call(marker: _Marker, index: int, call: Any, learned: bool) -> Any:
    """Mark the strings of one tool call: its name and the values of its arguments."""
    if not isinstance(call, Mapping):
        return call
    if isinstance(call.get("function"), Mapping):
        return {**call, "function": _mark_call(marker, index, call["function"], learned)}
    changes: dict[str, Any] = {}
    if isinstance(call.get("name"), str):
        changes["name"] = marker.wrap([Piece(call["name"], learned)], index, is_call=True)
    if "arguments" in call:
        changes["arguments"] = _mark_leaves(marker, index, call["arguments"], learned)
    return {**call, **changes}


def _mark_leaves(marker: _Marker, index: int, value: Any, learned: bool) -> Any:
    if isinstance(value, str):
        return marker.wrap([Piece(value, learned)], index, is_call=True)
    if isinstance(value, Mapping):
        return {key: _mark_leaves(marker, index, item, learned) for key, item in value.items()}
    if isinstance(value, list):
        return [_mark_leaves(marker, index, item, learned) for item in value]
    return value
