"""`Persona`: who speaks, how, how long, and what is so of them; what a persona.yaml says, checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

SheetLanguage = Literal["ja", "en"]
"""The languages that finetooth can write the parts of a prompt in which a sheet does not write itself."""

FLOOR = 0.25
"""The score from which a fact is taken for an answer to the user's words; docs/personas.md says how it was chosen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One thing that is so."""

    text: str
    contradicted_by: tuple[str, ...] = ()
    """Regular expressions of what nobody may say to whom the fact is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Length:
    """How long an answer is asked to be; `None` where nothing is asked."""

    sentences: int | None = None
    characters: int | None = None
    """About how many characters."""
    min_characters: int | None = None
    max_characters: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A user's words, and how the persona answers them."""

    user: str
    assistant: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptTemplates:
    """The jinja templates of the messages; `None` takes the one of the sheet's language."""

    system: str | None = None
    """Of the system message. Its slots: `name`, `system`, `rules`, `length`, `examples`."""
    user: str | None = None
    """Of each user's message. Its slots: `name`, `facts`, `user`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """How facts are found."""

    top_k: int = 3
    """How many facts a turn is given at most; 0 gives none."""
    floor: float = FLOOR
    """The score below which a fact is no answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Persona:
    """Who speaks. `finetooth.load_persona` reads one from a sheet."""

    name: str
    system_prompt: str
    """The role text."""
    tone: tuple[str, ...] = ()
    """The rules of speech."""
    length: Length = field(default_factory=Length)
    facts: Mapping[str, tuple[Fact, ...]] = field(default_factory=dict)
    """By group."""
    style_patterns: tuple[str, ...] = ()
    """Regular expressions of which a sentence in style matches one."""
    examples: tuple[Example, ...] = ()
    prompt: PromptTemplates = field(default_factory=PromptTemplates)
    lookup: Lookup = field(default_factory=Lookup)
    language: SheetLanguage = "en"
    """Of the templates' own words."""
    where: str = ""
    """The sheet's path; empty for a persona made in Python."""

    @property
    def grouped_facts(self) -> Iterator[tuple[str, Fact]]:
        """The facts in the order of the sheet, each with its group."""
        return ((group, fact) for group, facts in self.facts.items() for fact in facts)
