"""`MergeConfig`: a merge as mergekit's YAML describes it; what is not supported is refused by name, never ignored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from finetooth.config import closest
from finetooth.config.yamlnodes import Node, as_node, parse_documents, read_documents
from finetooth.errors import ConfigError
from finetooth.merging.methods import METHODS, Method
from finetooth.merging.references import ModelReference
from finetooth.merging.settings import Settings, read_setting
from finetooth.merging.tokens import TokenizerChoice, read_tokenizer
from finetooth.messages import say

DTYPES = ("float32", "float16", "bfloat16")
"""What `dtype` and `out_dtype` can be."""

_KEYS = (
    "name", "merge_method", "base_model", "models", "slices", "modules", "parameters", "dtype", "out_dtype",
    "tokenizer", "tokenizer_source", "chat_template",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A model, or a range of its layers."""

    reference: ModelReference
    layers: tuple[int, int] | None
    """Half-open; `None`: all."""
    settings: Settings
    where: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Layers of the merged model, and what they are merged from."""

    sources: tuple[Source, ...]
    base: ModelReference | None
    """In place of the configuration's."""
    settings: Settings
    where: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeConfig:
    """One merge."""

    name: str | None
    """What later documents of the file call its result."""
    method: Method
    base: ModelReference | None
    slices: tuple[Slice, ...]
    is_whole: bool
    """Whether there is one slice, of whole models (`models`)."""
    settings: Settings
    dtype: str | None
    out_dtype: str | None
    tokenizer: TokenizerChoice | None
    chat_template: str | None
    document: Mapping[str, Any]
    """What was read, as plain data."""
    where: str

    @property
    def references(self) -> list[ModelReference]:
        """The models, each once, the base first where there is one."""
        bases = [self.base, *(one.base for one in self.slices)]
        named = self.tokenizer.references if self.tokenizer else []
        all_of_them = [*bases, *(source.reference for one in self.slices for source in one.sources), *named]
        return list(dict.fromkeys(one for one in all_of_them if one is not None))

    @property
    def num_models(self) -> int:
        """The number of models that weights come from."""
        return len({source.reference for one in self.slices for source in one.sources} | {self.base} - {None})


def load_merges(path: Path) -> list[MergeConfig]:
    """Return the merges of a file: one, or several that build on each other.

    Raises:
        ConfigError: Something in it is wrong or not supported.
    """
    return _merges(read_documents(path), str(path))


def parse_merges(text: str, shown: str) -> list[MergeConfig]:
    """Return the merges of a text; errors name lines of `shown`."""
    return _merges(parse_documents(text, shown), shown)


def merge_of(document: Mapping[str, Any], shown: str) -> MergeConfig:
    """Return the merge of a mapping; errors name its keys, and `shown` where they mean all of it."""
    return _merges([as_node(document, shown)], shown)[0]


def _merges(documents: list[Node], shown: str) -> list[MergeConfig]:
    if not documents:
        raise ConfigError(say("merging.empty"), where=shown, help=say("merging.empty_help"))
    merges = [_merge(document) for document in documents]
    named: set[str] = set()
    for number, one in enumerate(merges):
        is_last = number == len(merges) - 1
        if not is_last and one.name is None:
            raise ConfigError(say("merging.stage_without_name"), where=one.where, help="name: first")
        if one.name is not None and (one.name in named or "/" in one.name or one.name.startswith(".")):
            raise ConfigError(say("merging.bad_stage_name", name=one.name), where=one.where, help="name: first")
        later = {other.name for other in merges[number:]} - {None}
        for reference in one.references:
            if reference.path in later and not Path(reference.path).is_dir():
                raise ConfigError(
                    say("merging.stage_too_early", name=reference.path),
                    where=one.where,
                    help=say("merging.stage_too_early_help"),
                )
        named |= {one.name} if one.name else set()
    return merges


