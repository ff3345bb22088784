"""`combine_adapters`: one adapter of several of one base, as peft's `add_weighted_adapter` makes it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from finetooth.config import closest
from finetooth.errors import ConfigError
from finetooth.merging.adapterfiles import CONFIG, AdapterFile, Pair, read_adapter
from finetooth.merging.headers import DTYPES
from finetooth.merging.lora.card import combination_card
from finetooth.merging.lora.directory import RECORD, adapter_directory
from finetooth.merging.lora.truncation import nearest, nearest_to_product
from finetooth.merging.lora.ways import WAYS, Pruning, Way
from finetooth.merging.lora.weights import (
    AdapterWeights,
    Slot,
    adapter_weights,
    copied_slot,
    names_of,
    read_whole,
    slots_of,
)
from finetooth.merging.methods.draws import Draws
from finetooth.merging.sources import Buffer, Files
from finetooth.messages import say
from finetooth.writing import whole_file

MAJORITIES = ("total", "frequency")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Combination:
    """What is asked for."""

    adapters: Sequence[AdapterFile]
    way: Way
    weights: Sequence[float]
    density: float
    counts_signs: bool
    rank: int
    dtype: torch.dtype
    seed: int


def combine_adapters(
    adapters: Sequence[str | Path],
    output: str | Path,
    *,
    way: str,
    weights: float | Sequence[float],
    density: float | None = None,
    rank: int | None = None,
    majority_sign: str = "total",
    dtype: str | None = None,
    seed: int = 0,
    force: bool = False,
) -> Path:
    """Combine adapters of one base into one.

        finetooth.combine_adapters(["polite", "brief"], "both", way="ties", weights=[0.6, 0.4], density=0.5)

    Args:
        adapters: Directories or hub ids.
        output: The directory that is made; peft loads it.
        way: A name of `WAYS`, peft's `combination_type`.
        weights: The weight of each adapter, or one for all; negative ones subtract.
        density: The share of elements that is kept, above 0 to 1; for `ties`, `dare_...` and `magnitude_prune`.
        rank: The rank of the result, for `svd` and `..._svd`; the largest of the adapters' if not given.
        majority_sign: `total` (of values) or `frequency` (of signs), for `ties` and `dare_ties`.
        dtype: `float32`, `bfloat16` or `float16`; that of the first adapter if not given. Computed is in fp32.
        seed: Of `dare_...`; the numbers depend on it, on names and places alone.
        force: Whether an adapter at that place, made by finetooth, is replaced.

    Returns:
        The directory.

    Raises:
        ConfigError: A value is wrong, or means nothing here.
        MergeError: The adapters cannot be combined so.
        FinetoothError: The output cannot be written.
    """
    chosen = _way(way)
    spread = _weights(weights, len(adapters))
    _check(chosen, density, rank, majority_sign)
    opened = [read_adapter(str(path)) for path in adapters]
    _same(opened)
    first = next(iter(opened[0].pairs.values()))
    combination = _Combination(
        adapters=opened,
        way=chosen,
        weights=spread,
        density=1.0 if density is None else density,
        counts_signs=majority_sign == "frequency",
        rank=_rank(opened, chosen, rank),
        dtype=getattr(torch, dtype) if dtype else DTYPES[first.down.dtype],
        seed=seed,
    )
    record: dict[str, Any] = {"combine": way, "adapters": [str(path) for path in adapters], "weights": spread}
    given = {"density": density, "rank": combination.rank, "majority_sign": majority_sign if chosen.elects else None}
    record |= {key: value for key, value in given.items() if value is not None}
    record |= {"dtype": str(combination.dtype).removeprefix("torch.")} | ({"seed": seed} if chosen.is_random else {})
    with adapter_directory(output, force=force) as directory:
        _write(directory, combination)
        text = yaml.safe_dump(record, allow_unicode=True, sort_keys=False)
        for name, content in (
            (CONFIG, json.dumps(_config(combination), indent=2, ensure_ascii=False, sort_keys=True) + "\n"),
            (RECORD, text),
            ("README.md", combination_card(Path(output).name, text, opened)),
        ):
            with whole_file(directory / name) as file:
                file.write(content)
    return Path(output)


def _way(name: str) -> Way:
    if name in WAYS:
        return WAYS[name]
    near = closest(name, list(WAYS))
    remedy = say("merging.did_you_mean", name=near) if near else say("merging.one_of", allowed=", ".join(WAYS))
    raise ConfigError(say("lora.unknown_way", name=name), where="--combine", help=remedy)


def _weights(weights: float | Sequence[float], num_adapters: int) -> list[float]:
    given = [weights] if isinstance(weights, int | float) else list(weights)
    if len(given) not in (1, num_adapters):
        what = say("lora.how_many", count=len(given), adapters=num_adapters)
        raise ConfigError(what, where="--weight", help=say("lora.how_many_help"))
    return [float(weight) for weight in (given * num_adapters if len(given) == 1 else given)]


def _check(way: Way, density: float | None, rank: int | None, majority_sign: str) -> None:
    """Refuse values that are wrong, or that the way has no use for."""
    if majority_sign not in MAJORITIES:
        what = say("merging.bad_value", name="majority_sign", value=majority_sign)
        raise ConfigError(what, where="--majority-sign", help=say("merging.one_of", allowed=", ".join(MAJORITIES)))
    if way.needs_density and (density is None or not 0 < density <= 1):
        what = say("lora.needs_density", way=way.name, value=density if density is not None else "-")
        raise ConfigError(what, where="--density", help="--density 0.5")
    if rank is not None and rank < 1:
        raise ConfigError(say("lora.bad_rank", value=rank), where="--rank", help="--rank 16")
    idle = {
        "--density": density is not None and not way.needs_density,
        "--rank": rank is not None and not way.cuts,
        "--majority-sign": majority_sign != "total" and not way.elects,
    }
    for flag, is_idle in idle.items():
        if is_idle:
            raise ConfigError(say("lora.idle", flag=flag, way=way.name), where=flag, help=say("lora.idle_help"))


def _same(adapters: Sequence[AdapterFile]) -> None:
    """See that adapters are of one base, change the same modules, and hold the same tensors whole."""
    first = adapters[0]
    for adapter in adapters:
        if adapter.config.get("use_dora"):
            # A length of rows has no weighted sum that means anything; peft leaves the new adapter without.
            raise adapter.refused(say("lora.dora"), say("lora.dora_help"))
    for adapter in adapters[1:]:
        own, other = (one.config.get("base_model_name_or_path") for one in (adapter, first))
        if own and other and not _is_one_model(own, other):
            raise adapter.refused(say("lora.other_base", base=own, other=other), say("lora.other_base_help"))
        for one, than in ((adapter, first), (first, adapter)):
            if missing := sorted(than.pairs.keys() - one.pairs.keys()):
                what = say("lora.other_modules", name=missing[0], count=len(missing), other=str(than.directory))
                raise one.refused(what, say("lora.other_modules_help"))
        for module, pair in adapter.pairs.items():
            shapes = _shape(pair), _shape(first.pairs[module])
            if shapes[0] != shapes[1]:
                values = {"shape": list(shapes[0]), "other_shape": list(shapes[1]), "other": str(first.directory)}
                raise adapter.refused(say("merging.shapes", name=module, **values), say("lora.other_base_help"))
        _same_whole(adapter, first)


def _same_whole(adapter: AdapterFile, first: AdapterFile) -> None:
    """See that tensors that are held whole are the same: which of two it should be, nobody has said."""
    own, other = adapter.stored_whole, first.stored_whole
    names = sorted(own.keys() ^ other.keys())
    files = Files()
    try:
        buffer = Buffer(files)
        for name in sorted(own.keys() & other.keys()):
            values = [read_whole(entry, files, buffer) for entry in (own[name], other[name])]
            if values[0].shape != values[1].shape or not torch.equal(*values):
                names.append(name)
    finally:
        files.close()
    if names:
        what = say("lora.other_whole", name=names[0], other=str(first.directory))
        raise adapter.refused(what, say("lora.other_whole_help"))


def _is_one_model(own: str, other: str) -> bool:
    paths = Path(own).expanduser(), Path(other).expanduser()
    return own.rstrip("/") == other.rstrip("/") or (
        all(path.exists() for path in paths) and paths[0].samefile(paths[1])
    )


def _shape(pair: Pair) -> tuple[int, int]:
    return pair.up.shape[0], pair.down.shape[1]


def _rank(adapters: Sequence[AdapterFile], way: Way, rank: int | None) -> int:
    """Return the rank of the result, and see that ranks are equal where they have to be."""
    ranks = [max(adapter.rank, *(pair.rank for pair in adapter.pairs.values())) for adapter in adapters]
    if way.cuts:
        return rank or max(ranks)
    if way.blend is None:
        return sum(ranks)
    for adapter in adapters[1:]:
        for module, pair in adapter.pairs.items():
            other = adapters[0].pairs[module].rank
            if pair.rank != other:
                what = say("lora.ranks", way=way.name, name=module, rank=pair.rank, other_rank=other)
                raise adapter.refused(what, say("lora.ranks_help"))
    return max(ranks)


def _write(directory: Path, combination: _Combination) -> None:
    """Combine module by module: no more than one is held in memory."""
    first = combination.adapters[0]
    whole = {entry.name: entry for entry in first.stored_whole.values()}
    slots = [*_slots(combination), *(copied_slot(name, entry) for name, entry in sorted(whole.items()))]
    files = Files()
    try:
        buffer = Buffer(files)
        with adapter_weights(directory, slots) as weights:
            for module in first.pairs:
                _combine(combination, module, weights, files, buffer)
            for name, entry in whole.items():
                files.open(entry.file)
                weights.copy(name, entry, buffer)
    finally:
        files.close()


def _slots(combination: _Combination) -> Iterator[Slot]:
    for module, pair in combination.adapters[0].pairs.items():
        out, inner = _shape(pair)
        yield from slots_of(
            module,
            out=out,
            inner=inner,
            rank=combination.rank,
            dtype=combination.dtype,
            is_embedding=pair.is_embedding,
        )


def _combine(combination: _Combination, module: str, weights: AdapterWeights, files: Files, buffer: Buffer) -> None:
    pairs = [adapter.pairs[module] for adapter in combination.adapters]
    downs = [read_whole(pair.down, files, buffer) for pair in pairs]
    ups = [read_whole(pair.up, files, buffer) for pair in pairs]
    for adapter, *factors in zip(combination.adapters, downs, ups, strict=True):
        num_bad = sum(int(one.isfinite().logical_not().count_nonzero()) for one in factors)
        if num_bad:
            raise adapter.refused(say("merging.not_finite", name=module, count=num_bad), say("lora.not_finite_help"))
    scales = [adapter.scale(module) for adapter in combination.adapters]
    up, down = _blend(combination, module, ups, downs, scales)
    down_name, up_name = names_of(module, is_embedding=pairs[0].is_embedding)
    weights.write(down_name, down)
    weights.write(up_name, up)


def _blend(
    combination: _Combination, module: str, ups: list[Tensor], downs: list[Tensor], scales: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """Return B and A of a module, whose change is then B @ A."""
    way, weights = combination.way, combination.weights
    shares = [weight * scale for weight, scale in zip(weights, scales, strict=True)]
    if way.blend is None:
        return torch.cat(ups, 1), torch.cat([down * share for down, share in zip(downs, shares, strict=True)])
    if way.name == "svd":
        scaled = [down * share for down, share in zip(downs, shares, strict=True)]
        return nearest_to_product(torch.cat(ups, 1), torch.cat(scaled), combination.rank)
    if way.cuts:
        changes = [up @ down * scale for up, down, scale in zip(ups, downs, scales, strict=True)]
        return nearest(way.blend(changes, weights, _pruning(combination, f"{module}.weight")), combination.rank)
    # The sign goes to one factor alone: on both, it would vanish from their product.
    roots = [abs(share) ** 0.5 for share in shares]
    signed = [root if share >= 0 else -root for root, share in zip(roots, shares, strict=True)]
    down = way.blend(downs, signed, _pruning(combination, f"{module}.lora_A"))
    return way.blend(ups, roots, _pruning(combination, f"{module}.lora_B")), down


def _pruning(combination: _Combination, name: str) -> Pruning:
    return Pruning(
        density=combination.density,
        counts_signs=combination.counts_signs,
        draws=[Draws.of(combination.seed, name, index) for index in range(len(combination.adapters))],
    )


def _config(combination: _Combination) -> Mapping[str, Any]:
    """Return the first adapter's config, with what is otherwise now.

    peft keeps the first one's `use_rslora` in the new adapter, which then is too strong by the root of its rank; here
    the scale is 1, as its factors are made for.
    """
    return {
        **combination.adapters[0].config,
        "r": combination.rank,
        "lora_alpha": combination.rank,
        "rank_pattern": {},
        "alpha_pattern": {},
        "use_rslora": False,
        "init_lora_weights": True,
        "inference_mode": True,
    }
