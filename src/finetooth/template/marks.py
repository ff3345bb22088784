"""Attribute characters of a rendered text to messages, by marks that are put into the content and taken out again.

A chat template may reorder, trim or drop what it is given, so the only way to know where a message's words went is to
ask the template. Each stretch of content is wrapped in a pair of private-use characters inside its outer white space
(so that `| trim` still trims), the template is rendered, and the pairs are found and removed. What remains must be
the text as rendered without marks: where it is not, the template looked at the content, and the marks are put in
other places, from the finest to the coarsest. The unmarked text is always the truth; marks only attribute.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finetooth.template.chat import REASONING_KEYS, ChatTemplate
from finetooth.template.turns import content_pieces
from finetooth.types import Message

_BASES = (0x100000, 0xF0000)
"""Where the planes of private-use characters begin; the second serves where a text uses the first (icon fonts)."""
_MOST_MARKS = 0xFFFC

_THINKING = re.compile(r"(<think>\s*)(.*?)(\s*</think>\s*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Mark:
    """One marked stretch: whose it is, and whether it is to be learned."""

    message_index: int
    learned: bool
    tail: int
    """White-space characters that followed the stretch in the content."""


@dataclass(frozen=True, slots=True)
class Found:
    """A marked stretch as it was found in the rendered text."""

    start: int
    end: int
    message_index: int
    learned: bool
    tail: int


@dataclass(frozen=True, slots=True)
class Marked:
    """What the marks tell of a text."""

    found: tuple[Found, ...]
    """In the order of the text."""
    unpaired: frozenset[int]
    """Messages of which the template kept one end of a stretch and dropped the other."""


class _Marker:
    """Hand out pairs of characters, and remember what they stand for."""

    def __init__(self, base: int) -> None:
        self.base = base
        self.marks: list[Mark] = []

    def wrap(self, text: str, message_index: int, learned: bool) -> str:
        """Return the text with a pair inside its outer white space; unchanged where it is blank."""
        core = text.strip()
        number = 2 * len(self.marks)
        if not core or number + 1 >= _MOST_MARKS:
            # A pair in an empty text would turn `if message.content` around.
            return text
        start = len(text) - len(text.lstrip())
        end = start + len(core)
        self.marks.append(Mark(message_index, learned, len(text) - end))
        return "".join((text[:start], chr(self.base + number), core, chr(self.base + number + 1), text[end:]))

    def read(self, marked: str, text: str) -> Marked | None:
        """Return what the marks tell, or `None` where the text without them is not `text`."""
        opened: dict[int, int] = {}
        found: list[Found] = []
        unpaired: set[int] = set()
        kept: list[str] = []
        position = last = 0
        for match in re.finditer(f"[{chr(self.base)}-{chr(self.base + _MOST_MARKS)}]", marked):
            piece = marked[last : match.start()]
            kept.append(piece)
            position += len(piece)
            last = match.end()
            number, closing = divmod(ord(match.group()) - self.base, 2)
            if number >= len(self.marks):
                return None
            mark = self.marks[number]
            if not closing:
                if number in opened:
                    unpaired.add(mark.message_index)
                opened[number] = position
            elif number in opened:
                found.append(Found(opened.pop(number), position, mark.message_index, mark.learned, mark.tail))
            else:
                unpaired.add(mark.message_index)
        kept.append(marked[last:])
        if "".join(kept) != text:
            return None
        unpaired.update(self.marks[number].message_index for number in opened)
        found.sort(key=lambda stretch: (stretch.start, stretch.end))
        return Marked(tuple(found), frozenset(unpaired))


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
        What was found; nothing where the template shows no mark at all.
    """
    base = next((base for base in _BASES if not re.search(f"[{chr(base)}-{chr(base + 0xFFFF)}]", text)), None)
    if base is None:
        return Marked((), frozenset())
    best: Marked | None = None
    for place in _PLACES:
        marker = _Marker(base)
        marked_messages = [
            place(template, marker, index, message, flag)
            for index, (message, flag) in enumerate(zip(messages, learned, strict=True))
        ]
        try:
            marked = template.render(
                marked_messages, tools=tools, variables=variables, add_generation_prompt=add_generation_prompt
            )
        except Exception:
            continue
        result = marker.read(marked, text)
        if result is None:
            continue
        if not result.unpaired:
            return result
        if best is None or len(result.unpaired) < len(best.unpaired):
            best = result
    return best or Marked((), frozenset())