def _merge(document: Node) -> MergeConfig:
    fields = document.mapping(_KEYS, say("merging.the_configuration"))
    if "modules" in fields:
        fields = _single_module(fields)
    if "merge_method" not in fields:
        raise document.error(say("merging.no_method"), help=say("merging.known_methods", names=", ".join(METHODS)))
    method = find_method(fields["merge_method"].text("`merge_method`"), fields["merge_method"].where)
    settings = _settings(fields.get("parameters"), method, is_model=False)
    base = _reference(fields.get("base_model"), "`base_model`")
    if ("models" in fields) == ("slices" in fields):
        both = "models" in fields
        raise document.error(
            say("merging.models_and_slices") if both else say("merging.no_models"), help=say("merging.models_help")
        )
    slices: tuple[Slice, ...]
    if "models" in fields:
        sources = tuple(_source(item, method, is_slice=False) for item in fields["models"].items("`models`"))
        slices = (Slice(sources=sources, base=None, settings={}, where=fields["models"].where),)
    else:
        slices = tuple(_slice(item, method) for item in fields["slices"].items("`slices`"))
    config = MergeConfig(
        name=fields["name"].text("`name`") if "name" in fields else None,
        method=method,
        base=base,
        slices=slices,
        is_whole="models" in fields,
        settings=settings,
        dtype=_dtype(fields.get("dtype"), "dtype"),
        out_dtype=_dtype(fields.get("out_dtype"), "out_dtype"),
        tokenizer=read_tokenizer(fields.get("tokenizer"), fields.get("tokenizer_source")),
        chat_template=fields["chat_template"].text("`chat_template`") if "chat_template" in fields else None,
        document=_plain(document),
        where=document.where,
    )
    if config.tokenizer is not None and config.tokenizer.source == "base" and base is None:
        raise ConfigError(say("merging.tokenizer_without_base"), where=config.where, help="base_model: ...")
    return replace(config, slices=tuple(_with_roles(config, one) for one in slices))


def find_method(name: str, where: str) -> Method:
    """Return the method of a name.

    Raises:
        ConfigError: There is none.
    """
    if name in METHODS:
        return METHODS[name]
    near = closest(name, METHODS)
    remedy = say("merging.did_you_mean", name=near) if near else say("merging.known_methods", names=", ".join(METHODS))
    raise ConfigError(say("merging.unknown_method", name=name), where=where, help=remedy)


def _single_module(fields: dict[str, Node]) -> dict[str, Node]:
    """Return the fields with those of the one module in place of `modules`."""
    modules = fields["modules"].names("`modules`")
    if len(modules) != 1:
        raise fields["modules"].error(
            say("merging.several_modules", names=", ".join(modules)), help=say("merging.several_modules_help")
        )
    ((name, node),) = modules.items()
    inner = node.mapping(("models", "slices", "parameters"), f"`modules.{name}`")
    for key, value in inner.items():
        if key in fields:
            raise value.error(say("merging.module_twice", key=key, name=name))
    return {key: value for key, value in fields.items() if key != "modules"} | inner


def _slice(node: Node, method: Method) -> Slice:
    fields = node.mapping(("sources", "base_model", "parameters"), say("merging.a_slice"))
    if "sources" not in fields:
        raise node.error(say("merging.no_sources"), help=say("merging.no_sources_help"))
    return Slice(
        sources=tuple(_source(item, method, is_slice=True) for item in fields["sources"].items("`sources`")),
        base=_reference(fields.get("base_model"), "`base_model`"),
        settings=_settings(fields.get("parameters"), method, is_model=False),
        where=node.where,
    )


def _source(node: Node, method: Method, *, is_slice: bool) -> Source:
    known = ("model", "layer_range", "parameters") if is_slice else ("model", "parameters")
    fields = node.mapping(known, say("merging.a_model"))
    if "model" not in fields:
        raise node.error(say("merging.no_model_key"), help="model: ./my-model")
    layers = None
    if is_slice:
        if "layer_range" not in fields:
            raise node.error(say("merging.no_layer_range"), help="layer_range: [0, 16]")
        layers = _layer_range(fields["layer_range"])
    reference = _reference(fields["model"], "`model`")
    assert reference is not None
    return Source(
        reference=reference,
        layers=layers,
        settings=_settings(fields.get("parameters"), method, is_model=True),
        where=node.where,
    )


