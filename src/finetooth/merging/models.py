"""`OpenModel`: a model whose headers and config are read, and none of its weights."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from finetooth.errors import MergeError
from finetooth.merging.adapters import Adapter, open_adapter
from finetooth.merging.headers import DTYPES, Entry, WeightFile, read_weight_file
from finetooth.merging.pickles import converted
from finetooth.merging.references import ModelReference, model_directory
from finetooth.merging.sources import AdaptedTensor, FileTensor, TensorSource
from finetooth.messages import say

EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "embed_in.weight", "word_embeddings.weight")
"""How names of input embeddings end."""
HEADS = ("lm_head.weight", "embed_out.weight")
"""How names of output embeddings end."""
BUFFERS = ("rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias", ".attention.bias", ".attention.masked_bias")
"""How names of tensors end that older checkpoints store and that no model needs: they are computed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenModel:
    """A model that tensors can be read from."""

    reference: ModelReference
    directory: Path
    config: Mapping[str, Any]
    files: tuple[WeightFile, ...]
    entries: Mapping[str, Entry]
    """Its tensors by name."""
    adapter: Adapter | None

    @property
    def embeddings(self) -> str | None:
        """The name of its input embeddings."""
        return next((name for name in self.entries if name.endswith(EMBEDDINGS)), None)

    @property
    def head(self) -> str | None:
        """The name of its output embeddings, where they are stored."""
        return next((name for name in self.entries if name.endswith(HEADS)), None)

    @property
    def is_tied(self) -> bool:
        """Whether input and output embeddings are one."""
        return self.was_tied and not (self.adapter is not None and self.adapter.unties)

    @property
    def was_tied(self) -> bool:
        """Whether they are one without the adapter."""
        return bool(self.text_config.get("tie_word_embeddings", self.config.get("tie_word_embeddings"))) or (
            self.head is None
        )

    @property
    def text_config(self) -> Mapping[str, Any]:
        """The part of the config that is about the language model."""
        part = self.config.get("text_config")
        return part if isinstance(part, Mapping) else self.config

    def tensor(self, name: str) -> TensorSource | None:
        """Return a tensor with the adapter's change; of a head that is not stored, the embeddings that it is one with.

        Raises:
            MergeError: Its dtype cannot be merged.
        """
        if name.endswith(HEADS) and self.is_tied and self.embeddings is not None:
            name = self.embeddings
        entry = self.entries.get(name)
        if entry is None:
            return None
        if self.adapter is not None and name in self.adapter.replaced:
            entry = self.adapter.replaced[name]
        if entry.dtype not in DTYPES:
            raise MergeError(
                say("merging.bad_dtype", name=name, dtype=entry.dtype),
                where=str(entry.file),
                help=say("merging.bad_dtype_help"),
            )
        if self.adapter is not None and name in self.adapter.factors:
            factors = self.adapter.factors[name]
            return AdaptedTensor(
                entry, factors.down, factors.up, factors.scale, factors.is_transposed, factors.magnitude
            )
        return FileTensor(entry)

    @property
    def fingerprints(self) -> dict[str, str]:
        """SHA-256 of the headers by file name, those of the adapter among them."""
        found = {one.file.name: one.fingerprint for one in self.files}
        if self.adapter is not None:
            found[f"{self.adapter.file.file.parent.name}/{self.adapter.file.file.name}"] = self.adapter.file.fingerprint
        return found

    @property
    def identity(self) -> list[tuple[str, str, int, int]]:
        """What must not change between a merge and its resumption: name, header, size and time of every file."""
        files = (*self.files, *((self.adapter.file,) if self.adapter else ()))
        return [(one.file.name, one.fingerprint, one.size_bytes, one.modified_ns) for one in files]


