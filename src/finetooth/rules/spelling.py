"""Stop literals as people spell them by hand: in other case, with other marks, spaces or brackets."""

from __future__ import annotations

import unicodedata

from finetooth.rules.facts import SetupFacts


def same_word(facts: SetupFacts, written: str) -> str | None:
    """Return the stop literal that a text spells in another way, such as `</S>` or `< /s>`; `None` where it is none."""
    known: dict[str, str] | None = facts.__dict__.get("_words")
    if known is None:
        known = facts.__dict__["_words"] = {_word(literal): literal for literal in facts.stops.literals}
    return known.get(_word(written))


def _word(literal: str) -> str:
    plain = unicodedata.normalize("NFKC", literal).casefold().replace("\\", "/")
    return "".join(character for character in plain if character.isalnum() or character == "/")
