"""Which values a sweep tries, and a configuration with them put in.

    t=0,0.25,0.5          a parameter of the whole merge
    t=0:1:0.25            from 0 to 1 in steps of 0.25, both ends included
    weight[0]=0.3,0.7     a parameter of one model, numbered from 0 as in `models`

Several axes make a grid. A candidate is a point that is named by itself: `t=0.5,density=0.2`.
"""

from __future__ import annotations

import copy
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from finetooth.errors import ConfigError
from finetooth.messages import say

Point = dict[str, float]
"""The value of each parameter that is swept, by its key."""

_KEY = re.compile(r"([a-z_0-9]+)(?:\[(\d+)\])?")
MAX_CANDIDATES = 1000
"""More is a slip of the pen: each candidate is a whole merge, and is asked and measured."""


def points_of(axes: Sequence[str], candidates: Sequence[str] = ()) -> list[Point]:
    """Return the points that texts name: the grid of the axes, then the candidates, each point once.

    Raises:
        ConfigError: A text is none of these, or there are too many points.
    """
    parsed = [_axis(text) for text in axes]
    twice = next((key for key, _ in parsed if [other for other, _ in parsed].count(key) > 1), None)
    if twice is not None:
        raise ConfigError(say("sweeping.twice", key=twice), where=f"--sweep {twice}", help=f"--sweep {twice}=0.2,0.5")
    if math.prod(len(values) for _, values in parsed) > MAX_CANDIDATES:
        raise ConfigError(say("sweeping.too_many", most=MAX_CANDIDATES), where="--sweep", help="--sweep t=0:1:0.25")
    found: list[Point] = []
    if parsed:
        names = [key for key, _ in parsed]
        found += [dict(zip(names, values, strict=True)) for values in itertools.product(*(v for _, v in parsed))]
    found += [_candidate(text) for text in candidates]
    return [point for number, point in enumerate(found) if point not in found[:number]]


def _axis(text: str) -> tuple[str, list[float]]:
    key, equals, values = text.partition("=")
    key = key.strip()
    if not equals or not _KEY.fullmatch(key):
        raise ConfigError(say("sweeping.bad_axis", text=text), where="--sweep", help="--sweep t=0,0.25,0.5,0.75,1")
    if ":" in values:
        return key, _range(text, values)
    return key, [_number(text, value) for value in values.split(",")]


def _range(text: str, values: str) -> list[float]:
    parts = [_number(text, part) for part in values.split(":")]
    if len(parts) != 3 or parts[2] <= 0 or parts[1] < parts[0]:
        raise ConfigError(say("sweeping.bad_range", text=values), where=f"--sweep {text}", help="--sweep t=0:1:0.25")
    first, last, step = parts
    count = math.floor((last - first) / step + 1e-9) + 1
    if count > MAX_CANDIDATES:
        raise ConfigError(say("sweeping.too_many", most=MAX_CANDIDATES), where=f"--sweep {text}")
    return [round(first + number * step, 12) for number in range(count)]


def _candidate(text: str) -> Point:
    point: Point = {}
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if not equals or not _KEY.fullmatch(key.strip()):
            raise ConfigError(
                say("sweeping.bad_candidate", text=text), where="--candidate", help="--candidate t=0.5,density=0.2"
            )
        point[key.strip()] = _number(text, value)
    return point


def _number(text: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ConfigError(
            say("sweeping.no_number", value=value.strip()), where=f"--sweep {text}", help="--sweep t=0,0.5,1"
        )
    return number


def with_values(document: Mapping[str, Any], point: Point) -> dict[str, Any]:
    """Return a configuration in which a point's values stand in the place of what it says of them.

    Args:
        document: One document of mergekit's YAML, as plain data.
        point: The values.

    Raises:
        ConfigError: The configuration has no such model.
    """
    made: dict[str, Any] = copy.deepcopy(dict(document))
    for key, value in point.items():
        match = _KEY.fullmatch(key)
        assert match is not None, "the keys of points are checked when they are read"
        name, number = match[1], match[2]
        if number is None:
            made.setdefault("parameters", {})[name] = value
            # A value of one model wins over that of the whole merge, and would hide it.
            for model in made.get("models") or []:
                if name in (model.get("parameters") or {}):
                    model["parameters"][name] = value
            continue
        models = made.get("models") or []
        if int(number) >= len(models):
            raise ConfigError(
                say("sweeping.no_such_model", key=key, count=len(models)),
                where=f"--sweep {key}",
                help=f"--sweep '{name}[0]=0.2,0.5'",
            )
        models[int(number)].setdefault("parameters", {})[name] = value
    return made


def name_of(point: Point) -> str:
    """Return a point as it is typed: `t=0.5,density=0.2`."""
    return ",".join(f"{key}={value:g}" for key, value in point.items())
