"""`extract_adapter`: the change of a fine-tune as a LoRA of a given rank, and how much of it that keeps."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from finetooth.errors import ConfigError, MergeError
from finetooth.merging.adapterfiles import CONFIG, PREFIX
from finetooth.merging.headers import DTYPES
from finetooth.merging.layers import in_order
from finetooth.merging.lora.card import extraction_card
from finetooth.merging.lora.directory import RECORD, adapter_directory
from finetooth.merging.lora.linears import can_be_saved, is_conv1d, is_linear, module_of, target_modules
from finetooth.merging.lora.truncation import nearest, sketched
from finetooth.merging.lora.weights import AdapterWeights, Slot, adapter_weights, names_of, slots_of
from finetooth.merging.models import EMBEDDINGS, HEADS, OpenModel, open_model
from finetooth.merging.references import ModelReference
from finetooth.merging.sources import Buffer, Files, TensorSource
from finetooth.messages import say
from finetooth.writing import whole_file

_AT_ONCE = 1 << 20
"""Elements that are compared, or copied, at once."""

Progress = Callable[[int, int], None]
"""Is told the bytes of the base's weights that are done, and how many there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What an adapter keeps of the change of one layer, or of several together."""

    name: str
    energy: float
    """The squared Frobenius norm of the change."""
    lost: float
    """That of its difference from what the adapter holds."""

    @property
    def share(self) -> float:
        """The share of the energy that is kept."""
        return 1 - self.lost / self.energy

    @property
    def error(self) -> float:
        """The relative error, in the Frobenius norm."""
        return math.sqrt(self.lost / self.energy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Extraction:
    """An adapter that was extracted."""

    directory: Path
    rank: int
    layers: tuple[Kept, ...]
    """The linear layers that changed, in the order of the model."""
    saved: tuple[str, ...]
    """Modules that changed and are held whole: embeddings, norms."""
    left: tuple[str, ...]
    """Tensors that changed and that the adapter does not hold: biases of linear layers, experts."""

    @property
    def total(self) -> Kept:
        """All linear layers together."""
        return Kept(
            name="total",
            energy=math.fsum(one.energy for one in self.layers),
            lost=math.fsum(one.lost for one in self.layers),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Changes:
    """What differs between two models."""

    base: OpenModel
    tuned: OpenModel
    linear: tuple[str, ...]
    """Names of weights of linear layers."""
    saved: tuple[str, ...]
    """Names of tensors that are held whole, all of each module's."""
    left: tuple[str, ...]
    is_tied: bool
    """Whether head and embeddings are one in both."""


def extract_adapter(
    model: str,
    output: str | Path,
    *,
    base: str,
    rank: int = 16,
    exact: bool = True,
    dtype: str = "float32",
    seed: int = 0,
    force: bool = False,
    allow_pickle: bool = False,
    on_progress: Progress | None = None,
) -> Extraction:
    """Extract a LoRA from a fine-tune: of each linear layer's change, the nearest of that rank.

        finetooth.extract_adapter("fine-tuned", "lora", base="base", rank=32).total.share

    Args:
        model: The fine-tune: a directory or hub id.
        output: The directory that is made; peft loads it onto the base.
        base: The model that it was made from.
        rank: The rank of the factors.
        exact: Whether by all singular values; otherwise by random sketches, faster and nearly as near.
        dtype: Of the factors: `float32`, `bfloat16` or `float16`. What is held whole keeps the fine-tune's.
        seed: Of the sketches.
        force: Whether an adapter at that place, made by finetooth, is replaced.
        allow_pickle: Whether `.bin` files are read, as weights alone.
        on_progress: Is told how far it is.

    Returns:
        The adapter, and what it keeps.

    Raises:
        ConfigError: The rank is none.
        MergeError: The models cannot be compared, are the same, or hold what is no number.
        FinetoothError: The output cannot be written.
    """
    if rank < 1:
        raise ConfigError(say("lora.bad_rank", value=rank), where="--rank", help="--rank 16")
    record = {"extract": model, "base": base, "rank": rank, "exact": exact, "dtype": dtype}
    files = Files()
    try:
        with adapter_directory(output, force=force) as directory:
            pickles = directory.parent / "pickles" if allow_pickle else None
            opened, tuned = (open_model(ModelReference.parse(one), pickles=pickles) for one in (base, model))
            buffer = Buffer(files)
            changes = _changes(opened, tuned, files, buffer)
            slots = list(_slots(changes, rank, getattr(torch, dtype)))
            layers = []
            with adapter_weights(directory, slots) as weights:
                total = sum(opened.entries[name].size_bytes for name in changes.linear)
                done = 0
                for name in changes.linear:
                    layers.append(_factor(changes, name, rank, exact, seed, weights, files, buffer))
                    done += opened.entries[name].size_bytes
                    if on_progress is not None:
                        on_progress(done, total)
                for name in changes.saved:
                    _copy(changes, name, weights, files, buffer)
            extraction = Extraction(
                directory=Path(output),
                rank=rank,
                layers=tuple(layers),
                saved=tuple(dict.fromkeys(module_of(name) for name in changes.saved)),
                left=changes.left,
            )
            text = yaml.safe_dump(record if exact else record | {"seed": seed}, allow_unicode=True, sort_keys=False)
            fingerprints = {base: opened.fingerprints, model: tuned.fingerprints}
            card = extraction_card(Path(output).name, text, base, list(_markdown(extraction)), fingerprints)
            config = json.dumps(_config(changes, base, rank), indent=2, ensure_ascii=False, sort_keys=True) + "\n"
            for file_name, content in ((CONFIG, config), (RECORD, text), ("README.md", card)):
                with whole_file(directory / file_name) as file:
                    file.write(content)
    finally:
        files.close()
    return extraction


def _changes(base: OpenModel, tuned: OpenModel, files: Files, buffer: Buffer) -> _Changes:
    """Compare two models tensor by tensor."""
    is_tied = base.is_tied and tuned.is_tied
    names = [name for name in {**base.entries, **tuned.entries} if not (is_tied and name.endswith(HEADS))]
    names.sort(key=in_order)
    changed = [name for name in names if _differs(*_both(base, tuned, name), name, files, buffer)]
    if not changed:
        raise MergeError(
            say("lora.unchanged", base=str(base.reference)), where=str(tuned.directory), help=say("lora.unchanged_help")
        )
    can_be_linear = {
        name
        for name in names
        # A head that only one of the models has of its own is held whole, which unties the base as it loads.
        if name in base.entries and is_linear(name, base.entries[name]) and not (base.is_tied and name.endswith(HEADS))
    }
    linear = tuple(name for name in changed if name in can_be_linear)
    others = dict.fromkeys(module_of(name) for name in changed if name not in can_be_linear)
    whole = {module for module in others if can_be_saved(module, names) and f"{module}.weight" not in can_be_linear}
    if not linear:
        raise MergeError(say("lora.no_linear"), where=str(tuned.directory), help=say("lora.no_linear_help"))
    return _Changes(
        base=base,
        tuned=tuned,
        linear=linear,
        saved=tuple(name for name in names if module_of(name) in whole),
        left=tuple(name for name in changed if name not in can_be_linear and module_of(name) not in whole),
        is_tied=is_tied,
    )


def _both(base: OpenModel, tuned: OpenModel, name: str) -> tuple[TensorSource, TensorSource]:
    """Return a tensor of both models."""
    one, other = base.tensor(name), tuned.tensor(name)
    if one is None or other is None:
        without, having = (base, tuned) if one is None else (tuned, base)
        raise MergeError(
            say("merging.missing", name=name, other=str(having.reference)),
            where=str(without.directory),
            help=say("merging.missing_help"),
        )
    if one.shape != other.shape:
        values = {"shape": list(other.shape), "other": str(base.reference), "other_shape": list(one.shape)}
        is_vocabulary = name.endswith((*EMBEDDINGS, *HEADS))
        raise MergeError(
            say("merging.vocabularies" if is_vocabulary else "merging.shapes", name=name, **values),
            where=str(tuned.directory),
            help=say("lora.resized_help" if is_vocabulary else "merging.shapes_help"),
        )
    return one, other


def _differs(one: TensorSource, other: TensorSource, name: str, files: Files, buffer: Buffer) -> bool:
    """Return whether two tensors differ, and see that both are of numbers."""
    num_elements = math.prod(one.shape)
    differs = False
    for start in range(0, num_elements, _AT_ONCE):
        count = min(_AT_ONCE, num_elements - start)
        parts = torch.empty((2, count))
        for source, into_N in zip((one, other), parts, strict=True):
            _read(source, start, into_N, files, buffer)
            if not torch.isfinite(into_N.sum()) and not torch.isfinite(into_N).all():
                count = int(torch.isfinite(into_N).logical_not().count_nonzero())
                what = say("merging.not_finite", name=name, count=count)
                raise MergeError(what, where=str(source.entries[0].file))
        differs = differs or not torch.equal(parts[0], parts[1])
    return differs


def _slots(changes: _Changes, rank: int, dtype: torch.dtype) -> Iterator[Slot]:
    for name in changes.linear:
        out, inner = changes.base.entries[name].shape
        if is_conv1d(name, changes.base.config):
            out, inner = inner, out
        yield from slots_of(module_of(name), out=out, inner=inner, rank=rank, dtype=dtype)
    for name in changes.saved:
        tensor = changes.tuned.tensor(name)
        assert tensor is not None
        yield Slot(f"{PREFIX}{name}", tensor.shape, DTYPES[tensor.entries[0].dtype])
    if (head := _tied_head(changes)) is not None:
        embeddings, name = head
        tensor = changes.tuned.tensor(embeddings)
        assert tensor is not None
        yield Slot(f"{PREFIX}{name}", tensor.shape, DTYPES[tensor.entries[0].dtype])


def _tied_head(changes: _Changes) -> tuple[str, str] | None:
    """Return embeddings that are held whole, and the head that is tied to them: peft wants both, and ties them."""
    embeddings = changes.tuned.embeddings
    if not changes.is_tied or embeddings not in changes.saved:
        return None
    return embeddings, changes.base.head or HEADS[0]


def _factor(
    changes: _Changes,
    name: str,
    rank: int,
    exact: bool,
    seed: int,
    weights: AdapterWeights,
    files: Files,
    buffer: Buffer,
) -> Kept:
    """Write the factors of one layer; no more than that layer is held in memory."""
    one, other = _both(changes.base, changes.tuned, name)
    before_N, after_N = torch.empty(math.prod(one.shape)), torch.empty(math.prod(one.shape))
    _read(one, 0, before_N, files, buffer)
    _read(other, 0, after_N, files, buffer)
    change = after_N.sub_(before_N).view(one.shape)
    del before_N
    if is_conv1d(name, changes.base.config):
        change = change.T
    up, down = nearest(change, rank) if exact else sketched(change, rank, seed)
    down_name, up_name = names_of(module_of(name))
    down, up = weights.write(down_name, down), weights.write(up_name, up)
    return Kept(name=module_of(name), energy=_energy(change), lost=_energy(change - up @ down))


def _energy(matrix: Tensor) -> float:
    """Return the squared Frobenius norm; row by row in fp64, which needs no copy of the whole."""
    return math.fsum(float(row.double().square().sum()) for row in matrix)


def _copy(changes: _Changes, name: str, weights: AdapterWeights, files: Files, buffer: Buffer) -> None:
    """Write a tensor of the fine-tune whole, and once more for a head that is tied to it."""
    tensor = changes.tuned.tensor(name)
    assert tensor is not None
    head = _tied_head(changes)
    names = [name, head[1]] if head is not None and head[0] == name else [name]
    num_elements = math.prod(tensor.shape)
    for start in range(0, num_elements, _AT_ONCE):
        part_N = torch.empty(min(_AT_ONCE, num_elements - start))
        _read(tensor, start, part_N, files, buffer)
        for one in names:
            weights.write_part(f"{PREFIX}{one}", start, part_N)


def _read(source: TensorSource, start: int, into_N: Tensor, files: Files, buffer: Buffer) -> None:
    for entry in source.entries:
        files.open(entry.file)
    source.read(start, into_N, buffer)


def _config(changes: _Changes, base: str, rank: int) -> dict[str, Any]:
    """Return what peft reads: alpha is the rank, so that the scale is 1."""
    config = changes.base.config
    modules = {module_of(name) for name in changes.base.entries}
    architectures = config.get("architectures") or [""]
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM" if str(architectures[0]).endswith(("ForCausalLM", "LMHeadModel")) else None,
        "base_model_name_or_path": base,
        "r": rank,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": any(is_conv1d(name, config) for name in changes.linear),
        "target_modules": target_modules({module_of(name) for name in changes.linear}, modules),
        "modules_to_save": list(_modules_to_save(changes)) or None,
        "init_lora_weights": True,
        "inference_mode": True,
        # Absent where it says nothing: peft before 0.18 does not know it.
        **({"ensure_weight_tying": True} if _tied_head(changes) is not None else {}),
    }


def _modules_to_save(changes: _Changes) -> Iterator[str]:
    """Yield the modules that are held whole, each by its whole name: peft takes any module whose name ends so."""
    yield from dict.fromkeys(module_of(name) for name in changes.saved)
    if (head := _tied_head(changes)) is not None:
        # peft ties the two where it knows one by its name, and of GPT-2 it knows the head alone.
        yield module_of(head[1])


def _markdown(extraction: Extraction) -> Iterator[str]:
    """Yield a table of what is kept, for the card."""
    yield "| layer | energy kept | relative error |"
    yield "| --- | ---: | ---: |"
    for one in (*extraction.layers, extraction.total):
        yield f"| {one.name} | {one.share:.4%} | {one.error:.3e} |"
    if extraction.saved:
        yield f"\nHeld whole: {', '.join(f'`{name}`' for name in extraction.saved)}."
    if extraction.left:
        yield f"\nChanged in the fine-tune and not held: {', '.join(f'`{name}`' for name in extraction.left)}."
