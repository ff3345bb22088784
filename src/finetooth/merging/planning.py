"""`Plan`: every tensor of the merged model, what it is merged from and how, before a weight is read."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from finetooth.errors import ConfigError, MergeError
from finetooth.merging.configuration import MergeConfig, Slice, Source
from finetooth.merging.headers import DTYPES
from finetooth.merging.layers import LayerName, in_order, layer_name, num_layers
from finetooth.merging.methods import Method, Parameter, Value, Values
from finetooth.merging.models import EMBEDDINGS, HEADS, OpenModel
from finetooth.merging.references import ModelReference
from finetooth.merging.sources import TensorSource
from finetooth.messages import say

Models = Mapping[ModelReference, OpenModel]
Regather = Callable[[str, ModelReference, TensorSource], TensorSource]
"""Puts a model's embeddings into the order of the merged model's vocabulary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One tensor of the merged model."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    method: Method
    values: Values
    base: TensorSource | None
    """What is subtracted, where the method subtracts something."""
    models: tuple[TensorSource, ...]
    labels: tuple[str, ...]
    """What the user calls the models, the base first where there is one."""

    @property
    def num_elements(self) -> int:
        """The number of its elements."""
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """The bytes that are written."""
        return self.num_elements * self.dtype.itemsize

    @property
    def read_bytes(self) -> int:
        """The bytes that are read, once."""
        sources = (*self.models, *((self.base,) if self.base else ()))
        return sum(source.entries[0].size_bytes for source in sources)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A merge, tensor by tensor, in the order in which they are written."""

    config: MergeConfig
    jobs: tuple[Job, ...]
    num_layers: int | None
    """The layers of the merged model, where it is put together from slices."""
    is_tied: bool
    """Whether the merged model has no head of its own."""
    main: OpenModel
    """The model whose config and tokenizer the merged model gets."""

    @property
    def size_bytes(self) -> int:
        """The bytes of weights that are written."""
        return sum(job.size_bytes for job in self.jobs)

    @property
    def read_bytes(self) -> int:
        """The bytes of weights that are read, once."""
        return sum(job.read_bytes for job in self.jobs)


def make_plan(config: MergeConfig, models: Models, regather: Regather | None = None) -> Plan:
    """Plan a merge.

    Args:
        config: What is asked for.
        models: Its models, opened.
        regather: Puts embeddings into the order of the merged model's vocabulary; `None`: they are merged as they are.

    Raises:
        MergeError: The models cannot be merged so: a tensor is missing in one, shapes differ.
        ConfigError: A parameter that is needed is not given.
    """
    main = models[config.base or config.slices[0].sources[0].reference]
    taking_part = [models[source.reference] for one in config.slices for source in one.sources]
    is_tied = all(model.is_tied for model in taking_part)
    wanted = _whole(config, models) if config.is_whole else _stacked(config, models)
    jobs = []
    for name, t, one, own_names in wanted:
        if name.endswith(HEADS) and is_tied:
            continue
        jobs.append(_job(config, models, one, name, t, own_names, regather))
    if not is_tied and not any(job.name.endswith(HEADS) for job in jobs):
        jobs.append(_head(config, models, taking_part, regather))
    jobs.sort(key=lambda job: in_order(job.name))
    layers = None if config.is_whole else sum(_span(one) for one in config.slices)
    return Plan(config=config, jobs=tuple(jobs), num_layers=layers, is_tied=is_tied, main=main)


_Wanted = tuple[str, float, Slice, list[str]]
"""A tensor's name, how far its layer is, its slice, and its name in each source."""


def _whole(config: MergeConfig, models: Models) -> Iterator[_Wanted]:
    (one,) = config.slices
    names = dict.fromkeys(name for source in one.sources for name in models[source.reference].entries)
    counts = num_layers(names)
    for name in names:
        parts = layer_name(name)
        t = 0.0 if parts is None or counts[parts.prefix] == 1 else parts.number / (counts[parts.prefix] - 1)
        yield name, t, one, [name] * len(one.sources)


def _span(one: Slice) -> int:
    layers = one.sources[0].layers
    assert layers is not None
    return layers[1] - layers[0]


def _stacked(config: MergeConfig, models: Models) -> Iterator[_Wanted]:
    above = 0
    for place, one in enumerate(config.slices):
        prefixes = [_prefix(source, models[source.reference]) for source in one.sources]
        for index in range(_span(one)):
            t = index / (_span(one) - 1) if _span(one) > 1 else 0.0
            suffixes = dict.fromkeys(
                suffix
                for source, prefix in zip(one.sources, prefixes, strict=True)
                for suffix in _suffixes(models[source.reference], prefix, _first(source) + index)
            )
            for suffix in suffixes:
                own = [
                    LayerName(prefix, _first(source) + index, suffix).at(_first(source) + index)
                    for source, prefix in zip(one.sources, prefixes, strict=True)
                ]
                yield f"{prefixes[0]}{above + index}{suffix}", t, one, own
        above += _span(one)
        names = dict.fromkeys(name for source in one.sources for name in models[source.reference].entries)
        for name in names:
            if layer_name(name) is not None:
                continue
            # What comes before the layers is the first slice's, what comes after them the last one's.
            is_before = in_order(name)[0] == 0
            if place == (0 if is_before else len(config.slices) - 1):
                yield name, 0.0, one, [name] * len(one.sources)


