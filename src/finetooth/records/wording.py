"""How errors about rows name a value, a piece of text, and the name that was meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from finetooth.messages import say

EXCERPT_CHARS = 80
"""The most characters of the user's data that an error shows: a line can hold 50 MB."""


def excerpt(text: str, at: int = 0, width: int = EXCERPT_CHARS) -> str:
    """Return at most `width` printable characters of a text around a position, with `…` where it is cut."""
    start = max(0, at - width // 2) if len(text) > width else 0
    piece = text[start : start + width]
    shown = "".join(character if character.isprintable() else _escaped(character) for character in piece)
    shown = ("…" if start else "") + shown + ("…" if start + width < len(text) else "")
    return shown if len(shown) <= width else shown[: width - 1] + "…"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def describe(value: Any) -> str:
    """Return what a value is, in JSON's terms, with the value itself where it is short."""
    if value is None:
        return say("records.is_null")
    if isinstance(value, bool):
        return say("records.is_boolean", value=str(value).lower())
    if isinstance(value, int) and value.bit_length() > 1000:  # str refuses those of more than 4,300 digits
        return say("records.is_number", value=excerpt(f"{value:#x}", width=20))
    if isinstance(value, int | float):
        return say("records.is_number", value=excerpt(str(value), width=20))
    if isinstance(value, str):
        return say("records.is_string", value=excerpt(value, width=40))
    if isinstance(value, list | tuple):
        return say("records.is_list")
    if isinstance(value, Mapping):
        return say("records.is_object")
    return say("records.is_other", value=type(value).__name__)


def closest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that was most likely meant, or `None`; case does not count."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    matches = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.7)
    return by_lower[matches[0]] if matches else None


def listed(names: Iterable[str], most: int = 12) -> str:
    """Return names in backticks, parted by commas; what goes beyond `most` is counted."""
    names = [excerpt(str(name), width=40) for name in names]
    shown = say("records.comma").join(f"`{name}`" for name in names[:most])
    return shown + (say("records.and_more", count=len(names) - most) if len(names) > most else "")
