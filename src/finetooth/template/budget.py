"""What one rendering may cost, in seconds and in characters, and what it has cost so far.

Whatever can multiply what it is given pays for its result before it makes it (`charge`). A list or a mapping that a
template builds is weighed with all that it holds, however often it holds the same (`weigh`): sixty lists, each with the
one before in it twice, take no memory until they are printed, compared or hashed, and the life of the universe then.
"""

from __future__ import annotations

import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from finetooth.messages import say

MAX_CHARACTERS = 1 << 26
"""How long one text may be, the rendered one or any on the way to it; 64 million characters."""

MAX_TOTAL = 1 << 28
"""How long all texts together may be that are made on the way, so that no heap of them fills the memory."""

MAX_BITS = 1 << 14
"""How long a whole number may be. Division of numbers of a million digits takes hours, in one instruction."""

MAX_DEPTH = 200
"""How deep lists and mappings may be nested; C code that walks them has no other guard in every place."""

ITEM = 64
"""What an item of a list costs, in characters: a pointer, and a small object that it points to."""

_TICKS_BETWEEN_LOOKS = 8
_WORTH_A_LOOK = 4096
"""What costs as much takes long enough for the clock to be read."""

CONTAINERS: tuple[type[Any], ...] = (list, tuple, dict, type({}.keys()), type({}.values()), type({}.items()))


class LimitReachedError(Exception):
    """A template went past a limit; turned into a `TemplateError` where it leaves this package."""


@dataclass(slots=True)
class Budget:
    """What one rendering has used, and what it has marked."""

    seconds: float
    deadline: float
    ticks: int = 0
    spent: int = 0
    """Characters of all texts made on the way, with `ITEM` for each item of a list."""
    length: int = 0
    """Characters yielded so far."""
    generation: list[tuple[int, int]] = field(default_factory=list)
    """Ranges of the `{% generation %}` blocks, in characters of the text."""


current: ContextVar[Budget] = ContextVar("finetooth_template_budget")
"""The budget of the rendering that runs in this thread. There is none while a template is compiled, so that whatever
pays is left for the rendering, where jinja2 would work it out beforehand."""


def charge(amount: int) -> None:
    """Pay for a text or a list, before it is made where it is longer than what it is made from.

    Raises:
        LimitReachedError: It is too long, or with all others too much, or the time is up.
    """
    budget = current.get()
    budget.spent += amount
    if amount > MAX_CHARACTERS:
        raise LimitReachedError(say("template.limit_output", limit=f"{MAX_CHARACTERS:,}"))
    if budget.spent > MAX_TOTAL:
        raise LimitReachedError(say("template.limit_total", limit=f"{MAX_TOTAL:,}"))
    if amount > _WORTH_A_LOOK and time.monotonic() > budget.deadline:
        _time_is_up(budget)


def look() -> None:
    """Stop the rendering where its time is up."""
    budget = current.get()
    if time.monotonic() > budget.deadline:
        _time_is_up(budget)


def tick() -> None:
    """Count one step of a loop, and look at the clock now and then."""
    budget = current.get()
    budget.ticks += 1
    if budget.ticks % _TICKS_BETWEEN_LOOKS == 0 and time.monotonic() > budget.deadline:
        _time_is_up(budget)


def _time_is_up(budget: Budget) -> None:
    raise LimitReachedError(say("template.limit_time", seconds=f"{budget.seconds:g}"))


def check_bits(bits: int) -> None:
    """Refuse a whole number of more bits than `MAX_BITS`."""
    if bits > MAX_BITS:
        raise LimitReachedError(say("template.limit_number", limit=f"{MAX_BITS:,}"))


def weigh(value: Any) -> int:
    """Return how long a value is with all that it holds, in characters.

    Raises:
        LimitReachedError: It is longer than any text may be, or nested too deep.
    """
    weight = 0
    level = [value]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for item in level:
            if isinstance(item, (str, bytes)):
                weight += len(item)
            elif isinstance(item, CONTAINERS):
                weight += ITEM * len(item)
                below.extend(item)
                if isinstance(item, dict):
                    below.extend(item.values())
            if weight > MAX_CHARACTERS:
                raise LimitReachedError(say("template.limit_output", limit=f"{MAX_CHARACTERS:,}"))
        if not below:
            break
        level = below
    else:
        raise LimitReachedError(say("template.too_deep"))
    if weight > _WORTH_A_LOOK:
        look()
    return weight


def weighed(value: Any) -> Any:
    """Return a list, tuple or mapping that a template made, once it is paid and weighed."""
    if isinstance(value, CONTAINERS):
        charge(ITEM * len(value))
        weigh(value)
    return value
