"""Find and read the configuration file, and keep the line of every key."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from finetooth.config.keys import keys, unknown_key
from finetooth.errors import ConfigError
from finetooth.messages import say

FILE_NAME = "finetooth.yaml"

SHORTHANDS = {"model": "model.path", "tokenizer": "tokenizer.path", "data": "data.train"}
"""Sections that stand for one of their keys where they are given a value: `model: ./my-model`."""


class Place(NamedTuple):
    """Where a value stands."""

    origin: str
    """As `finetooth config` lists it."""
    where: str
    """As an error names it."""


class Value(NamedTuple):
    """A value as it was given, before its type is known."""

    data: Any
    place: Place
    is_text: bool = False
    """Whether it comes from a source that has nothing but text: a flag, a variable."""

    @property
    def shown(self) -> str:
        """The value as its author wrote it, near enough."""
        if self.data is None:
            return "null"
        return str(self.data).lower() if isinstance(self.data, bool) else str(self.data)


def find_file(cwd: Path) -> Path | None:
    """Return the nearest configuration file, from `cwd` up to the folder that holds `.git`, or `None`."""
    for folder in (cwd, *cwd.parents):
        if (candidate := folder / FILE_NAME).is_file():
            return candidate
        candidate = folder / "pyproject.toml"
        if candidate.is_file() and b"[tool.finetooth" in candidate.read_bytes():
            return candidate
        if (folder / ".git").exists():
            break
    return None


def read_file(
    path: Path, cwd: Path, errors: list[ConfigError], apart: dict[str, Value] | None = None
) -> dict[str, Value]:
    """Return the values of a file by dotted key; what is wrong with it is added to `errors`.

    Args:
        path: The file.
        cwd: The folder against which it is named.
        errors: What is wrong is added here.
        apart: Names that are no keys and are allowed in this file all the same; their values are put here.
    """
    shown = _shown(path, cwd)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(say("config.unreadable", path=shown, reason=reason), where=shown) from error
    except UnicodeDecodeError as error:
        raise ConfigError(say("config.not_utf8", path=shown), where=shown) from error
    entries = _toml(text, shown) if path.suffix == ".toml" else _yaml(text, shown)

    values: dict[str, Value] = {}
    sections = {name.rpartition(".")[0] for name in keys()}
    for name, data, place in entries:
        if data is not None and name in SHORTHANDS:
            name = SHORTHANDS[name]
        if apart is not None and name in apart:
            apart[name] = Value(data=data, place=place)
        elif name in values:
            first = values[name].place.where
            errors.append(ConfigError(say("config.duplicate_key", key=name, first=first), where=place.where))
        elif name in keys():
            values[name] = Value(data=data, place=place)
        elif name in sections:
            # `labels:` with nothing below it, as a template of a file leaves it, says nothing; anything else is wrong.
            if data is not None:
                what = say("config.not_a_section", key=name, value=str(data))
                errors.append(ConfigError(what, where=place.where, help=say("config.list_keys")))
        else:
            errors.append(unknown_key(name, place.where))
    return values


def _toml(text: str, shown: str) -> Iterator[tuple[str, Any, Place]]:
    try:
        table = tomllib.loads(text).get("tool", {}).get("finetooth")
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(say("config.bad_toml", reason=str(error).lower()), where=shown) from error
    if table is None:
        raise ConfigError(say("config.no_table", path=shown), where=shown, help="[tool.finetooth]")
    yield from _toml_table(table, "", shown)


def _toml_table(table: Mapping[str, Any], prefix: str, shown: str) -> Iterator[tuple[str, Any, Place]]:
    # tomllib keeps no lines: the table is as near as it gets.
    where = f"{shown} [{f'tool.finetooth.{prefix}'.removesuffix('.')}]"
    for key, data in table.items():
        if isinstance(data, Mapping) and _is_section(prefix + key):
            yield from _toml_table(data, f"{prefix}{key}.", shown)
        else:
            yield prefix + key, data, Place(where, where)


def _yaml(text: str, shown: str) -> Iterator[tuple[str, Any, Place]]:
    import yaml

    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
        if root is None or (isinstance(root, yaml.ScalarNode) and loader.construct_object(root) is None):
            return
        if not isinstance(root, yaml.MappingNode):
            raise ConfigError(say("config.not_a_mapping"), where=f"{shown}:{root.start_mark.line + 1}")
        yield from _yaml_mapping(loader, root, "", shown)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(say("config.bad_yaml", reason=error.problem or error.context), where=shown + line) from error
    except yaml.YAMLError as error:
        raise ConfigError(say("config.bad_yaml", reason=str(error).splitlines()[0]), where=shown) from error
    finally:
        loader.dispose()


def _yaml_mapping(loader: Any, node: Any, prefix: str, shown: str) -> Iterator[tuple[str, Any, Place]]:
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        name = f"{prefix}{key}"
        where = f"{shown}:{key_node.start_mark.line + 1}"
        if value_node.id == "mapping" and _is_section(name):
            yield from _yaml_mapping(loader, value_node, f"{name}.", shown)
        else:
            yield name, loader.construct_object(value_node, deep=True), Place(where, where)


def _is_section(name: str) -> bool:
    return any(key.startswith(f"{name}.") for key in keys())


def _shown(path: Path, cwd: Path) -> str:
    """Return a path as the user would type it from where they stand."""
    if not path.is_absolute():
        return path.as_posix()
    try:
        return Path(os.path.relpath(path, cwd)).as_posix()
    except ValueError:  # another drive, on Windows
        return path.as_posix()
