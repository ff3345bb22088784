"""`Node`: a value of a YAML file that knows its line, so that whatever is wrong with it can be told where it stands."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from finetooth.config.keys import closest
from finetooth.errors import ConfigError
from finetooth.messages import say


@dataclass(frozen=True, slots=True)
class Node:
    """A scalar, a list of nodes, or a mapping of names to nodes, and its place."""

    value: Any
    where: str

    def mapping(self, known: Iterable[str], what: str) -> dict[str, Node]:
        """Return the node's mapping, whose keys all have to be known.

        Args:
            known: The keys.
            what: What the mapping is, for the error.

        Raises:
            ConfigError: It is no mapping, or has another key.
        """
        if not isinstance(self.value, dict):
            raise self.error(say("yaml.not_a_mapping", what=what, value=self.shown))
        known = list(known)
        for name, node in self.value.items():
            if name not in known:
                near = closest(name, known)
                remedy = (
                    say("config.did_you_mean", name=near) if near else say("yaml.known_keys", keys=", ".join(known))
                )
                raise node.error(say("yaml.unknown_key", key=name, what=what), help=remedy)
        return dict(self.value)

    def names(self, what: str) -> dict[str, Node]:
        """Return the node's mapping, whatever its keys are."""
        if not isinstance(self.value, dict):
            raise self.error(say("yaml.not_a_mapping", what=what, value=self.shown))
        return dict(self.value)

    def items(self, what: str) -> list[Node]:
        """Return the node's list, which must not be empty."""
        if not isinstance(self.value, list) or not self.value:
            raise self.error(say("yaml.not_a_list", what=what, value=self.shown))
        return self.value

    def text(self, what: str) -> str:
        """Return the node's text."""
        if isinstance(self.value, str) and self.value:
            return self.value
        if isinstance(self.value, int | float) and not isinstance(self.value, bool):
            return str(self.value)  # a model's name may look like a number
        raise self.error(say("yaml.not_a_text", what=what, value=self.shown))

    @property
    def shown(self) -> str:
        """The value, near enough to what its author wrote."""
        if isinstance(self.value, dict):
            return "{" + ", ".join(self.value) + "}"
        if isinstance(self.value, list):
            return "[" + ", ".join(node.shown for node in self.value) + "]"
        if self.value is None:
            return "null"
        return str(self.value).lower() if isinstance(self.value, bool) else str(self.value)

    def error(self, what: str, *, help: str | None = None) -> ConfigError:
        """Return an error about this node."""
        return ConfigError(what, where=self.where, help=help)


def as_node(value: object, where: str, path: str = "") -> Node:
    """Return plain data as nodes, whose places are the paths of their keys: `models[0].parameters.weight`.

    Args:
        value: Mappings, sequences, texts, paths, numbers, truth values and nothing.
        where: The place of all of it.
        path: The place within.

    Raises:
        ConfigError: There is something else in it.
    """
    place = path or where
    if isinstance(value, Mapping):
        return Node(
            {str(key): as_node(one, where, f"{path}.{key}" if path else str(key)) for key, one in value.items()}, place
        )
    if isinstance(value, list | tuple):
        return Node([as_node(one, where, f"{path}[{index}]") for index, one in enumerate(value)], place)
    if value is None or isinstance(value, bool | str):
        return Node(value, place)
    if isinstance(value, os.PathLike):
        return Node(os.fspath(value), place)
    if isinstance(value, Integral):
        return Node(int(value), place)  # numpy's, say
    if isinstance(value, Real):
        return Node(float(value), place)
    raise ConfigError(say("yaml.not_plain", kind=type(value).__name__), where=place)


def read_documents(path: Path) -> list[Node]:
    """Return the documents of a YAML file.

    Raises:
        ConfigError: It cannot be read, or is no YAML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(say("config.unreadable", path=str(path), reason=reason), where=str(path)) from error
    except UnicodeDecodeError as error:
        raise ConfigError(say("config.not_utf8", path=str(path)), where=str(path)) from error
    return parse_documents(text, str(path))


def parse_documents(text: str, shown: str) -> list[Node]:
    """Return the documents of a YAML text; places are lines of `shown`."""
    import yaml

    loader = yaml.SafeLoader(text)
    try:
        return list(_documents(loader, shown))
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(say("config.bad_yaml", reason=error.problem or error.context), where=shown + line) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(say("config.bad_yaml", reason=str(error).splitlines()[0]), where=shown) from error
    finally:
        loader.dispose()


def _documents(loader: Any, shown: str) -> Iterator[Node]:
    while loader.check_node():
        node = _node(loader, loader.get_node(), shown, ())
        if node.value is not None:
            yield node


def _node(loader: Any, node: Any, shown: str, above: tuple[int, ...]) -> Node:
    where = _line(node, shown)
    if id(node) in above:
        raise ConfigError(say("config.bad_yaml", reason="an alias within its own anchor"), where=where)
    above = (*above, id(node))
    if node.id == "sequence":
        return Node([_node(loader, child, shown, above) for child in node.value], where)
    if node.id != "mapping":
        return Node(loader.construct_object(node, deep=True), where)
    _refuse_duplicates(node, shown)
    loader.flatten_mapping(node)  # `<<: *anchor`, whose keys come first and give way to those that stand here
    found: dict[str, Node] = {}
    for key_node, value_node in node.value:
        value = _node(loader, value_node, shown, above)
        # An error about a key points at the key.
        found[str(loader.construct_object(key_node, deep=True))] = Node(value.value, _line(key_node, shown))
    return Node(found, where)


def _refuse_duplicates(node: Any, shown: str) -> None:
    """Refuse a key that is given twice, of which YAML's loader would keep the last."""
    first: dict[str, Any] = {}
    for key_node, _ in node.value:
        name = str(key_node.value)
        if name in first:
            what = say("config.duplicate_key", key=name, first=_line(first[name], shown))
            raise ConfigError(what, where=_line(key_node, shown))
        first[name] = key_node


def _line(node: Any, shown: str) -> str:
    return f"{shown}:{node.start_mark.line + 1}"
