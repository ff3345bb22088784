"""The jinja environment in which chat templates run: what transformers offers them, and limits that it does not set.

A template comes from wherever a model came from, so it is not trusted. jinja2's immutable sandbox keeps it from
Python's internals; this package also bounds what it can cost. Time is bounded by a tick in every loop, macro and block
(a signal timer would work in the main thread alone), memory by payments at every operation that can multiply a text
(`'x' * 300000000` allocates before anything is printed). The ticks and payments are put into the template's tree before
it is compiled: as filters, since jinja2 calls those directly, where its sandbox looks long at every call.

The filters, globals and block settings are those of transformers (`utils/chat_template_utils.py`, read at 5.23), so
that a text rendered here is the text rendered there; a differential test holds it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NoReturn

import jinja2
import jinja2.ext
import jinja2.meta
from jinja2 import nodes
from jinja2.runtime import LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Cycler, Namespace
from jinja2.visitor import NodeTransformer

from finetooth.errors import TemplateError
from finetooth.messages import say
from finetooth.template import budget, operations
from finetooth.template.budget import Budget, LimitReachedError, charge
from finetooth.template.filters import own_operators, paying_filters

MAX_SECONDS = 10.0
"""How long one rendering may take; a usual one takes 20 microseconds."""

_MAX_SOURCE = 1 << 18
"""How long a template may be. Compiling takes the better part of a second for every hundred thousand characters."""

_MAX_DATE_FORMAT = 1000
"""How long the format of a date may be; C's strftime may take 256 times as much memory."""

_OBJECT = 1024
"""What an object costs that can hold others, in characters; a chain of millions of them fills the memory."""

_COMPARISONS_BETWEEN_LOOKS = 16
"""`'x' in text` takes milliseconds where the text is long, and a template can spell a great many of them in a row."""

_LONGEST_MESSAGE = 300
"""How much of a template's own message is shown."""


_DICT_ATTRIBUTES = frozenset(dir(dict))
_LOOP_ATTRIBUTES = frozenset(name for name in dir(LoopContext) if not name.startswith("_"))
_PLAIN_METHODS = frozenset(name for name in dir(str) if not name.startswith(("_", "format")))


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
        spent = budget.current.get()
        # The start is what was yielded before the block, as transformers counts it.
        spent.generation.append((spent.length, spent.length + len(text)))
        return text


class TemplateDict:
    """Offer `dict(...)` to templates without the class, whose attributes would lead out of the sandbox."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return `dict(...)`."""
        return budget.weighed(dict(*args, **kwargs))

    def fromkeys(self, *args: Any) -> Any:
        """Return `dict.fromkeys(...)`."""
        return budget.weighed(dict.fromkeys(*args))