def open_model(reference: ModelReference, *, pickles: Path | None = None) -> OpenModel:
    """Read what a model's directory says.

    Args:
        reference: The model.
        pickles: A directory for what is converted from `.bin` files; `None`: such files are refused.

    Raises:
        MergeError: There is no such model, or its files are damaged.
    """
    directory = model_directory(reference.path, reference.revision)
    config = _config(directory)
    if (directory / "adapter_config.json").is_file() and not list(directory.glob("model*.safetensors")):
        raise MergeError(
            say("merging.is_adapter"),
            where=str(directory),
            help=say("merging.is_adapter_help", adapter=reference.path),
        )
    files = tuple(read_weight_file(file) for file in _weight_files(directory, pickles))
    entries: dict[str, Entry] = {}
    for one in files:
        for name, entry in one.entries.items():
            if name in entries:
                raise MergeError(
                    say("merging.twice", name=name, other=entries[name].file.name),
                    where=str(one.file),
                    help=say("merging.damaged_help"),
                )
            entries[name] = entry
    entries = {name: entry for name, entry in entries.items() if not name.endswith(BUFFERS)}
    model = OpenModel(
        reference=reference, directory=directory, config=config, files=files, entries=entries, adapter=None
    )
    return _adapted(model, reference) if reference.adapter else model


def _adapted(model: OpenModel, reference: ModelReference) -> OpenModel:
    """Return a model with its adapter; where that unties head and embeddings, the head begins as the embeddings."""
    assert reference.adapter is not None
    head = (model.head or HEADS[0]) if model.was_tied else None
    embeddings = model.embeddings
    adapter = open_adapter(reference.adapter, model.entries, scale=reference.scale, head=head, embeddings=embeddings)
    entries = dict(model.entries)
    if adapter.unties and head is not None and embeddings is not None:
        entries[head] = entries[embeddings]
    return replace(model, entries=entries, adapter=adapter)


def notes(models: Iterable[OpenModel]) -> Iterator[str]:
    """Yield what is noteworthy about the adapters of models; this reads their factors."""
    for model in models:
        if model.adapter is None:
            continue
        if model.adapter.is_idle:
            yield say("merging.idle_adapter", adapter=model.reference.adapter)
        if model.is_tied and model.embeddings in model.adapter.factors:
            yield say("merging.tied_embeddings", adapter=model.reference.adapter, name=model.embeddings)


def _config(directory: Path) -> dict[str, Any]:
    path = directory / "config.json"
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MergeError(
            say("merging.unreadable", reason=(error.strerror or str(error)).lower()),
            where=str(path),
            help=say("merging.no_model_help"),
        ) from error
    except ValueError as error:
        raise MergeError(say("merging.not_json"), where=str(path), help=say("merging.damaged_help")) from error
    if not isinstance(value, dict):
        raise MergeError(say("merging.not_json"), where=str(path), help=say("merging.damaged_help"))
    return value


def _weight_files(directory: Path, pickles: Path | None) -> list[Path]:
    index = directory / "model.safetensors.index.json"
    single = directory / "model.safetensors"
    if index.is_file():
        names = sorted(set(_weight_map(index).values()))
        missing = [name for name in names if not (directory / name).is_file()]
        if missing:
            raise MergeError(
                say("merging.no_shard", name=missing[0]), where=str(index), help=say("merging.damaged_help")
            )
        return [directory / name for name in names]
    if single.is_file():
        return [single]
    others = sorted(directory.glob("*.safetensors"))
    if others:
        return others
    binaries = sorted(directory.glob("pytorch_model*.bin"))
    if not binaries:
        raise MergeError(say("merging.no_weights"), where=str(directory), help=say("merging.no_model_help"))
    if pickles is None:
        raise MergeError(say("merging.pickle"), where=str(binaries[0]), help=say("merging.pickle_help"))
    return [converted(binary, pickles) for binary in binaries]


def _weight_map(index: Path) -> dict[str, str]:
    try:
        value = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        names = {str(name): str(file) for name, file in value.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MergeError(say("merging.not_json"), where=str(index), help=say("merging.damaged_help")) from error
    for file in names.values():
        # A name in a file must not lead out of its directory.
        if Path(file).name != file:
            raise MergeError(say("merging.no_shard", name=file), where=str(index), help=say("merging.damaged_help"))
    return names
