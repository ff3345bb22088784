"""The jinja templates of a persona's messages: the defaults of each language, and what a template must not do."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from finetooth.config import closest
from finetooth.errors import ConfigError, FinetoothError
from finetooth.messages import say
from finetooth.personas.sheet import Length, Persona
from finetooth.rules.slots import blank_slots, unfilled_slots
from finetooth.template.sandbox import compile_source, run, variables_of

Which = Literal["system", "user"]

SLOTS: Mapping[str, tuple[str, ...]] = {
    "system": ("name", "system", "rules", "length", "examples"),
    "user": ("name", "facts", "user"),
}
"""What each template may use. Facts are not for the system message: it is the prefix that all rows share."""

_GLOBALS = frozenset({"range", "dict", "namespace", "cycler", "joiner", "raise_exception"})
"""What jinja offers that is the same at any time; `strftime_now` would make of one turn two prompts."""

DEFAULTS: Mapping[str, Mapping[str, str]] = {
    "ja": {
        "system": (
            "{{ system }}"
            "{% if rules %}\n\n\n話し方の決まり:\n{{ rules }}{% endif %}"
            "{% if length %}\n\n\n{{ length }}{% endif %}"
            "{% if examples %}\n\n\n応答の例:\n{{ examples }}{% endif %}"
        ),
        "user": "{% if facts %}【参考情報】\n{{ facts }}\n\n{% endif %}{{ user }}",
    },
    "en": {
        "system": (
            "{{ system }}"
            "{% if rules %}\n\n\nRules of speech:\n{{ rules }}{% endif %}"
            "{% if length %}\n\n\n{{ length }}{% endif %}"
            "{% if examples %}\n\n\nExamples:\n{{ examples }}{% endif %}"
        ),
        "user": "{% if facts %}[Background]\n{{ facts }}\n\n{% endif %}{{ user }}",
    },
}
"""The templates of a sheet that has none; a line break right after a tag is the tag's (jinja's `trim_blocks`)."""

_BULLETS = {"ja": "・", "en": "- "}
_SPEAKERS = {"ja": ("相手: ", "{name}: "), "en": ("User: ", "{name}: ")}

_ASKS_LENGTH = re.compile(
    r"[0-9０-９一二三四五六七八九十百]+(?:文字|文|字)"
    r"|\b(?:[0-9]+|one|two|three|four|five|a single|a few)\b[\w -]{0,20}\b(?:characters?|sentences?|words)\b",
    re.IGNORECASE,
)
"""What a role text says that asks for a length itself, so that the sheet's numbers are not said twice."""

_HEADING_LIKE = re.compile(r"[:：\])）>＞】」*]\s*$|^\s*(?:[#【■◆●▼<＜\[（(「*]|-{3})")
"""A line that stands over something."""

_FACT, _USER = "\u2042fact\u2042", "\u2042user\u2042"


def listed(items: Iterable[str], language: str) -> str:
    """Return a list as it stands in a prompt: a line each."""
    return "\n".join(f"{_BULLETS[language]}{item}" for item in items)


def source_of(persona: Persona, which: Which) -> str:
    """Return the template in force."""
    own = getattr(persona.prompt, which)
    # YAML's block texts end in a line break, which is no part of the message.
    return DEFAULTS[persona.language][which] if own is None else own.rstrip("\n")


class MessageTemplate:
    """A compiled template of one of a persona's messages."""

    def __init__(self, persona: Persona, which: Which) -> None:
        self._name = f"{persona.where or persona.name}: prompt.{which}"
        self._compiled = compile_source(source_of(persona, which), name=self._name)

    def render(self, values: Mapping[str, Any]) -> str:
        """Return the message's text."""
        return run(self._compiled, values, name=self._name)[0]


def system_values(persona: Persona) -> dict[str, str]:
    """Return what the system template is given."""
    language = persona.language
    user, assistant = _SPEAKERS[language]
    assistant = assistant.format(name=persona.name)
    return {
        "name": persona.name,
        "system": persona.system_prompt.strip(),
        "rules": listed(persona.tone, language),
        "length": "" if _ASKS_LENGTH.search(persona.system_prompt) else length_asked(persona.length, language),
        "examples": "\n".join(f"{user}{one.user}\n{assistant}{one.assistant}" for one in persona.examples),
    }