class TemplateNamespace(Namespace):
    """Offer `namespace(...)`, whose names do not begin with an underscore, and which prints nothing that it holds."""

    # `self` may be the name of an attribute.
    def __init__(*args: Any, **kwargs: Any) -> None:
        charge(_OBJECT)
        self, *values = args
        attributes = dict(*values, **kwargs)
        for name in attributes:
            _check_name(name)
        Namespace.__init__(self, attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        _attributes_of(self)[name] = value

    def __repr__(self) -> str:
        return "<Namespace>"


def _attributes_of(namespace: TemplateNamespace) -> dict[str, Any]:
    # jinja2's own access goes through a function in Python for each.
    attributes: dict[str, Any] = object.__getattribute__(namespace, "_Namespace__attrs")
    return attributes


def _check_name(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise jinja2.exceptions.SecurityError(say("template.underscore", name=name))


class TemplateCycler(Cycler):
    """Offer `cycler(...)`."""

    def __init__(self, *items: Any) -> None:
        charge(_OBJECT)
        super().__init__(*items)


class _LimitingTransformer(NodeTransformer):
    """Put a tick into every loop, macro and block, and a payment on whatever makes texts and lists."""

    def __init__(self) -> None:
        self._comparisons = 0
        self._buffers = 0

    def _with_tick(self, node: Any) -> Any:
        # What a macro or a block prints is kept before it is counted; a recursive loop is a macro.
        is_buffer = not isinstance(node, nodes.For) or node.recursive
        self._buffers += is_buffer
        self.generic_visit(node)
        self._buffers -= is_buffer
        node.body.insert(0, nodes.ExprStmt(nodes.EnvironmentAttribute("tick")).set_lineno(node.lineno))
        if isinstance(node, nodes.For) and node.test is not None:
            # The items that the test refuses never reach the body.
            node.test = nodes.And(nodes.Not(nodes.EnvironmentAttribute("tick")), node.test)
        return node

    visit_For = visit_Macro = visit_CallBlock = visit_Block = _with_tick
    visit_FilterBlock = visit_AssignBlock = _with_tick

    def visit_Output(self, node: Any) -> Any:
        self.generic_visit(node)
        if self._buffers:
            node.nodes = [
                child if isinstance(child, nodes.TemplateData) else _filtered("{{}}", child) for child in node.nodes
            ]
        return node

    def visit_Add(self, node: Any) -> Any:
        operands = [node.right]
        while isinstance(node.left, nodes.Add):
            node = node.left
            operands.append(node.right)
        operands.append(node.left)
        return _filtered("+", *(self.visit(operand) for operand in reversed(operands)))

    def _operator(self, node: Any) -> Any:
        self.generic_visit(node)
        return _filtered(node.operator, node.left, node.right)

    visit_Mul = visit_Mod = visit_Pow = _operator

    def visit_Concat(self, node: Any) -> Any:
        self.generic_visit(node)
        return _filtered("~", *node.nodes)

    def visit_Getitem(self, node: Any) -> Any:
        self.generic_visit(node)
        return _filtered("[:]", node) if isinstance(node.arg, nodes.Slice) else node

    def _display(self, node: Any) -> Any:
        self.generic_visit(node)
        return node if _is_constant(node) or getattr(node, "ctx", "load") != "load" else _filtered("[,]", node)

    visit_List = visit_Tuple = visit_Dict = _display

    def visit_Name(self, node: Any) -> Any:
        # What a macro is given beyond its arguments comes as a tuple and a mapping that nobody spelled.
        return _filtered("[,]", node) if node.name in ("varargs", "kwargs") and node.ctx == "load" else node

    def _comparison(self, node: Any) -> Any:
        self.generic_visit(node)
        self._comparisons += 1
        if self._comparisons % _COMPARISONS_BETWEEN_LOOKS:
            return node
        return nodes.Or(nodes.EnvironmentAttribute("look"), node)

    visit_Compare = visit_Test = _comparison


def _filtered(name: str, value: nodes.Expr, *others: nodes.Expr) -> nodes.Node:
    return nodes.Filter(value, name, list(others), [], None, None).set_lineno(value.lineno)


def _is_constant(node: Any) -> bool:
    if isinstance(node, nodes.Pair):
        return _is_constant(node.key) and _is_constant(node.value)
    if isinstance(node, (nodes.List, nodes.Tuple, nodes.Dict)):
        return all(map(_is_constant, node.items))
    return isinstance(node, nodes.Const)


class LimitedEnvironment(ImmutableSandboxedEnvironment):
    """jinja2's immutable sandbox, with limits on time and on the size of every text."""

    concat = staticmethod(operations.concatenate_pieces)

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[GenerationBlock, jinja2.ext.loopcontrols])
        self.filters = {**paying_filters(), **own_operators()}
        self.globals.pop("lipsum", None)
        self.globals["raise_exception"] = _raise_exception
        self.globals["strftime_now"] = _strftime_now
        self.globals["dict"] = TemplateDict()
        self.globals["namespace"] = TemplateNamespace
        self.globals["cycler"] = TemplateCycler

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree: nodes.Template = _LimitingTransformer().visit(super()._parse(source, name, filename))
        tree.set_environment(self)
        return tree

    @property
    def tick(self) -> None:
        """Count one step of a loop, and stop the rendering once its time is up."""
        budget.tick()

    @property
    def look(self) -> None:
        """Stop the rendering where its time is up."""
        budget.look()

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Return `obj.attribute`, as jinja2's sandbox does, which asks five questions before each."""
        kind = type(obj)
        if kind is dict:
            if attribute not in _DICT_ATTRIBUTES:
                return obj[attribute] if attribute in obj else self.undefined(obj=obj, name=attribute)
        elif kind is TemplateNamespace:
            if attribute in (attributes := _attributes_of(obj)):
                return attributes[attribute]
        elif (kind is str and attribute in _PLAIN_METHODS) or (kind is LoopContext and attribute in _LOOP_ATTRIBUTES):
            return getattr(obj, attribute)
        return super().getattr(obj, attribute)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Return whether a template may reach an attribute."""
        return super().is_safe_attribute(obj, attr, value) and operations.is_safe(obj, attr)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """Return `str.format` as templates may call it."""
        return operations.wrap_format(self, value)

    def call_filter(self, *args: Any, **kwargs: Any) -> Any:
        """Return what a filter gives that is named at run time, as in `map('upper')`."""
        budget.tick()
        return super().call_filter(*args, **kwargs)

    def call_test(self, *args: Any, **kwargs: Any) -> Any:
        """Return what a test gives that is named at run time, as in `select('in', text)`."""
        budget.look()
        return super().call_test(*args, **kwargs)

    def call(self, context: Any, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call something, within the limits where it is a method of a text."""
        owner = getattr(obj, "__self__", None)
        if isinstance(owner, (str, bytes)):
            args = operations.pay_for_method(owner, obj.__name__, args, kwargs)
        result = super().call(context, obj, *args, **kwargs)
        # `{}.fromkeys` is a method of the class.
        return budget.weighed(result) if owner is dict else result


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.exceptions.TemplateError(message)


def _strftime_now(format: str) -> str:
    if len(format) > _MAX_DATE_FORMAT:
        raise LimitReachedError(say("template.limit_output", limit=f"{_MAX_DATE_FORMAT:,}"))
    return datetime.now().strftime(format)


_environment = LimitedEnvironment()
_GLOBALS = dict(_environment.globals)


def compile_source(source: str, *, name: str) -> jinja2.Template:
    """Compile a chat template.

    Raises:
        TemplateError: The template is not valid jinja; the error names the line.
    """
    if len(source) > _MAX_SOURCE:
        raise TemplateError(
            say("template.limit_source", limit=f"{_MAX_SOURCE:,}"), where=name, help=say("template.limit_help")
        )
    try:
        return _environment.from_string(source)
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(
            say("template.syntax", message=_brief(error.message)),
            where=f"{name}:{error.lineno}",
            help=say("template.syntax_help"),
        ) from error
    except (RecursionError, MemoryError) as error:
        raise TemplateError(say("template.too_deep"), where=name, help=say("template.limit_help")) from error
    except Exception as error:
        # Some mistakes pass jinja2 and fail in the Python that it writes: `{% break %}` outside a loop.
        message = error.msg if isinstance(error, SyntaxError) else error
        raise TemplateError(
            say("template.syntax", message=_brief(message)), where=name, help=say("template.syntax_help")
        ) from error


def variables_of(source: str) -> frozenset[str]:
    """Return the names that a template takes from outside: its variables, and the globals that it calls."""
    tree = _environment.parse(source)
    called = {node.name for node in tree.find_all(nodes.Name)} & _environment.globals.keys()
    return frozenset(jinja2.meta.find_undeclared_variables(tree) | called)


def run(template: jinja2.Template, variables: Mapping[str, Any], *, name: str) -> tuple[str, list[tuple[int, int]]]:
    """Render a template, within the limits.

    Returns:
        The text, and the ranges of its `{% generation %}` blocks.

    Raises:
        TemplateError: The template raises, or goes past a limit.
    """
    spent = Budget(seconds=MAX_SECONDS, deadline=time.monotonic() + MAX_SECONDS)
    token = budget.current.set(spent)
    try:
        return _rendered(template, variables, spent), spent.generation
    except jinja2.exceptions.SecurityError as error:
        raise TemplateError(
            say("template.unsafe", message=_brief(error)), where=name, help=say("template.limit_help")
        ) from error
    except jinja2.exceptions.TemplateError as error:
        # Whose row it is is not known here; the caller adds the place.
        raise TemplateError(
            say("template.raised", name=name, message=_brief(error.message)), help=say("template.raised_help")
        ) from error
    except LimitReachedError as error:
        raise TemplateError(str(error), where=name, help=say("template.limit_help")) from error
    except (RecursionError, MemoryError) as error:
        raise TemplateError(say("template.too_deep"), where=name, help=say("template.limit_help")) from error
    except Exception as error:
        # Whatever else comes out of a template is its own: nothing of ours raises anything.
        raise TemplateError(
            say("template.failed", name=name, kind=type(error).__name__, message=_brief(error)),
            help=say("template.raised_help"),
        ) from error
    finally:
        budget.current.reset(token)


def _rendered(template: jinja2.Template, variables: Mapping[str, Any], spent: Budget) -> str:
    # What Template.new_context does, without a pass over the chain of globals for every rendering.
    environment = template.environment
    context = environment.context_class(environment, {**_GLOBALS, **variables}, template.name, template.blocks)
    pieces: list[str] = []
    for piece in template.root_render_func(context):
        spent.length += len(piece)
        if spent.length > budget.MAX_CHARACTERS:
            raise LimitReachedError(say("template.limit_output", limit=f"{budget.MAX_CHARACTERS:,}"))
        pieces.append(piece)
    return "".join(pieces)


def _brief(message: Any) -> str:
    """Return a message on one line, since a template may say a book."""
    text = " ".join(str("" if message is None else message)[: 4 * _LONGEST_MESSAGE].split())
    return text if len(text) <= _LONGEST_MESSAGE else f"{text[:_LONGEST_MESSAGE]}…"
