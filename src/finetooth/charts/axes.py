"""Where the ticks of an axis stand: round numbers."""

from __future__ import annotations

import math


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return about so many round numbers from `low` to `high`: multiples of 1, 2 or 5 times a power of ten."""
    if not high > low:
        return [low]
    rough = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Return the numbers 1, 2 and 5 times a power of ten between two; the powers alone where those are many.

    Args:
        low: The logarithm of the least.
        high: That of the greatest.
    """
    powers = range(math.floor(low), math.ceil(high) + 1)
    factors = (1, 2, 5) if high - low < 2 else (1, 3) if high - low < 4 else (1,)
    values = [factor * 10.0**power for power in powers for factor in factors]
    return [value for value in values if low - 1e-9 <= math.log10(value) <= high + 1e-9]


def tick_label(value: float, step: float) -> str:
    """Return a tick in as many digits as its step asks for."""
    digits = max(0, -math.floor(math.log10(step) + 1e-9)) if step > 0 else 0
    return f"{value:,.{min(digits, 8)}f}"


def tick_labels(values: list[float]) -> list[str]:
    """Return the labels of the ticks of an axis."""
    step = values[1] - values[0] if len(values) > 1 else abs(values[0]) or 1.0
    return [tick_label(value, step) for value in values]
