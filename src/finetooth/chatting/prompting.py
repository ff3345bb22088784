"""The prompt of a turn, and where each of its tokens came from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from finetooth.chatting.speaker import Speaker
from finetooth.probing.prompts import encode_prompt
from finetooth.template.attribution import attribute
from finetooth.types import Message

if TYPE_CHECKING:
    from finetooth.personas.lookup import FoundFact
    from finetooth.personas.prompt import PersonaPrompt

Origin = Literal["template", "system", "history", "facts", "question"]
"""Where a token of a prompt came from: the chat template's own marks, the system message, earlier turns, what a persona
adds to the user's words, and these words."""

ORIGINS: tuple[Origin, ...] = ("template", "system", "history", "facts", "question")


@dataclass(frozen=True, kw_only=True)
class TurnPrompt:
    """What a model is given for one turn."""

    messages: list[Message]
    text: str
    ids: tuple[int, ...]
    facts: tuple[FoundFact, ...]
    """Those found for this turn, best first."""
    question: str
    speaker: Speaker
    offsets: Sequence[tuple[int, int]]
    """Half-open characters of the text, by token."""

    @cached_property
    def origins(self) -> dict[Origin, int]:
        """How many tokens came from where; a token that two share counts for the later one."""
        places = self._places()
        counts: Counter[Origin] = Counter()
        for start, end in self.offsets:
            touched = [origin for origin, first, last in places if start < last and end > first]
            counts[touched[-1] if touched else "template"] += 1
        return {origin: counts[origin] for origin in ORIGINS if counts[origin]}

    def _places(self) -> list[tuple[Origin, int, int]]:
        marked = attribute(
            self.speaker.template,
            self.messages,
            self.text,
            [False] * len(self.messages),
            tools=None,
            variables={},
            add_generation_prompt=True,
        )
        last = len(self.messages) - 1
        places: list[tuple[Origin, int, int]] = []
        for found in marked.found:
            if found.message_index == last:
                words = self.question.strip()
                start = self.text.rfind(words, found.start, found.end) if words else -1
                if start < 0:
                    places.append(("question", found.start, found.end))
                    continue
                end = start + len(words)
                around: list[tuple[Origin, int, int]] = [
                    ("facts", found.start, start),
                    ("facts", end, found.end),
                    ("question", start, end),
                ]
                places += [place for place in around if place[1] < place[2]]
            else:
                is_system = self.messages[found.message_index].get("role") == "system"
                places.append(("system" if is_system else "history", found.start, found.end))
        return places


def turn_prompt(
    speaker: Speaker,
    turns: Sequence[Message],
    question: str,
    *,
    system: str | None = None,
    persona: PersonaPrompt | None = None,
) -> TurnPrompt:
    """Return the prompt for a question after earlier turns.

    Raises:
        FinetoothError: The template refuses the conversation, or a text cannot be encoded.
    """
    messages: list[Message] = [*turns, {"role": "user", "content": question}]
    facts: tuple[FoundFact, ...] = ()
    if persona is not None:
        prompted = persona.messages(messages)
        messages, facts = prompted.messages, prompted.facts[-1]
    elif system is not None:
        messages = [{"role": "system", "content": system}, *messages]
    text, encoding = encode_prompt(speaker.tokenizer, speaker.template, messages)
    return TurnPrompt(
        messages=messages,
        text=text,
        ids=tuple(encoding.ids),
        facts=facts,
        question=question,
        speaker=speaker,
        offsets=encoding.offsets,
    )
