"""The configuration tree as dotted keys: their types, defaults, allowed values and documentation.

A new field of `tree.py` needs nothing here: its key, its `FINETOOTH_*` variable, its place in `finetooth config` and
its help follow from the dataclass. Its sentence in Japanese stands in `messages/ja/fields.toml`; the English one is
the docstring under the field.
"""

from __future__ import annotations

import ast
import inspect
import operator
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from itertools import pairwise
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from finetooth.config.tree import Config
from finetooth.errors import ConfigError
from finetooth.messages import language, say


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One value that can be configured."""

    name: str
    """The dotted key, such as `labels.way`."""
    annotation: Any
    """The type of the field."""
    default: Any
    section: type
    """The dataclass that holds the field."""

    @property
    def variable(self) -> str:
        """The environment variable that sets the key."""
        return "FINETOOTH_" + self.name.replace(".", "_").upper()

    @property
    def choices(self) -> tuple[str, ...]:
        """The words that the key allows, where its type names any."""
        return tuple(
            word
            for member in members(self.annotation)
            if get_origin(member) is Literal
            for word in get_args(member)
            if isinstance(word, str)
        )

    @property
    def is_closed(self) -> bool:
        """Whether the key allows nothing but its `choices` and null."""
        return all(member is NoneType or get_origin(member) is Literal for member in members(self.annotation))

    @property
    def allowed(self) -> str:
        """What the key allows: words as they are, types in capitals, as in `INTEGER | none | default`."""
        return " | ".join(dict.fromkeys(_words(self.annotation)))

    @property
    def documentation(self) -> str:
        """What the key does, in the language in force, on one line."""
        if language() == "en":
            # The docstring is read by programmers as well; in a file, nothing is spelled null.
            return _docstrings(self.section)[self.name.rpartition(".")[2]].replace("`None`", "`null`")
        return say(f"fields.{self.name.replace('.', '_')}")


RANGES: Mapping[str, str] = {
    "data.eval_share": "0 <= x < 1",
    "lora.r": "1 <= x",
    "lora.alpha": "1 <= x",
    "lora.dropout": "0 <= x < 1",
    "train.epochs": "0 < x",
    "train.max_steps": "1 <= x",
    "train.batch_size": "1 <= x",
    "train.micro_batch_size": "1 <= x",
    "train.pack_tokens": "1 <= x",
    "train.learning_rate": "0 <= x",
    "train.warmup_steps": "0 <= x",
    "train.adam_beta1": "0 <= x < 1",
    "train.adam_beta2": "0 <= x < 1",
    "train.adam_epsilon": "0 < x",
    "train.weight_decay": "0 <= x",
    "train.max_grad_norm": "0 <= x",
    "train.label_smoothing": "0 <= x < 1",
    "train.neftune_alpha": "0 < x",
    "train.seed": "0 <= x < 4294967296",
    "train.logging_steps": "1 <= x",
    "train.eval_steps": "1 <= x",
    "train.save_steps": "1 <= x",
    "train.save_total_limit": "1 <= x",
    "train.num_samples": "0 <= x",
    "train.sample_tokens": "1 <= x",
    "train.probe_prompts": "0 <= x",
    "train.probe_steps": "1 <= x",
}
"""The numbers that keys allow, where it is not all of their type."""


def allowed_range(name: str) -> str:
    """Return the numbers that a key allows, as `RANGES` says them."""
    return RANGES[name]


def in_range(name: str, value: Any) -> bool:
    """Return whether a number is one that its key allows; what is no number is."""
    if name not in RANGES or isinstance(value, bool) or not isinstance(value, int | float):
        return True
    compare = {"<": operator.lt, "<=": operator.le}
    words = RANGES[name].split()
    left = words[: words.index("x")]
    right = words[words.index("x") + 1 :]
    above = not left or compare[left[1]](float(left[0]), value)
    return above and (not right or compare[right[0]](value, float(right[1])))


@cache
def keys() -> Mapping[str, Key]:
    """Return every key of the tree by its dotted name, in the order of the tree."""
    return {key.name: key for key in _walk(Config, "")}


def key_of(name: str, *, where: str | None = None) -> Key:
    """Return the key of this name.

    Raises:
        ConfigError: There is none; the nearest names are offered.
    """
    if name not in keys():
        raise unknown_key(name, where)
    return keys()[name]


def unknown_key(name: str, where: str | None) -> ConfigError:
    """Return the error of a key that does not exist, with the nearest one that does."""
    sections = {known.rpartition(".")[0] for known in keys()}
    near = closest(name, [*sorted(sections), *keys()])
    remedy = say("config.did_you_mean", name=near) if near else say("config.list_keys")
    return ConfigError(say("config.unknown_key", key=name), where=where, help=remedy)


def closest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that `word` was most likely meant to be, or `None`."""
    from difflib import get_close_matches  # 5 ms that only a mistake has to pay

    known = list(known)
    # `max_length` or `data.max_length` for `labels.max_length`: right but for the section.
    same = [name for name in known if name.rpartition(".")[2] == word.rpartition(".")[2]]
    return same[0] if len(same) == 1 else next(iter(get_close_matches(word, known, n=1)), None)


def members(annotation: Any) -> tuple[Any, ...]:
    """Return the members of a union, or the type alone."""
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """Return the values of a configuration by dotted key."""
    values: dict[str, Any] = {}
    for field in fields(config):
        value = getattr(config, field.name)
        if is_dataclass(value):
            values |= flatten(value, f"{prefix}{field.name}.")
        else:
            values[prefix + field.name] = value
    return values


def nest(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by dotted key as the tree of mappings that a file holds."""
    tree: dict[str, Any] = {}
    for name, value in values.items():
        *sections, last = name.split(".")
        branch = tree
        for section in sections:
            branch = branch.setdefault(section, {})
        branch[last] = value
    return tree


def _walk(section: Any, prefix: str) -> Iterator[Key]:
    hints = get_type_hints(section)
    for field in fields(section):
        annotation = hints[field.name]
        if is_dataclass(annotation):
            yield from _walk(annotation, f"{prefix}{field.name}.")
        else:
            default = field.default if field.default_factory is MISSING else field.default_factory()
            yield Key(name=prefix + field.name, annotation=annotation, default=default, section=section)


def _words(annotation: Any) -> Iterator[str]:
    names = {bool: "true | false", int: "INTEGER", float: "NUMBER", str: "TEXT", NoneType: "null"}
    for member in members(annotation):
        if get_origin(member) is Literal:
            yield from (str(word) for word in get_args(member))
        elif get_origin(member) is tuple:
            yield f"{names[get_args(member)[0]]},..."
        else:
            yield names[member]


@cache
def _docstrings(section: type) -> Mapping[str, str]:
    """Return the docstring under each field of a dataclass; Python itself keeps none of them."""
    body = next(
        node.body
        for node in ast.walk(ast.parse(inspect.getsource(sys.modules[section.__module__])))
        if isinstance(node, ast.ClassDef) and node.name == section.__name__
    )
    documentation = {}
    for node, below in pairwise(body):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            match below:
                case ast.Expr(value=ast.Constant(value=str(text))):
                    documentation[node.target.id] = " ".join(text.split())
    return documentation
