"""The operators and the methods of text, as templates have them: what can multiply a text pays for it first."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from types import BuiltinMethodType, MethodType
from typing import Any

from jinja2 import pass_eval_context
from jinja2.exceptions import SecurityError
from jinja2.nodes import EvalContext
from jinja2.runtime import markup_join
from jinja2.sandbox import SandboxedEnvironment, SandboxedEscapeFormatter, SandboxedFormatter
from markupsafe import Markup

from finetooth.messages import say
from finetooth.template.budget import CONTAINERS, ITEM, charge, check_bits, tick, weigh, weighed

_ENCODINGS = frozenset({"utf-8", "utf8", "ascii", "latin-1", "latin1", "iso-8859-1"})
"""The encodings that take time in proportion to the text; punycode takes its square."""

_LINE_ENDS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
"""What str.splitlines splits at (Python's documentation of it)."""

_NUMBER = re.compile("[0-9]+")


def add(*parts: Any) -> Any:
    """Return `a + b + ...`."""
    length = 0
    for part in parts:
        if type(part) is not str:
            return _add_one_by_one(parts)
        length += len(part)
    charge(length)
    return "".join(parts)


def _add_one_by_one(parts: Sequence[Any]) -> Any:
    result = parts[0]
    for part in parts[1:]:
        # Each is within the limits, so the sum may be made before it is looked at.
        result = result + part
        if isinstance(result, (str, bytes)):
            charge(len(result))
        else:
            weighed(result)
    return result


def multiply(left: Any, right: Any) -> Any:
    """Return `left * right`."""
    for value, times in ((left, right), (right, left)):
        if isinstance(value, (str, bytes)) and isinstance(times, int):
            charge(len(value) * max(times, 0))
        elif isinstance(value, (list, tuple)) and isinstance(times, int):
            charge((weigh(value) + ITEM) * max(times, 0))
    if isinstance(left, int) and isinstance(right, int):
        check_bits(left.bit_length() + right.bit_length())
    return left * right


def power(left: Any, right: Any) -> Any:
    """Return `left ** right`."""
    if isinstance(left, int) and isinstance(right, int):
        check_bits(left.bit_length() * max(right, 0))
    return left**right


def modulo(left: Any, right: Any) -> Any:
    """Return `left % right`: a remainder, or values put into a text."""
    if isinstance(left, (str, bytes)):
        pay_for_percent(left if isinstance(left, str) else left.decode("latin-1"), right)
    return left % right


def pay_for_percent(pattern: str, values: Any) -> None:
    """Pay for what `pattern % values` gives."""
    given = values if isinstance(values, tuple) else (values,)
    # Names may be used again and again; what stands in a tuple is used once, a `*` takes its width from it.
    times = pattern.count("%") if isinstance(values, Mapping) else 1
    widths = sum(abs(value) for value in given if isinstance(value, int)) if "*" in pattern else 0
    charge(len(pattern) + _numbers(pattern) + widths + times * sum(map(weigh, given)))


def _numbers(pattern: str) -> int:
    """Return the sum of the numbers in a pattern, which are widths and precisions."""
    total = 0
    for match in _NUMBER.finditer(pattern):
        # Twenty digits are past any limit, and int() of a million digits takes long.
        total += int(match.group()[:20])
    return total


@pass_eval_context
def concatenate(eval_ctx: EvalContext, *parts: Any) -> str:
    """Return `a ~ b ~ ...`."""
    if eval_ctx.autoescape:
        charge(sum(map(weigh, parts)))
        return markup_join(parts)
    texts = [str(part) for part in parts]
    charge(sum(map(len, texts)))
    return "".join(texts)


def concatenate_pieces(pieces: Any) -> str:
    """Return the text of a macro, a block or a `{% set %}` with a body."""
    texts = list(pieces)
    charge(sum(map(len, texts)))
    return "".join(texts)


def shown(value: Any) -> Any:
    """Return what is printed into a text on the way; a list is printed whole before anything counts it."""
    if isinstance(value, CONTAINERS):
        charge(weigh(value))
    return value


def cut(value: Any) -> Any:
    """Return a slice, once it is paid."""
    if isinstance(value, (str, bytes)):
        charge(len(value))
    elif isinstance(value, (list, tuple)):
        charge(8 * len(value))
    return value


def is_safe(owner: Any, attribute: str) -> bool:
    """Return whether templates may reach an attribute, where jinja2's sandbox does not forbid it."""
    if isinstance(owner, bytes):
        return attribute == "decode"
    return not (isinstance(owner, int) and attribute in ("to_bytes", "from_bytes")) and not (
        isinstance(owner, Markup) and attribute in ("escape", "unescape", "striptags")
    )


def pay_for_method(owner: Any, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
    """Pay for a call of a method of a text.

    Returns:
        The arguments to call it with; what can be read only once is read.
    """
    payment = _PAYMENTS.get(method)
    if payment is not None:
        changed = payment(owner, args, kwargs)
        return args if changed is None else changed
    if len(owner) > ITEM:
        charge(len(owner))
    return args


def _pay_for_width(text: str, args: Sequence[Any], _: Any) -> None:
    charge(max(len(text), args[0] if args and isinstance(args[0], int) else 0))


def _pay_for_tabs(text: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    size = args[0] if args else kwargs.get("tabsize", 8)
    charge(len(text) + text.count("\t") * max(size if isinstance(size, int) else 0, 0))


def pay_for_replace(text: str, args: Sequence[Any], _: Any = None) -> None:
    """Pay for `text.replace(*args)`."""
    if len(args) >= 2 and isinstance(args[0], str) and isinstance(args[1], str):
        charge(len(text) + (text.count(args[0]) if args[0] else len(text) + 1) * len(args[1]))


def _pay_for_join(text: str, args: Sequence[Any], _: Any) -> tuple[Any, ...] | None:
    if len(args) != 1:
        return None
    if isinstance(args[0], str):
        charge(ITEM * len(args[0]))
    items = list(args[0])
    charge(len(text) * len(items) + sum(len(item) for item in items if isinstance(item, str)))
    return (items,)


def _pay_for_split(text: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    separator = args[0] if args else kwargs.get("sep")
    at_most = args[1] if len(args) > 1 else kwargs.get("maxsplit", -1)
    parts = text.count(separator) if isinstance(separator, str) and separator else len(text) // 2
    if isinstance(at_most, int) and at_most >= 0:
        parts = min(parts, at_most)
    charge(len(text) + ITEM * (parts + 1))


def num_lines(text: str) -> int:
    """Return how many lines `text.splitlines()` gives, or a few more."""
    return 1 + sum(text.count(end) for end in _LINE_ENDS)


def _pay_for_lines(text: str, _args: Any, _kwargs: Any) -> None:
    charge(len(text) + ITEM * num_lines(text))


def _pay_for_strip(text: str, args: Sequence[Any], _: Any) -> None:
    pay_for_strip(text, args[0] if args else None)


def pay_for_strip(text: str, characters: Any) -> None:
    """Pay for `text.strip(characters)`, which looks for each character of the text among those."""
    charge(len(text) * (len(characters) if isinstance(characters, str) else 1))


def _pay_for_case(text: str, _args: Any, _kwargs: Any) -> None:
    # `ΐ` is three characters long in capitals.
    charge(3 * len(text))


def _pay_for_encoding(text: str | bytes, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    encoding = args[0] if args else kwargs.get("encoding", "utf-8")
    if str(encoding).lower() not in _ENCODINGS:
        raise SecurityError(say("template.encoding_forbidden", encoding=encoding))
    charge(4 * len(text))


def _pay_for_translate(text: str, args: Sequence[Any], _: Any) -> None:
    table = args[0] if args else ()
    values = table.values() if isinstance(table, Mapping) else table if isinstance(table, (str, list, tuple)) else ()
    charge(len(text) * max((len(value) for value in values if isinstance(value, str)), default=1))


def _pay_for_table(_text: str, args: Sequence[Any], _: Any) -> None:
    charge(ITEM * sum(len(value) for value in args if isinstance(value, (str, dict))))


_PAYMENTS: Mapping[str, Callable[[Any, Sequence[Any], Mapping[str, Any]], tuple[Any, ...] | None]] = {
    **dict.fromkeys(("center", "ljust", "rjust", "zfill"), _pay_for_width),
    **dict.fromkeys(("split", "rsplit"), _pay_for_split),
    **dict.fromkeys(("strip", "lstrip", "rstrip"), _pay_for_strip),
    **dict.fromkeys(("upper", "lower", "title", "capitalize", "casefold", "swapcase"), _pay_for_case),
    **dict.fromkeys(("encode", "decode"), _pay_for_encoding),
    "expandtabs": _pay_for_tabs,
    "replace": pay_for_replace,
    "join": _pay_for_join,
    "splitlines": _pay_for_lines,
    "translate": _pay_for_translate,
    "maketrans": _pay_for_table,
}


class _PayingFormatter(SandboxedFormatter):
    """jinja2's `str.format`, which looks at attributes as the sandbox does; here each field is paid as well."""

    def format_field(self, value: Any, format_spec: str) -> str:
        # A width may come from another field: `'{:{}}'.format(1, 300000000)`.
        tick()
        charge(ITEM + _numbers(format_spec))
        text: str = super().format_field(value, format_spec)
        charge(len(text))
        return text

    def convert_field(self, value: Any, conversion: Any) -> Any:
        if isinstance(value, CONTAINERS):
            charge(weigh(value))
        return super().convert_field(value, conversion)


class _PayingEscapeFormatter(_PayingFormatter, SandboxedEscapeFormatter):
    """The same for text that is marked as safe."""


def wrap_format(environment: SandboxedEnvironment, value: Any) -> Callable[..., str] | None:
    """Return `str.format` or `str.format_map` of a text as templates may call it; `None` where it is another method."""
    if not isinstance(value, (BuiltinMethodType, MethodType)) or value.__name__ not in ("format", "format_map"):
        return None
    text = value.__self__
    if not isinstance(text, str):
        return None
    formatter = (
        _PayingEscapeFormatter(environment, escape=text.escape)
        if isinstance(text, Markup)
        else _PayingFormatter(environment)
    )
    by_map = value.__name__ == "format_map"

    def formatted(*args: Any, **kwargs: Any) -> str:
        charge(len(text))
        if by_map:
            (values,) = args
            return type(text)(formatter.vformat(text, (), values))
        return type(text)(formatter.vformat(text, args, kwargs))

    return formatted
