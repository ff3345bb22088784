"""The jinja environment in which chat templates run: what transformers offers them, and limits that it does not set.

A template comes from wherever a model came from, so it is not trusted. jinja2's immutable sandbox keeps it from
Python's internals; this module also bounds what it can cost. Time is bounded by a tick in every loop and macro (a
signal timer would work in the main thread alone), memory by checks at every operation that can multiply a text
(`'x' * 300000000` allocates before anything is printed).

The filters, globals and block settings are those of transformers (`utils/chat_template_utils.py`, read at 5.23), so
that a text rendered here is the text rendered there; a differential test holds it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NoReturn

import jinja2
import jinja2.ext
from jinja2 import nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from finetooth.errors import TemplateError
from finetooth.messages import say

MAX_SECONDS = 10.0
"""How long one rendering may take; a usual one takes 20 microseconds."""

MAX_CHARACTERS = 1 << 26
"""How long one rendered text, or any text on the way to it, may be; 64 million characters."""

_TICKS_BETWEEN_CLOCKS = 64
_SIZE_BY_NUMBER = frozenset({"center", "ljust", "rjust", "zfill", "expandtabs"})
"""Methods and filters of text whose result is as long as a number says."""


class LimitReachedError(Exception):
    """A template went past a limit; turned into a `TemplateError` where it leaves this package."""


@dataclass(slots=True)
class Budget:
    """What one rendering has used, and what it has marked."""

    deadline: float
    ticks: int = 0
    length: int = 0
    """Characters yielded so far."""
    generation: list[tuple[int, int]] = field(default_factory=list)
    """Ranges of the `{% generation %}` blocks, in characters of the text."""


_budget: ContextVar[Budget] = ContextVar("finetooth_template_budget")


def _check_length(length: int) -> None:
    if length > MAX_CHARACTERS:
        raise LimitReachedError(say("template.limit_output", limit=f"{MAX_CHARACTERS:,}"))


class GenerationBlock(jinja2.ext.Extension):
    """Note the range of each `{% generation %}` block, which marks what the model writes."""

    tags = {"generation"}  # noqa: RUF012 - the attribute is jinja's

    def parse(self, parser: Any) -> nodes.Node:
        """Turn the block into a call that knows how long its body is."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        call = self.call_method("note")
        return nodes.CallBlock(call, [], [], body).set_lineno(line)

    def note(self, caller: Callable[[], str]) -> str:
        """Render the body, and remember where it stands."""
        text = caller()
        budget = _budget.get()
        # The start is what was yielded before the block, as transformers counts it.
        budget.generation.append((budget.length, budget.length + len(text)))
        return text


class TemplateDict:
    """Offer `dict(...)` to templates without the class, whose attributes would lead out of the sandbox."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        """Return `dict(...)`."""
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        """Return `dict.fromkeys(...)`."""
        return dict.fromkeys(*args, **kwargs)


class _LimitingTransformer(jinja2.visitor.NodeTransformer):
    """Put a tick into every loop and macro, and a check on every `~`."""

    def _with_tick(self, node: Any) -> Any:
        self.generic_visit(node)
        # An attribute, not a call: the sandbox looks long at every call, and this one is in every loop.
        node.body.insert(0, nodes.ExprStmt(nodes.EnvironmentAttribute("tick")).set_lineno(node.lineno))
        return node

    visit_For = visit_Macro = visit_CallBlock = _with_tick

    def visit_Concat(self, node: Any) -> Any:
        self.generic_visit(node)
        return nodes.Call(nodes.EnvironmentAttribute("concatenate"), list(node.nodes), [], None, None).set_lineno(
            node.lineno
        )


class LimitedEnvironment(ImmutableSandboxedEnvironment):
    """jinja2's immutable sandbox, with limits on time and on the size of every text."""

    intercepted_binops = frozenset({"*", "+", "%", "**"})

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[GenerationBlock, jinja2.ext.loopcontrols])
        self.filters["tojson"] = _tojson
        for name in ("center", "indent", "format", "replace", "join", "batch", "slice", "wordwrap", "urlize"):
            self.filters[name] = _bounded_filter(self.filters[name])
        self.globals.pop("lipsum", None)
        self.globals["raise_exception"] = _raise_exception
        self.globals["strftime_now"] = _strftime_now
        self.globals["dict"] = TemplateDict()

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree: nodes.Template = _LimitingTransformer().visit(super()._parse(source, name, filename))
        return tree

    @property
    def tick(self) -> None:
        """Count one step of a loop, and stop the rendering once its time is up."""
        budget = _budget.get()
        budget.ticks += 1
        if budget.ticks % _TICKS_BETWEEN_CLOCKS == 0 and time.monotonic() > budget.deadline:
            raise LimitReachedError(say("template.limit_time", seconds=f"{MAX_SECONDS:g}"))

    def concatenate(self, *parts: Any) -> str:
        """Return what `~` gives, within the limit."""
        texts = [str(part) for part in parts]
        _check_length(sum(map(len, texts)))
        return "".join(texts)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Return what an operator gives, within the limit."""
        if operator == "+":
            # Both are within the limit, so the sum may be made before it is looked at.
            result = left + right
            if type(result) is not int and type(result) is not float:
                _check_length(len(result))
            return result
        if operator == "*":
            for sequence, times in ((left, right), (right, left)):
                if isinstance(sequence, (str, list, tuple)) and isinstance(times, int):
                    _check_length(len(sequence) * max(times, 0))
        elif operator == "%" and isinstance(left, str):
            _check_format(left, right)
        elif operator == "**" and (abs(left) > 1 << 64 or abs(right) > 64):
            raise LimitReachedError(say("template.limit_output", limit=f"{MAX_CHARACTERS:,}"))
        return super().call_binop(context, operator, left, right)

    def call(self, context: Any, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call something, within the limits where it is a method of a text."""
        owner = getattr(obj, "__self__", None)
        if type(owner) is str:
            _check_method(owner, obj.__name__, args)
        return super().call(context, obj, *args, **kwargs)


