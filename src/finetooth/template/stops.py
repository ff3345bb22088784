"""The texts that end a turn."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

CONTROL_LITERAL = re.compile(r"<\|[^|<>\s]{1,40}\|>|</s>|<end_of_turn>|<eos>|<turn\|>")
"""Text in the shape of a control token, which templates print even where the tokenizer has no such token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stops:
    """The texts that end a turn."""

    literals: tuple[str, ...]
    """The stop set of inference: the EOS token, and what generation_config.json adds."""
    specials: tuple[str, ...] = ()
    """Other special tokens of the vocabulary, which end a turn where no literal of the stop set does."""
    _stop_pattern: re.Pattern[str] | None = field(init=False, repr=False, compare=False)
    _special_pattern: re.Pattern[str] | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_stop_pattern", _any_of(self.literals))
        object.__setattr__(self, "_special_pattern", _any_of(self.specials))

    def find(self, text: str, start: int, end: int, *, opener: str | None = None) -> int | None:
        """Return the end of the first stop literal in `text[start:end]`; see `match`."""
        match = self.match(text, start, end, opener=opener)
        return match.end() if match else None

    def match(self, text: str, start: int, end: int, *, opener: str | None = None) -> re.Match[str] | None:
        """Return the first stop literal in `text[start:end]`.

        A literal of the stop set wins over an earlier special token: inference runs on to it. Without one, the first
        special token or control literal counts, unless it opens the next turn.

        Args:
            text: The rendered text.
            start: The end of the content.
            end: Where the next message's content begins.
            opener: The special token that opens a user's turn.
        """
        literal = self.match_literal(text, start, end)
        if literal is not None:
            return literal
        candidates = [
            match
            for pattern in (self._special_pattern, CONTROL_LITERAL)
            if pattern is not None and (match := pattern.search(text, start, end))
        ]
        first = min(candidates, key=lambda match: (match.start(), -match.end()), default=None)
        return None if first is None or first.group() == opener else first

    def match_literal(self, text: str, start: int, end: int) -> re.Match[str] | None:
        """Return the first literal of the stop set in `text[start:end]`."""
        return self._stop_pattern.search(text, start, end) if self._stop_pattern is not None else None

    def is_bare(self, text: str) -> bool:
        """Return whether a text is white space, special tokens and control literals."""
        if not text.strip():
            return True
        bare = CONTROL_LITERAL.sub("", text)
        return not (self._special_pattern.sub("", bare) if self._special_pattern else bare).strip()

    def last_token(self, text: str) -> str | None:
        """Return the last stop literal, special token or control literal of a text."""
        patterns = (self._stop_pattern, self._special_pattern, CONTROL_LITERAL)
        matches = [match for pattern in patterns if pattern is not None for match in pattern.finditer(text)]
        return max(matches, key=lambda match: match.end()).group() if matches else None


def _any_of(literals: Sequence[str]) -> re.Pattern[str] | None:
    longest_first = sorted({literal for literal in literals if literal}, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first))) if longest_first else None