def _layer_range(node: Node) -> tuple[int, int]:
    values = [item.value for item in node.items("`layer_range`")]
    if len(values) == 2 and all(type(value) is int for value in values) and 0 <= values[0] < values[1]:
        return values[0], values[1]
    raise node.error(say("merging.bad_layer_range", value=node.shown), help="layer_range: [0, 16]")


def _settings(node: Node | None, method: Method, *, is_model: bool) -> Settings:
    if node is None or node.value is None:
        return {}
    found = {}
    for name, value in node.names("`parameters`").items():
        parameter = method.parameter(name)
        if parameter is None:
            if name == "int8_mask":
                continue  # it says how much memory masks take, which every method is indifferent to
            known = [one.name for one in method.parameters]
            near = closest(name, known)
            remedy = say("merging.did_you_mean", name=near) if near else _takes(method, known)
            raise value.error(say("merging.unknown_parameter", method=method.name, name=name), help=remedy)
        if is_model and not parameter.per_model:
            raise value.error(
                say("merging.not_per_model", name=name), help=say("merging.not_per_model_help", name=name)
            )
        found[name] = read_setting(value, parameter)
    return found


def _takes(method: Method, known: list[str]) -> str:
    if not known:
        return say("merging.takes_nothing", method=method.name)
    return say("merging.takes", method=method.name, names=", ".join(known))


def _reference(node: Node | None, what: str) -> ModelReference | None:
    return None if node is None or node.value is None else ModelReference.parse(node.text(what))


def _dtype(node: Node | None, key: str) -> str | None:
    if node is None or node.value is None:
        return None
    name = node.text(f"`{key}`")
    if name in DTYPES:
        return name
    raise node.error(
        say("merging.bad_value", name=key, value=name), help=say("merging.one_of", allowed=", ".join(DTYPES))
    )


def _with_roles(config: MergeConfig, one: Slice) -> Slice:
    """See that a slice has the models that the method needs, and return it with the base told from the others.

    Of methods that subtract a base, the base is no source; of those that count it in, it is the first.
    """
    method, base = config.method, one.base or config.base
    others = [source for source in one.sources if source.reference != base]
    listed = next((source for source in one.sources if source.reference == base), None)
    if method.base in ("required", "endpoint") and base is None:
        raise ConfigError(
            say("merging.no_base", method=method.name), where=config.where, help=say("merging.no_base_help")
        )
    if method.base == "unused" and base is not None:
        raise ConfigError(
            say("merging.needless_base", method=method.name), where=config.where, help=say("merging.needless_base_help")
        )
    if method.base != "member" and listed is not None and listed.settings:
        raise ConfigError(
            say("merging.base_settings", name=next(iter(listed.settings))),
            where=listed.where,
            help=say("merging.base_settings_help"),
        )
    if method.base == "member" and base is not None and listed is None:
        # As anywhere in the field, a base of a method that has no use for one is a model like the others.
        others = [Source(reference=base, layers=one.sources[0].layers, settings={}, where=config.where), *others]
    elif method.base == "member":
        others = list(one.sources)
    num = len(others)
    if num < method.min_models or (method.max_models is not None and num > method.max_models):
        low, high = method.min_models, method.max_models
        allowed = f"{low}" if low == high else f"{low} ..." if high is None else f"{low} ... {high}"
        beside = say("merging.beside_base") if method.base in ("required", "endpoint") else ""
        raise ConfigError(
            say("merging.wrong_number", method=method.name, allowed=allowed, beside=beside, count=num), where=one.where
        )
    spans = {source.layers[1] - source.layers[0] for source in one.sources if source.layers is not None}
    if len(spans) > 1:
        raise ConfigError(say("merging.uneven_slice"), where=one.where, help=say("merging.uneven_slice_help"))
    if method.base in ("required", "endpoint", "optional") and base is not None:
        first = listed or Source(reference=base, layers=one.sources[0].layers, settings={}, where=config.where)
        others = [first, *others]
    return replace(one, sources=tuple(others), base=base)


def _plain(node: Node) -> Any:
    if isinstance(node.value, dict):
        return {name: _plain(child) for name, child in node.value.items()}
    if isinstance(node.value, list):
        return [_plain(child) for child in node.value]
    return node.value
