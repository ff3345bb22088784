"""`Turn`: a question and its answer, with everything that tells how it came about."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from finetooth.chatting.prompting import TurnPrompt
from finetooth.probing.judging import Answer

End = Literal["stop", "limit", "context", "interrupted"]
"""Why generation ended: a stop id, the limit of new tokens, the end of the context, or the user."""

Fault = Literal["leaked", "passed-over", "repeats", "runs-on"]
"""What is wrong with an end, the worst that can be told first."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One question and its answer."""

    question: str
    prompt: TurnPrompt
    answer: Answer
    """The answer, judged as a probe judges it."""
    text: str
    """The answer as it stands in the history, and in the prompts that follow."""
    end: End
    max_tokens: int
    """How many tokens the answer was allowed: the limit, or what the context had left."""
    stop_file: str | None
    """The file that makes its last token a stop id, where one ended it."""
    num_dropped: int
    """Earlier turns that were left out of the prompt, since the context is too short for them."""
    seed: int | None
    """Of the random numbers; `None` for a greedy answer."""

    @property
    def ids(self) -> tuple[int, ...]:
        """The ids of the answer, a stop id at their end among them."""
        return tuple(self.answer.ids)

    @cached_property
    def fault(self) -> Fault | None:
        """What is wrong with the end, or nothing that can be told."""
        if self.answer.leaked is not None:
            return "leaked"
        if self.answer.passed_over is not None:
            return "passed-over"
        if self.end not in ("limit", "context"):
            return None
        return "repeats" if self.answer.repeats else "runs-on"

    @property
    def is_sound(self) -> bool:
        """Whether it ended as a model should learn to end."""
        return self.end == "stop" and self.fault is None
