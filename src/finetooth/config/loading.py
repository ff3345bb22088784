"""Fill the configuration tree from a file, the environment and the command line, and say where each value came from.

Two traps of YAML are handled by type: `1e-4` is read as text, and becomes a number where the field is one; `no` and
`yes` are read as false and true, so that a text field refuses them and asks for quotes. Every error of every source
is reported at once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple, get_origin

from finetooth.config.files import SHORTHANDS, Place, Value, find_file, read_file
from finetooth.config.keys import Key, allowed_range, closest, flatten, in_range, keys, members, nest, unknown_key
from finetooth.config.tree import Config
from finetooth.errors import ConfigError
from finetooth.messages import LANGUAGES, say

ALIASES = {"FINETOOTH_LANG": "output.lang"}
"""Variables that set a key beside the one that its name gives."""

NO_KEYS = frozenset({"FINETOOTH_CHROMIUM"})
"""Variables of ours that set no key: which browser prints PDF (`finetooth.documents.pdf`) is the machine's matter."""


class Flag(NamedTuple):
    """A value given by a flag of the command line."""

    name: str
    value: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A configuration, and where each of its values came from."""

    config: Config
    origins: Mapping[str, str]
    """By dotted key: `default`, `finetooth.yaml:7`, `pyproject.toml [tool.finetooth.labels]`,
    `FINETOOTH_LABELS_WAY`, `--labels`, `--set`, or `argument`."""
    file: Path | None
    """The file that was read, or `None`."""


class ConfigErrors(ConfigError):
    """Several configuration errors, found in one go; the first speaks for them where only one can be shown."""

    def __init__(self, errors: Sequence[ConfigError]) -> None:
        first = errors[0]
        super().__init__(first.what, where=first.where, help=first.help)
        self.errors = tuple(errors)

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self.errors)


def load_config(
    flags: Mapping[str, object] | None = None,
    sets: Sequence[str] = (),
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    recipe: Mapping[str, Value] | None = None,
) -> Resolved:
    """Return the configuration that the sources give, each overruling those before it.

    Args:
        flags: Values by dotted key. A `Flag` names its origin; any other value has the origin `argument`.
        sets: `key=value` texts, as `--set` takes them; they overrule the flags.
        file: The file to read; `None` looks for `finetooth.yaml`, then `[tool.finetooth]` of `pyproject.toml`, in
            `cwd` and its parents up to the one that holds `.git`.
        environ: The environment, for its `FINETOOTH_*` variables.
        cwd: The folder from which files are looked for and against which they are named.
        recipe: Values of a recipe. They overrule file and environment, so that a recipe gives the same run anywhere.

    Raises:
        ConfigError: Something is wrong; `ConfigErrors` where it is more than one thing.
    """
    environ = os.environ if environ is None else environ
    cwd = Path.cwd() if cwd is None else cwd
    errors: list[ConfigError] = []
    given: dict[str, Value] = {}

    found = find_file(cwd) if file is None else file
    if found is not None:
        given |= read_file(found, cwd, errors)
    given |= _from_environment(environ, errors)
    given |= recipe or {}
    for name, value in (flags or {}).items():
        flag = value if isinstance(value, Flag) else Flag("argument", value)
        given[name] = Value(data=flag.value, place=Place(flag.name, flag.name), is_text=isinstance(flag.value, str))
    given |= _from_sets(sets, errors)

    config = _validated(given, errors)
    origins = {name: given[name].place.origin if name in given else "default" for name in keys()}
    return Resolved(config=config, origins=origins, file=found)


def config_of(values: Mapping[str, object]) -> Config:
    """Return the configuration of some values alone, from Python: no file and no environment is read.

    Args:
        values: By dotted key; `None` takes the default.

    Raises:
        ConfigError: A key or a value is wrong; `ConfigErrors` where it is more than one thing.
    """
    errors: list[ConfigError] = []
    given: dict[str, Value] = {}
    for name, value in values.items():
        if name not in keys():
            errors.append(unknown_key(name, "argument"))
        elif value is not None:
            place = Place("argument", name.rpartition(".")[2])
            data = list(value) if isinstance(value, tuple) else value
            given[name] = Value(data=data, place=place, is_text=isinstance(value, str))
    return _validated(given, errors)


def _from_environment(environ: Mapping[str, str], errors: list[ConfigError]) -> dict[str, Value]:
    variables = {key.variable: name for name, key in keys().items()}
    given: dict[str, Value] = {}
    for variable in sorted(environ):
        text = environ[variable]
        if not variable.startswith("FINETOOTH_") or not text or variable in NO_KEYS:
            continue
        if variable == "FINETOOTH_LANG":
            # A locale is as good as a language: `ja_JP.UTF-8`.
            language = re.split(r"[-_.]", text.lower())[0]
            text = language if language in LANGUAGES else text
        name = ALIASES.get(variable) or variables.get(variable)
        if name is None:
            near = closest(variable, [*variables, *ALIASES, *NO_KEYS])
            errors.append(
                ConfigError(
                    say("config.unknown_variable", variable=variable),
                    where=say("config.environment"),
                    help=say("config.did_you_mean", name=near) if near else say("config.unset", variable=variable),
                )
            )
        else:
            given[name] = Value(data=text, place=Place(variable, variable), is_text=True)
    return given


def _from_sets(sets: Sequence[str], errors: list[ConfigError]) -> dict[str, Value]:
    given: dict[str, Value] = {}
    for text in sets:
        name, equals, value = text.partition("=")
        name = SHORTHANDS.get(name.strip(), name.strip())
        place = Place("--set", f"--set {text}")
        if not equals:
            errors.append(
                ConfigError(say("config.set_form", text=text), where="--set", help="--set labels.max_length=2048")
            )
        elif name not in keys():
            errors.append(unknown_key(name, place.where))
        else:
            given[name] = Value(data=value.strip(), place=place, is_text=True)
    return given


@cache
def _validator() -> Any:
    """Return what validates the tree; to make one costs 30 ms, and a merge configures each of its models."""
    from pydantic import TypeAdapter

    return TypeAdapter(Config)


def _validated(given: Mapping[str, Value], errors: list[ConfigError]) -> Config:
    """Return the tree, or raise every error that was collected and every one that the types give."""
    config = Config()
    if given:
        # pydantic costs 100 ms to import: only those who configure something pay.
        from pydantic import ValidationError

        raw = {name: _by_type(value, keys()[name]) for name, value in given.items()}
        try:
            config = _validator().validate_python(nest(raw))
        except ValidationError as error:
            # A union reports once for each of its members: one error a key is enough.
            wrong = dict.fromkeys(_key_at(details["loc"]) for details in error.errors(include_url=False))
            errors.extend(_bad_value(keys()[name], given[name]) for name in wrong)
        else:
            values = flatten(config)
            errors.extend(
                _out_of_range(keys()[name], given[name]) for name in given if not in_range(name, values[name])
            )
    if len(errors) > 1:
        raise ConfigErrors(errors)
    if errors:
        raise errors[0]
    return config


def _by_type(value: Value, key: Key) -> Any:
    """Return a value in the form that the type of its key needs, for pydantic to judge."""
    types = members(key.annotation)
    data = value.data
    if value.is_text:
        if data in ("null", "~", "") and NoneType in types:
            return None
        if any(get_origin(member) is tuple for member in types):
            return [part.strip() for part in data.strip("[]() ").split(",") if part.strip()]
    elif isinstance(data, str) and any(get_origin(member) is tuple for member in types):
        return [data]  # `train: rows.jsonl` for a list of one
    elif isinstance(data, bool) and bool not in types:
        # pydantic would take true for 1; here it is a `yes` or `no` that YAML read as a boolean.
        return {"boolean": data}
    return data


def _key_at(location: tuple[int | str, ...]) -> str:
    """Return the key of a location of pydantic's, which goes on below the key with members and indices."""
    for length in range(len(location), 0, -1):
        name = ".".join(str(part) for part in location[:length])
        if name in keys():
            return name
    raise AssertionError(f"no key at {location}")


def _bad_value(key: Key, value: Value) -> ConfigError:
    near = closest(str(value.data), key.choices) if isinstance(value.data, str) else None
    if near:
        remedy = say("config.did_you_mean", name=near)
    elif isinstance(value.data, bool) and not value.is_text:
        remedy = say("config.quote_booleans")
    elif isinstance(value.data, int | float) and str in members(key.annotation):
        remedy = say("config.quote", value=value.data)
    else:
        remedy = say("config.allowed", allowed=key.allowed)
    return ConfigError(say("config.bad_value", key=key.name, value=value.shown), where=value.place.where, help=remedy)


def _out_of_range(key: Key, value: Value) -> ConfigError:
    what = say("config.bad_value", key=key.name, value=value.shown)
    return ConfigError(what, where=value.place.where, help=say("config.range", allowed=allowed_range(key.name)))