def length_asked(length: Length, language: str) -> str:
    """Return the sentence that asks for the length; empty where none is asked."""
    low, high = length.min_characters, length.max_characters
    if language == "ja":
        parts = [f"{length.sentences}文"] if length.sentences else []
        parts += [f"{length.characters}文字程度"] if length.characters else []
        span = f"{low}〜{high}文字" if low and high else f"{low}文字以上" if low else f"{high}文字以内" if high else ""
        if parts and span:
            return f"応答は{'、'.join(parts)}（{span}）にしてください。"
        return f"応答は{'、'.join(parts) or span}にしてください。" if parts or span else ""
    parts = [f"{length.sentences} sentence{'s' if length.sentences > 1 else ''}"] if length.sentences else []
    parts += [f"about {length.characters} characters"] if length.characters else []
    span = (
        f"{low} to {high} characters"
        if low and high
        else f"at least {low} characters"
        if low
        else f"at most {high} characters"
        if high
        else ""
    )
    asked = " of ".join(parts)
    if asked and span:
        return f"Answer in {asked} ({span})."
    return f"Answer in {asked or span}." if asked or span else ""


def check_templates(persona: Persona) -> Iterator[tuple[Which, FinetoothError]]:
    """Yield what is wrong with the templates of a persona, with the name of the template.

    A template has to use known slots alone, hold the user's words as they are, and leave nothing behind where no fact
    is found: it is rendered with facts and without, and the two are compared.
    """
    sound = True
    whiches: tuple[Which, ...] = ("system", "user")
    for which in whiches:
        try:
            MessageTemplate(persona, which)
            names = variables_of(source_of(persona, which))
        except FinetoothError as error:
            sound = False
            yield which, error
            continue
        for name in sorted(names - set(SLOTS[which]) - _GLOBALS):
            sound = False
            yield which, _no_such_slot(which, name)
    if not sound:
        return
    for which in whiches:
        try:
            yield from ((which, error) for error in (_system_faults if which == "system" else _user_faults)(persona))
        except FinetoothError as error:
            yield which, error


def _no_such_slot(which: Which, name: str) -> ConfigError:
    if which == "system" and name == "facts":
        return ConfigError(say("personas.facts_in_system"), help=say("personas.facts_in_system_help"))
    near = closest(name, SLOTS[which])
    remedy = say("config.did_you_mean", name=near) if near else say("yaml.known_keys", keys=", ".join(SLOTS[which]))
    return ConfigError(say("personas.no_such_slot", slot=name, template=which), help=remedy)


def _system_faults(persona: Persona) -> Iterator[ConfigError]:
    values = system_values(persona)
    text = MessageTemplate(persona, "system").render(values)
    if not text.strip():
        yield ConfigError(say("personas.empty_system"), help="system: '{{ system }}'")
        return
    slots = [*blank_slots(text, is_system=True, is_whole=True), *unfilled_slots(text, is_prompt=True)]
    if slots:
        left = text[slots[0].start : slots[0].end]
        yield ConfigError(say("personas.blank_in_system", left=_shown(left)), help=say("personas.blank_help"))
    elif text != text.strip():
        yield ConfigError(say("personas.white_space", template="system"), help=say("personas.white_space_help"))


def _user_faults(persona: Persona) -> Iterator[ConfigError]:
    template = MessageTemplate(persona, "user")
    facts = listed([_FACT], persona.language)
    filled = template.render({"name": persona.name, "facts": facts, "user": _USER})
    bare = template.render({"name": persona.name, "facts": "", "user": _USER})
    if filled.count(_USER) != 1 or bare.count(_USER) != 1:
        yield ConfigError(say("personas.no_user_slot"), help="user: '{{ user }}'")
        return
    left = left_behind(filled, bare)
    if left is not None:
        yield ConfigError(say("personas.left_behind", left=_shown(left)), help=say("personas.blank_help"))
    elif bare != bare.strip():
        yield ConfigError(say("personas.white_space", template="user"), help=say("personas.white_space_help"))


def left_behind(filled: str, bare: str) -> str | None:
    """Return what a user's template leaves of the place of the facts where there are none; `None` where nothing.

    Args:
        filled: The message with a fact.
        bare: The message without.
    """
    for slot in blank_slots(bare, is_system=True, is_whole=True):
        return bare[slot.start : slot.end]
    if _FACT not in filled:
        return None
    above, _, below = filled.partition(_FACT)
    lines, rest = above.split("\n"), below.split("\n")
    bullet = lines[-1]
    beside = (re.sub(r"^(.*?)(?:・|- )$", r"\1", bullet), rest[0].split(_USER)[0])
    over = next((line for line in reversed(lines[:-1]) if line.strip()), "")
    bare_lines = [line.strip() for line in bare.split("\n")]
    for piece in beside:
        if piece.strip() and _USER not in piece and any(line.startswith(piece.strip()) for line in bare_lines):
            return piece
    if over.strip() and _USER not in over and _HEADING_LIKE.search(over) and over.strip() in bare_lines:
        return over
    if _blank_lines(bare) > _blank_lines(filled):
        return "\n\n"
    return None


def _blank_lines(text: str) -> int:
    lines: Sequence[str] = text.split("\n")
    return sum(not line.strip() for line in lines)


def _shown(text: str) -> str:
    return text.strip() or text.replace("\n", "↵")
