"""How answers are made."""

from __future__ import annotations

from dataclasses import dataclass

from finetooth.errors import ConfigError
from finetooth.messages import say

MAX_NEW_TOKENS = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How answers are made; greedy unless a temperature is given, so that they can be made again."""

    temperature: float = 0.0
    """0 takes the likeliest token each time."""
    top_p: float | None = None
    """Tokens are drawn from the likeliest that reach this probability together."""
    seed: int | None = None
    """Of the first answer; each further one takes the next number. `None` draws one, which `/why` tells."""
    max_new_tokens: int = MAX_NEW_TOKENS
    """Where an answer is cut; earlier where the context ends."""

    def __post_init__(self) -> None:
        if self.temperature == 0 and (self.top_p is not None or self.seed is not None):
            name = "--top-p" if self.top_p is not None else "--seed"
            raise ConfigError(say("chatting.no_effect", name=name), where=name, help="--temperature 0.7")

    @property
    def is_greedy(self) -> bool:
        """Whether the same prompt always has the same answer."""
        return self.temperature == 0
