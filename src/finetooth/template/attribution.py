"""Attribute characters of a rendered text to messages, by marks that are put into the content and taken out again.

A chat template may reorder, trim or drop what it is given, so the only way to know where a message's words went is to
ask the template. Each stretch of content is wrapped in a pair of private-use characters inside its outer white space
(so that `| trim` still trims), the template is rendered, and the pairs are found and removed. What remains must be
the text as rendered without marks: where it is not, the template looked at the content, and the marks are put in
other places, from the finest to the coarsest, and then into fewer messages. The unmarked text is always the truth;
marks only attribute.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from finetooth.errors import TemplateError
from finetooth.template.chat import ChatTemplate
from finetooth.template.marks import Found, Mark, Marked, Marker, alphabet_for
from finetooth.template.places import PLACES, Place
from finetooth.template.turns import TURN_KEYS
from finetooth.types import Message

_MOST_RENDERINGS = 40
"""How often a conversation is rendered to find the messages whose content the template looks at."""

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

    return _Attribution(template, messages, text, learned, alphabet_for(text), render).of(range(len(messages)))


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
        for place in PLACES:
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

    def _tried(self, place: Place, indices: Sequence[int]) -> Marked | None:
        if not self.num_left:
            return None
        self.num_left -= 1
        marker = Marker(self.alphabet)
        marked = [self.template.in_content_form(message) for message in self.messages]
        for index in indices:
            marked[index] = place(self.template, marker, index, self.messages[index], self.learned[index])
        try:
            return marker.read(self.render(marked), self.text)
        except TemplateError:
            return None