def _mark_all(template: ChatTemplate, marker: _Marker, index: int, message: Message, learned: bool) -> Message:
    """Mark the content, each thinking part and the answer apart, and the strings of tool calls."""
    marked = _mark_content(template, marker, index, message, learned)
    changes: dict[str, Any] = {}
    for key in REASONING_KEYS:
        if isinstance(message.get(key), str):
            changes[key] = marker.wrap(message[key], index, learned)
    if isinstance(message.get("tool_calls"), list):
        changes["tool_calls"] = [_mark_call(marker, index, call, learned) for call in message["tool_calls"]]
    return {**marked, **changes} if changes else marked


def _mark_content(template: ChatTemplate, marker: _Marker, index: int, message: Message, learned: bool) -> Message:
    """Mark the content, each thinking part and the answer apart."""
    return _mark_pieces(template, marker, index, message, learned, _answer_and_thinking)


def _mark_whole(template: ChatTemplate, marker: _Marker, index: int, message: Message, learned: bool) -> Message:
    """Mark the content as a whole."""
    return _mark_pieces(template, marker, index, message, learned, lambda text: iter(((text, True),)))


def _mark_prompt(template: ChatTemplate, marker: _Marker, index: int, message: Message, learned: bool) -> Message:
    """Mark everything but what the model writes: for templates that rewrite an answer whatever is in it."""
    if message.get("role") == "assistant":
        return template.in_content_form(message)
    return _mark_whole(template, marker, index, message, learned)


_PLACES = (_mark_all, _mark_content, _mark_whole, _mark_prompt)


def _mark_pieces(
    template: ChatTemplate,
    marker: _Marker,
    index: int,
    message: Message,
    learned: bool,
    cut: Callable[[str], Iterator[tuple[str, bool]]],
) -> Message:
    pieces = content_pieces(message, learned)
    if not pieces:
        return message
    marked = "".join(
        marker.wrap(text, index, piece.learned) if words else text
        for piece in pieces
        for text, words in cut(piece.text)
    )
    return template.in_content_form({**message, "content": marked})


def _answer_and_thinking(text: str) -> Iterator[tuple[str, bool]]:
    """Cut `<think>..</think>answer` into its words and its tags; yields (text, whether it is words)."""
    if "</think>" not in text:
        yield text, True
        return
    last = 0
    for match in _THINKING.finditer(text):
        yield text[last : match.start()], True
        yield match.group(1), False
        yield match.group(2), True
        yield match.group(3), False
        last = match.end()
    yield text[last:], True


def _mark_call(marker: _Marker, index: int, call: Any, learned: bool) -> Any:
    """Mark the strings of one tool call: its name and the values of its arguments."""
    if not isinstance(call, Mapping):
        return call
    if isinstance(call.get("function"), Mapping):
        return {**call, "function": _mark_call(marker, index, call["function"], learned)}
    changes: dict[str, Any] = {}
    if isinstance(call.get("name"), str):
        changes["name"] = marker.wrap(call["name"], index, learned)
    if "arguments" in call:
        changes["arguments"] = _mark_leaves(marker, index, call["arguments"], learned)
    return {**call, **changes}


def _mark_leaves(marker: _Marker, index: int, value: Any, learned: bool) -> Any:
    if isinstance(value, str):
        return marker.wrap(value, index, learned)
    if isinstance(value, Mapping):
        return {key: _mark_leaves(marker, index, item, learned) for key, item in value.items()}
    if isinstance(value, list):
        return [_mark_leaves(marker, index, item, learned) for item in value]
    return value
