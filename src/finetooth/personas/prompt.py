"""`PersonaPrompt`: the messages of a persona's conversation. Training rows, inference and chat all go through it.

persona = finetooth.load_persona("persona.yaml")
prompt = PersonaPrompt(persona, tokenizer)
prompted = prompt.messages([{"role": "user", "content": "What do you do for fun?"}])
prompted.messages       # [{"role": "system", ...}, {"role": "user", ...}]
prompted.facts          # the facts of each user's turn
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from finetooth.errors import DataError
from finetooth.messages import say
from finetooth.personas.lookup import FactIndex, FoundFact
from finetooth.personas.sheet import Persona
from finetooth.personas.templates import MessageTemplate, check_templates, listed, source_of, system_values
from finetooth.template import part_text
from finetooth.template.sandbox import variables_of
from finetooth.tokenizer import Tokenizer
from finetooth.types import Message

SYSTEM_ROLES = ("system", "developer")
_SPOKEN_ROLES = {"user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant", "model": "assistant"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompted:
    """A conversation under a persona's prompt."""

    messages: list[Message]
    """The persona's system message, and the turns with the facts in those of users."""
    facts: tuple[tuple[FoundFact, ...], ...]
    """What was found for each user's turn, best first."""
    num_replaced: int
    """How many system messages of the turns' own gave way to the persona's."""


class PersonaPrompt:
    """Builds the messages of a persona's conversations.

    The system message is the same in every conversation, and a user's message depends on nothing but its own words, so
    that the prompt of a conversation is a prefix of the prompt of its continuation, and of the row that trains it.

    Args:
        persona: Who speaks.
        tokenizer: The model's tokenizer, by whose ids facts are found.

    Raises:
        ConfigError: A template of a persona made in Python cannot be used.
        MissingExtraError: There are facts to be found, and bm25s is not installed.
    """

    def __init__(self, persona: Persona, tokenizer: Tokenizer) -> None:
        for _, error in check_templates(persona):
            raise error.at(persona.where or persona.name)
        self.persona = persona
        self.system_message: Message = {
            "role": "system",
            "content": MessageTemplate(persona, "system").render(system_values(persona)),
        }
        self._user = MessageTemplate(persona, "user")
        has_facts = any(persona.facts.values()) and persona.lookup.top_k > 0
        reads_facts = "facts" in variables_of(source_of(persona, "user"))
        self._index = FactIndex(persona, tokenizer) if has_facts and reads_facts else None

    def messages(self, turns: Iterable[Mapping[str, Any]]) -> Prompted:
        """Return the messages that a model is given for a conversation.

        Args:
            turns: Messages of users and assistants in turn, the user's first. System messages among them give way to
                the persona's; answers are passed on as they are.

        Raises:
            DataError: A turn is out of turn, or is no user's and no assistant's, such as a tool's.
        """
        messages = [dict(self.system_message)]
        facts: list[tuple[FoundFact, ...]] = []
        num_replaced = 0
        due = "user"
        for index, turn in enumerate(turns):
            role = turn.get("role")
            if role in SYSTEM_ROLES:
                num_replaced += 1
                continue
            spoken = _SPOKEN_ROLES.get(str(role))
            if spoken is None or turn.get("tool_calls") or turn.get("function_call"):
                raise DataError(say("personas.other_role", role=role, index=index), help=say("personas.turns_help"))
            if spoken != due:
                raise DataError(say("personas.out_of_turn", role=role, index=index), help=say("personas.turns_help"))
            due = "assistant" if spoken == "user" else "user"
            if spoken == "user":
                words = text_of(turn)
                found = self.facts(words)
                facts.append(found)
                messages.append({**turn, "role": spoken, "content": self.user_content(words, found)})
            else:
                messages.append({**turn, "role": spoken})
        if len(messages) == 1:
            raise DataError(say("personas.no_turns"), help=say("personas.turns_help"))
        return Prompted(messages=messages, facts=tuple(facts), num_replaced=num_replaced)

    def facts(self, words: str) -> tuple[FoundFact, ...]:
        """Return the facts for a user's words, best first."""
        return () if self._index is None else self._index.find(words)

    def user_content(self, words: str, facts: Iterable[FoundFact]) -> str:
        """Return the content of a user's message: the facts, and the words as they are."""
        shown = listed([fact.text for fact in facts], self.persona.language)
        return self._user.render({"name": self.persona.name, "facts": shown, "user": words})


def text_of(message: Mapping[str, Any]) -> str:
    """Return the words of a message, whose content is a text or a list of text parts."""
    content = message.get("content")
    if isinstance(content, list):
        return "".join(part_text(part) for part in content)
    return "" if content is None else str(content)
