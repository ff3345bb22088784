"""The filters of jinja2, each of which pays for what it makes.

Those that C code runs through in proportion to their text pay for its length. The others go through what they are
given item by item, in Python, and pay as if each character were an item: no loop of theirs has a tick.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import GeneratorType
from typing import Any

from jinja2 import filters, pass_environment, pass_eval_context
from jinja2.environment import Environment
from jinja2.filters import FILTERS
from jinja2.nodes import EvalContext
from markupsafe import soft_str

from finetooth.messages import say
from finetooth.template import operations
from finetooth.template.budget import ITEM, LimitReachedError, charge, check_bits, tick, weigh, weighed

_MOST_SQUARED = 1 << 14
"""How long a text may be for a filter that takes the square of its length, or little less."""

_FREE = frozenset({"abs", "attr", "count", "d", "default", "filesizeformat", "first", "last", "length", "random"})
_IN_PROPORTION = frozenset(
    {"capitalize", "e", "escape", "forceescape", "lower", "reverse", "safe", "string", "truncate", "upper"}
)
_IN_THE_SQUARE = frozenset({"pprint", "striptags", "urlize", "wordwrap", "xmlattr"})
_SORTING = frozenset({"dictsort", "groupby", "max", "min", "sort", "unique"})


def paying_filters() -> dict[str, Callable[..., Any]]:
    """Return all filters that templates have, by name."""
    own: dict[str, Callable[..., Any]] = {
        "center": center,
        "float": to_float,
        "format": format_percent,
        "indent": indent,
        "int": to_int,
        "join": join,
        "replace": replace,
        "round": round_number,
        "sum": add_up,
        "tojson": to_json,
        "trim": trim,
    }
    return {name: own.get(name) or _paying(name, function) for name, function in FILTERS.items()}


def _paying(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    if name in _FREE:
        return function
    return _like(function, _in_proportion(function) if name in _IN_PROPORTION else _item_by_item(name, function))


def _like(function: Callable[..., Any], paying: Callable[..., Any]) -> Callable[..., Any]:
    # jinja2 reads from the function itself whether it wants the environment or the context passed.
    for attribute in ("jinja_pass_arg", "__name__", "__doc__"):
        if hasattr(function, attribute):
            setattr(paying, attribute, getattr(function, attribute))
    return paying


def _in_proportion(function: Callable[..., Any]) -> Callable[..., Any]:
    def paying(*args: Any, **kwargs: Any) -> Any:
        for value in args[:1]:
            if isinstance(value, str) and not value.isascii():
                # `ΐ` is three characters long in capitals.
                charge(3 * len(value))
        result = function(*args, **kwargs)
        charge(len(result) if isinstance(result, str) else ITEM)
        return result

    return paying


def _item_by_item(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    num_passed = int(hasattr(function, "jinja_pass_arg"))

    def paying(*args: Any, **kwargs: Any) -> Any:
        passed, given = args[:num_passed], list(args[num_passed:])
        if given and isinstance(given[0], Iterator):
            given[0] = list(given[0])
        values = (*given, *kwargs.values())
        weights = [weigh(value) for value in values]
        charge(ITEM * (sum(map(_num_items, values)) + _num_filled(name, given, kwargs)))
        # The path of an attribute is followed, and a test made, for every item.
        charge(_num_items(values[0]) * sum(weights[1:]))
        if name in _SORTING and given:
            # Sorting compares by copies in lower case.
            charge(weights[0])
        elif name in _IN_THE_SQUARE and sum(weights) > _MOST_SQUARED:
            raise LimitReachedError(say("template.limit_output", limit=f"{_MOST_SQUARED:,}"))
        result = function(*passed, *given, **kwargs)
        if isinstance(result, GeneratorType):
            # A chain of a million generators would end the process when it is freed: what is lazy is worked out here.
            items = list(result)
            charge(ITEM * len(items))
            return iter(items)
        return weighed(result)

    return paying


def _num_items(value: Any) -> int:
    return len(value) if hasattr(value, "__len__") else 0


def _num_filled(name: str, given: Sequence[Any], kwargs: Mapping[str, Any]) -> int:
    """Return how many items `batch` and `slice` make up, to fill their rows."""
    if name not in ("batch", "slice"):
        return 0
    size, fill, *_ = (*given[1:], kwargs.get("linecount", kwargs.get("slices", 0)), kwargs.get("fill_with"), None)
    return (1 + weigh(fill)) * max(size, 0) if isinstance(size, int) else 0


def trim(value: Any, chars: str | None = None) -> str:
    """Return the text without the white space, or the characters, around it."""
    text = soft_str(value)
    operations.pay_for_strip(text, chars)
    return text.strip(chars)


def center(value: Any, width: int = 80) -> str:
    """Return the text in the middle of a field."""
    text = soft_str(value)
    charge(max(len(text), width))
    return text.center(width)


def indent(s: Any, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    """Return the text with its lines indented."""
    if isinstance(s, str):
        size = len(width) if isinstance(width, str) else width
        charge(len(s) + operations.num_lines(s) * (ITEM + max(size, 0)))
    return filters.do_indent(s, width, first, blank)


@pass_eval_context
def replace(eval_ctx: EvalContext, s: Any, old: Any, new: Any, count: int | None = None) -> str:
    """Return the text with one text replaced by another."""
    operations.pay_for_replace(str(s), (str(old), str(new)))
    return filters.do_replace(eval_ctx, s, old, new, count)


@pass_eval_context
def join(eval_ctx: EvalContext, value: Any, d: Any = "", attribute: str | int | None = None) -> str:
    """Return the texts of a list as one."""
    if isinstance(value, str):
        charge(ITEM * len(value))
    items = list(value)
    if attribute is not None:
        charge(ITEM * len(items) * len(str(attribute)))
        items = [filters.make_attrgetter(eval_ctx.environment, attribute)(item) for item in items]
    charge(sum(map(weigh, items)) + len(items) * (ITEM + len(str(d))))
    return filters.sync_do_join(eval_ctx, items, d)


def format_percent(value: Any, *args: Any, **kwargs: Any) -> str:
    """Return the text with values put in, as `%` does."""
    text = soft_str(value)
    operations.pay_for_percent(text, kwargs or args)
    return filters.do_format(text, *args, **kwargs)


def to_int(value: Any, default: Any = 0, base: int = 10) -> Any:
    """Return the whole number that a text spells."""
    check_bits(len(value) if isinstance(value, str) else 0)
    return filters.do_int(value, default, base)


def to_float(value: Any, default: Any = 0.0) -> Any:
    """Return the number that a text spells."""
    check_bits(len(value) if isinstance(value, str) else 0)
    return filters.do_float(value, default)


def round_number(value: Any, precision: int = 0, method: Any = "common") -> Any:
    """Return a number rounded."""
    if isinstance(precision, int):
        # Rounding up or down works with ten to the power of this.
        check_bits(4 * abs(precision))
    return filters.do_round(value, precision, method)


@pass_environment
def add_up(environment: Environment, iterable: Any, attribute: str | int | None = None, start: Any = 0) -> Any:
    """Return the sum of a list; each step pays, since a sum of lists takes the square of their length."""
    if isinstance(iterable, str) or isinstance(start, (str, bytes)):
        return sum(iterable, start)
    getter = filters.make_attrgetter(environment, attribute) if attribute is not None else None
    cost = ITEM * len(str(attribute))
    total = start
    for item in iterable:
        charge(cost)
        total = operations.add(total, item if getter is None else getter(item))
    return total


def to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Return a value as JSON, as transformers does; jinja2's own filter escapes for HTML."""
    if indent is None and separators is None:
        text = json.dumps(value, ensure_ascii=ensure_ascii, sort_keys=sort_keys)
        charge(len(text))
        return text
    encoder = json.JSONEncoder(ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
    if separators is not None:
        # Without an indentation all comes in one piece; there are fewer separators than items.
        charge((weigh(value) // ITEM + 1) * sum(map(len, separators)))
    pieces: list[str] = []
    for piece in encoder.iterencode(value):
        tick()
        charge(len(piece))
        pieces.append(piece)
    return "".join(pieces)


def own_operators() -> Mapping[str, Callable[..., Any]]:
    """Return the operators that templates are compiled to, by names that no template can write."""
    return {
        "+": operations.add,
        "*": operations.multiply,
        "%": operations.modulo,
        "**": operations.power,
        "~": operations.concatenate,
        "[:]": operations.cut,
        "[,]": weighed,
        "{{}}": operations.shown,
    }