def _check_method(text: str, method: str, args: tuple[Any, ...]) -> None:
    if method in _SIZE_BY_NUMBER and args and isinstance(args[0], int):
        _check_length(args[0] * (text.count("\t") or 1 if method == "expandtabs" else 1))
    elif method == "replace" and len(args) >= 2 and isinstance(args[1], str):
        _check_length(len(text) + (text.count(args[0]) if args[0] else len(text) + 1) * len(args[1]))
    elif method == "join" and args and isinstance(args[0], (list, tuple)):
        _check_length(sum(len(part) + len(text) for part in args[0] if isinstance(part, str)))
    elif method in ("format", "format_map"):
        _check_format(text, None)


def _check_format(pattern: str, values: Any) -> None:
    # Only a width or a precision makes a formatted text much longer than its parts.
    digits = 0
    for character in pattern:
        digits = digits * 10 + int(character) if character.isdecimal() else 0
        _check_length(digits)
    if "*" in pattern and isinstance(values, tuple):
        for value in values:
            if isinstance(value, int):
                _check_length(value)


def _bounded_filter(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a filter that can make a text much longer than it was."""

    def bounded(*args: Any, **kwargs: Any) -> Any:
        passed = [*args, *kwargs.values()]
        texts = [value for value in passed if isinstance(value, str)]
        for value in passed:
            if isinstance(value, int) and not isinstance(value, bool):
                # A number is a width, of a line or of an indentation of each line.
                _check_length(value * max((text.count("\n") + 1 for text in texts), default=1))
        if function.__name__ == "do_replace" and len(texts) >= 3:
            text, old, new = texts[-3:]
            _check_length(len(text) + (text.count(old) if old else len(text) + 1) * len(new))
        if function.__name__ == "do_format" and texts:
            _check_format(texts[0], tuple(passed))
        result = function(*args, **kwargs)
        if isinstance(result, str):
            _check_length(len(result))
        return result

    for name in ("jinja_pass_arg", "__name__", "__doc__"):
        # jinja reads from the function itself whether it wants the environment or the context passed.
        if hasattr(function, name):
            setattr(bounded, name, getattr(function, name))
    return bounded


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # jinja's own filter escapes for HTML; transformers replaces it by this one.
    if indent is not None:
        _check_length(int(indent) * 1024)
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.exceptions.TemplateError(message)


def _strftime_now(format: str) -> str:
    return datetime.now().strftime(format)


_environment = LimitedEnvironment()
_GLOBALS = dict(_environment.globals)


def compile_source(source: str, *, name: str) -> jinja2.Template:
    """Compile a chat template.

    Raises:
        TemplateError: The template is not valid jinja; the error names the line.
    """
    try:
        return _environment.from_string(source)
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(
            say("template.syntax", message=error.message or ""),
            where=f"{name}:{error.lineno}",
            help=say("template.syntax_help"),
        ) from error
    except RecursionError as error:
        raise TemplateError(say("template.too_deep"), where=name) from error


def run(template: jinja2.Template, variables: Mapping[str, Any], *, name: str) -> tuple[str, list[tuple[int, int]]]:
    """Render a template, within the limits.

    Returns:
        The text, and the ranges of its `{% generation %}` blocks.

    Raises:
        TemplateError: The template raises, or goes past a limit.
    """
    budget = Budget(deadline=time.monotonic() + MAX_SECONDS)
    token = _budget.set(budget)
    try:
        pieces: list[str] = []
        try:
            # What Template.new_context does, without a pass over the chain of globals for every rendering.
            environment = template.environment
            context = environment.context_class(environment, {**_GLOBALS, **variables}, template.name, template.blocks)
            for piece in template.root_render_func(context):
                budget.length += len(piece)
                if budget.length > MAX_CHARACTERS:
                    _check_length(budget.length)
                pieces.append(piece)
        except jinja2.exceptions.SecurityError as error:
            raise TemplateError(say("template.unsafe", message=str(error)), where=name) from error
        except jinja2.exceptions.TemplateError as error:
            # Whose row it is is not known here; the caller adds the place.
            raise TemplateError(
                say("template.raised", name=name, message=error.message or ""), help=say("template.raised_help")
            ) from error
        except (LimitReachedError, OverflowError) as error:
            raise TemplateError(str(error), where=name, help=say("template.limit_help")) from error
        except (RecursionError, MemoryError) as error:
            raise TemplateError(say("template.too_deep"), where=name) from error
        except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError) as error:
            raise TemplateError(
                say("template.failed", name=name, kind=type(error).__name__, message=str(error)),
                help=say("template.raised_help"),
            ) from error
        return "".join(pieces), budget.generation
    finally:
        _budget.reset(token)
