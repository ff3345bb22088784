"""Recipes: files that tell everything about a run, or by a `matrix:` about several.

    model: ./my-model
    data: train.jsonl
    train: {epochs: 5}
    matrix:
      setup:                                  # no key: an axis of named variants
        split: {tokenizer: ./tok-split}
        whole: {tokenizer: ./tok, labels.train_on: last}
      train.seed: [0, 1]                      # a key: an axis of values

gives four runs: split-0, split-1, whole-0, whole-1. A matrix that is a list gives a run for each of its mappings, which
may have a `name`. Paths are taken from the folder in which the command runs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from finetooth.config.files import SHORTHANDS, Value, read_file
from finetooth.config.keys import flatten, keys, nest, unknown_key
from finetooth.config.loading import ConfigErrors, Resolved, load_config
from finetooth.config.tree import Config
from finetooth.errors import ConfigError
from finetooth.messages import say

MATRIX = "matrix"
_UNSAFE = re.compile(r"[^\w.+-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The configuration of one run."""

    name: str
    """What tells the run from others of the same matrix; the file's name where there is none."""
    resolved: Resolved
    where: str
    """The file."""
    settings: Mapping[str, Any]
    """What the matrix sets, by dotted key; empty where there is none."""

    @property
    def config(self) -> Config:
        """The configuration itself."""
        return self.resolved.config

    def to_yaml(self) -> str:
        """Return the whole configuration as a recipe that gives the same run again."""
        import yaml

        values = {name: _plain(value) for name, value in flatten(self.config).items() if not name.startswith("output.")}
        text: str = yaml.safe_dump(nest(values), allow_unicode=True, sort_keys=False)
        return text


def load_recipes(
    path: Path,
    flags: Mapping[str, object] | None = None,
    sets: Sequence[str] = (),
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> list[Recipe]:
    """Return the recipes of a file: one, or one for each run of its matrix.

    Args:
        path: The file.
        flags: As for `load_config`; they and `sets` overrule every recipe.
        sets: As for `load_config`.
        file: As for `load_config`; what it says is overruled by the recipe.
        environ: As for `load_config`.
        cwd: As for `load_config`.

    Raises:
        ConfigError: Something is wrong; `ConfigErrors` where it is more than one thing.
    """
    cwd = Path.cwd() if cwd is None else cwd
    errors: list[ConfigError] = []
    nothing = Value(data=None, place=None)  # type: ignore[arg-type]  # stands for a matrix that is not there
    apart = {MATRIX: nothing}
    values = read_file(path, cwd, errors, apart)
    matrix = apart[MATRIX]
    variants = [(path.stem, {})] if matrix is nothing or matrix.data is None else _variants(matrix, errors)
    variants = variants or [(path.stem, {})]  # what else is wrong is told as well
    names = [text.partition("=")[0].strip() for text in sets]
    overruled = {SHORTHANDS.get(name, name) for name in names} | set(flags or {})
    for name in sorted({name for _, settings in variants for name in settings} & overruled):
        what = say("config.set_in_matrix", key=name)
        errors.append(ConfigError(what, where=f"--set {name}", help=say("config.set_in_matrix_help")))
    recipes = []
    for name, settings in variants:
        given = values | {key: Value(data=data, place=matrix.place) for key, data in settings.items()}
        try:
            resolved = load_config(flags, sets, file, environ, cwd, recipe=given)
        except ConfigError as error:
            singles: Sequence[ConfigError] = getattr(error, "errors", (error,))
            seen = {str(one) for one in errors}
            errors += [one for one in singles if str(one) not in seen]
            continue
        recipes.append(Recipe(name=name, resolved=resolved, where=str(path), settings=settings))
    if len(errors) > 1:
        raise ConfigErrors(errors)
    if errors:
        raise errors[0]
    return recipes


def _variants(matrix: Value, errors: list[ConfigError]) -> list[tuple[str, dict[str, Any]]]:
    """Return the name and the settings of each run."""
    where, data = matrix.place.where, matrix.data
    if isinstance(data, list):
        axes = [[_variant(one, number, where, errors) for number, one in enumerate(data)]]
    elif isinstance(data, Mapping) and data:
        axes = [_axis(str(name), values, where, errors) for name, values in data.items()]
    else:
        errors.append(ConfigError(say("config.bad_matrix"), where=where, help=say("config.bad_matrix_help")))
        return []
    found: list[tuple[str, dict[str, Any]]] = []
    for chosen in product(*axes):
        settings: dict[str, Any] = {}
        for _, part in chosen:
            settings |= part
        found.append(("-".join(name for name, _ in chosen), settings))
    names = [name for name, _ in found]
    if len(set(names)) < len(names):
        found = [(f"{number:0{len(str(len(found) - 1))}d}-{name}", part) for number, (name, part) in enumerate(found)]
    return found


def _axis(name: str, values: Any, where: str, errors: list[ConfigError]) -> list[tuple[str, dict[str, Any]]]:
    if isinstance(values, list) and values and not any(isinstance(one, Mapping) for one in values):
        name = SHORTHANDS.get(name, name)
        if name not in keys():
            errors.append(unknown_key(name, where))
            return []
        return [(_slug(value), {name: value}) for value in values]
    if (
        isinstance(values, Mapping)
        and values
        and all(isinstance(one, Mapping) or one is None for one in values.values())
    ):
        return [(_slug(variant), _settings(one or {}, where, errors)) for variant, one in values.items()]
    errors.append(
        ConfigError(say("config.bad_axis", name=name), where=where, help=say("config.bad_axis_help", name=name))
    )
    return []


def _variant(one: Any, number: int, where: str, errors: list[ConfigError]) -> tuple[str, dict[str, Any]]:
    if not isinstance(one, Mapping):
        errors.append(ConfigError(say("config.bad_matrix"), where=where, help=say("config.bad_matrix_help")))
        return str(number), {}
    settings = _settings({key: value for key, value in one.items() if key != "name"}, where, errors)
    name = one.get("name") or "-".join(_slug(value) for value in settings.values()) or str(number)
    return _slug(name), settings


def _settings(tree: Mapping[Any, Any], where: str, errors: list[ConfigError], prefix: str = "") -> dict[str, Any]:
    """Return settings by dotted key, from dotted or nested ones."""
    found: dict[str, Any] = {}
    sections = {known.rpartition(".")[0] for known in keys()}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if name in SHORTHANDS and not isinstance(value, Mapping):
            name = SHORTHANDS[name]
        if name in keys():
            found[name] = value
        elif name in sections and isinstance(value, Mapping):
            found |= _settings(value, where, errors, f"{name}.")
        else:
            errors.append(unknown_key(name, where))
    return found


def _slug(value: Any) -> str:
    """Return a value as a part of a folder's name: the last part of a path, and nothing that a shell would read."""
    text = str(value).rstrip("/")
    text = Path(text).name if "/" in text else text
    return _UNSAFE.sub("_", text).strip("._") or "_"


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