def _first(source: Source) -> int:
    assert source.layers is not None
    return source.layers[0]


def _prefix(source: Source, model: OpenModel) -> str:
    counts = num_layers(model.entries)
    if len(counts) != 1:
        raise MergeError(
            say("merging.towers", names=", ".join(counts) or "-"),
            where=source.where,
            help=say("merging.towers_help"),
        )
    ((prefix, count),) = counts.items()
    assert source.layers is not None
    if source.layers[1] > count:
        raise MergeError(
            say("merging.too_few_layers", model=str(source.reference), count=count, end=source.layers[1]),
            where=source.where,
            help=f"layer_range: [{min(source.layers[0], count - 1)}, {count}]",
        )
    return prefix


def _suffixes(model: OpenModel, prefix: str, index: int) -> Iterator[str]:
    start = f"{prefix}{index}."
    return (name[len(start) - 1 :] for name in model.entries if name.startswith(start))


def _head(config: MergeConfig, models: Models, taking_part: Sequence[OpenModel], regather: Regather | None) -> Job:
    """Return the job of a head that no model of the last slice has apart from its embeddings, and another one has."""
    name = next(model.head for model in taking_part if model.head is not None and not model.is_tied)
    one = config.slices[-1]
    return _job(config, models, one, name, 0.0, [name] * len(one.sources), regather)


def _job(
    config: MergeConfig,
    models: Models,
    one: Slice,
    name: str,
    t: float,
    own_names: Sequence[str],
    regather: Regather | None,
) -> Job:
    sources = []
    for source, own_name in zip(one.sources, own_names, strict=True):
        tensor = _tensor(models[source.reference], own_name, models)
        if regather is not None and name.endswith((*EMBEDDINGS, *HEADS)):
            tensor = regather(own_name, source.reference, tensor)
        sources.append(tensor)
    _same_shapes(name, one, sources, models)
    method = config.method
    subtracts = method.base in ("required", "optional") and one.base is not None
    values = _values(config, one, name, t, one.sources[1:] if subtracts else one.sources)
    if (wrong := method.check(values)) is not None:
        raise ConfigError(wrong, where=one.where)
    dtype = config.out_dtype or config.dtype
    return Job(
        name=name,
        shape=sources[0].shape,
        dtype=getattr(torch, dtype) if dtype else DTYPES[sources[0].entries[0].dtype],
        method=method,
        values=values,
        base=sources[0] if subtracts else None,
        models=tuple(sources[1:] if subtracts else sources),
        labels=tuple(str(source.reference) for source in one.sources),
    )


def _tensor(model: OpenModel, name: str, models: Models) -> TensorSource:
    found = model.tensor(name)
    if found is None:
        holder = next(str(other) for other, opened in models.items() if opened.tensor(name) is not None)
        raise MergeError(
            say("merging.missing", name=name, other=holder),
            where=str(model.directory),
            help=say("merging.missing_help"),
        )
    return found


def _same_shapes(name: str, one: Slice, tensors: Sequence[TensorSource], models: Models) -> None:
    first = tensors[0].shape
    for source, tensor in zip(one.sources[1:], tensors[1:], strict=True):
        if tensor.shape == first:
            continue
        is_vocabulary = name.endswith((*EMBEDDINGS, *HEADS)) and tensor.shape[1:] == first[1:]
        shapes = {"shape": list(tensor.shape), "other": str(one.sources[0].reference), "other_shape": list(first)}
        what = say("merging.vocabularies", name=name, **shapes) if is_vocabulary else ""
        raise MergeError(
            what or say("merging.shapes", name=name, **shapes),
            where=str(models[source.reference].directory),
            help=say("merging.vocabularies_help") if is_vocabulary else say("merging.shapes_help"),
        )


def _values(config: MergeConfig, one: Slice, name: str, t: float, sources: Sequence[Source]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for parameter in config.method.parameters:
        shared = (one.settings, config.settings)
        if parameter.per_model:
            found[parameter.name] = [
                _value(config, parameter, (source.settings, *shared), name, t, source) for source in sources
            ]
        else:
            found[parameter.name] = _value(config, parameter, shared, name, t, None)
    return found


def _value(
    config: MergeConfig, parameter: Parameter, levels: Sequence[Any], name: str, t: float, source: Source | None
) -> Value:
    for settings in levels:
        if parameter.name in settings:
            value: Value | None = settings[parameter.name].value_for(name, t)
            if value is not None:
                return value
    if parameter.default is None:
        where = source.where if source else config.where
        model = f" ({source.reference})" if source else ""
        raise ConfigError(
            say("merging.needs", method=config.method.name, name=parameter.name, tensor=name, model=model),
            where=where,
            help=say("merging.needs_help", name=parameter.name),
        )
    return parameter.default
