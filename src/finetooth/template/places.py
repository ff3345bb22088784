"""Where marks are put into messages, from the finest to the coarsest places."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from finetooth.template.chat import REASONING_KEYS, ChatTemplate
from finetooth.template.marks import Marker
from finetooth.template.turns import ASSISTANT_ROLES, Piece, content_pieces, part_flag
from finetooth.types import Message

_OPENING, _CLOSING = "<think>", "</think>"

Place = Callable[[ChatTemplate, Marker, int, Message, bool], Message]
_Cut = Callable[[str], Iterator[tuple[str, bool]]]


def _mark_all(template: ChatTemplate, marker: Marker, index: int, message: Message, learned: bool) -> Message:
    """Mark the content, each thinking part and the answer apart, and the strings of tool calls."""
    marked = _mark_content(template, marker, index, message, learned)
    changes: dict[str, Any] = {}
    for key in REASONING_KEYS:
        if isinstance(message.get(key), str):
            changes[key] = marker.wrap([Piece(message[key], learned)], index)
    if isinstance(message.get("tool_calls"), list):
        changes["tool_calls"] = [_mark_call(marker, index, call, learned) for call in message["tool_calls"]]
    return {**marked, **changes} if changes else marked


def _mark_content(template: ChatTemplate, marker: Marker, index: int, message: Message, learned: bool) -> Message:
    """Mark the content, each thinking part and the answer apart."""
    return _mark_pieces(template, marker, index, message, learned, _answer_and_thinking)


def _mark_whole(template: ChatTemplate, marker: Marker, index: int, message: Message, learned: bool) -> Message:
    """Mark the content as a whole."""
    return _mark_pieces(template, marker, index, message, learned, lambda text: iter(((text, True),)))


def _mark_tagged(template: ChatTemplate, marker: Marker, index: int, message: Message, learned: bool) -> Message:
    """Mark the content inside the tags around it."""
    return _mark_pieces(template, marker, index, message, learned, _inside_tags)


def _mark_prompt(template: ChatTemplate, marker: Marker, index: int, message: Message, learned: bool) -> Message:
    """Mark everything but what the model writes: for templates that rewrite an answer whatever is in it."""
    if message.get("role") in ASSISTANT_ROLES:
        marker.unmarked.add(index)
        return template.in_content_form(message)
    return _mark_whole(template, marker, index, message, learned)


PLACES: tuple[Place, ...] = (_mark_all, _mark_content, _mark_whole, _mark_tagged, _mark_prompt)


def _mark_pieces(
    template: ChatTemplate, marker: Marker, index: int, message: Message, learned: bool, cut: _Cut
) -> Message:
    content = message.get("content")
    if isinstance(content, list) and template.content_form == "parts":
        flags = [part_flag(part, learned) for part in content]
        is_mixed = len(set(flags)) > 1
        parts = [_mark_part(marker, index, *both, cut, is_mixed) for both in zip(content, flags, strict=True)]
        return {**message, "content": parts}
    pieces = content_pieces(message, learned)
    if not pieces:
        return template.in_content_form(message)
    return template.in_content_form({**message, "content": _mark_text(marker, index, pieces, cut)})


def _mark_part(marker: Marker, index: int, part: Any, learned: bool, cut: _Cut, is_mixed: bool) -> Any:
    """Mark the text of one content part; an image, a sound and the like stay as they are."""
    text = part.get("text") if isinstance(part, Mapping) else part
    if not isinstance(text, str) or not text:
        return part
    piece = Piece(text, learned)
    if is_mixed and not text.strip():
        # White space that is a part of its own may be what is learned, or what is not.
        marked = marker.wrap_blank(piece, index)
    else:
        marked = _mark_text(marker, index, [piece], cut)
    return {**part, "text": marked} if isinstance(part, Mapping) else marked


def _mark_text(marker: Marker, index: int, pieces: Sequence[Piece], cut: _Cut) -> str:
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


def _mark_call(marker: Marker, index: int, call: Any, learned: bool) -> Any:
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


def _mark_leaves(marker: Marker, index: int, value: Any, learned: bool) -> Any:
    if isinstance(value, str):
        return marker.wrap([Piece(value, learned)], index, is_call=True)
    if isinstance(value, Mapping):
        return {key: _mark_leaves(marker, index, item, learned) for key, item in value.items()}
    if isinstance(value, list):
        return [_mark_leaves(marker, index, item, learned) for item in value]
    return value
