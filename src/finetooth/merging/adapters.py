"""`Adapter`: a LoRA that is merged into its base as the base is read: W + scale * B @ A, in fp32.

Hu et al., 2021, arXiv:2106.09685; with the magnitudes of DoRA, Liu et al., 2024, arXiv:2402.09353.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from finetooth.merging.adapterfiles import AdapterFile, Pair, read_adapter
from finetooth.merging.headers import Entry, WeightFile
from finetooth.merging.sources import Buffer, Files
from finetooth.messages import say

CONV1D = (".c_attn", ".c_proj", ".c_fc", ".q_attn")
"""How modules of GPT-2 are called that store their weight as `[in, out]` (transformers, `Conv1D`)."""

_AT_ONCE = 1 << 20
"""Elements that are looked at for one that is not zero."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Factors:
    """The two factors of one tensor's change."""

    down: Entry
    """A, `[rank, in]`."""
    up: Entry
    """B, `[out, rank]`."""
    scale: float
    is_transposed: bool
    """Whether the tensor is stored as `[in, out]`, as embeddings are and GPT-2's layers: its change is (B @ A).T."""
    magnitude: Entry | None
    """The length of each row of the changed tensor, `[out]` (DoRA)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """An adapter that fits a model."""

    file: WeightFile
    factors: Mapping[str, Factors]
    """By the name of the tensor that they change."""
    replaced: Mapping[str, Entry]
    """Tensors that it holds whole (`modules_to_save`), by the name of the tensor that they replace."""
    unties: bool
    """Whether the model ties head and embeddings, and the adapter holds one of them, or each apart."""

    @property
    def is_idle(self) -> bool:
        """Whether every B is zero, as before training, and nothing else is changed; this reads them."""
        if self.replaced or any(one.magnitude for one in self.factors.values()):
            return False
        return all(_is_zero(one.up) for one in self.factors.values())


def open_adapter(
    path: str,
    base: Mapping[str, Entry],
    *,
    scale: float = 1.0,
    head: str | None = None,
    embeddings: str | None = None,
) -> Adapter:
    """Read an adapter's config and header, and see that it fits.

    Args:
        path: A directory or hub id.
        base: The tensors of the model that it is for.
        scale: Multiplies the change of its factors. What it holds whole is not touched by it, as in peft.
        head: The name of a head that is tied to the embeddings and not stored, if the model has one.
        embeddings: The name of those embeddings.

    Raises:
        MergeError: It is no LoRA, changes a tensor that the model lacks, or is of a kind that is not supported.
    """
    adapter = read_adapter(path)
    factors = {}
    turned = bool(adapter.config.get("fan_in_fan_out")) or any(
        module.endswith(CONV1D) and _fit(pair, base.get(f"{module}.weight")) == (False, True)
        for module, pair in adapter.pairs.items()
    )
    for module, pair in adapter.pairs.items():
        if f"{module}.weight" == head:
            # peft adds it to the embeddings too, which the adapter never saw in training; and where both have factors,
            # it adds both to the one tensor.
            raise adapter.refused(say("merging.tied_head", name=module), say("merging.tied_head_help"))
        fits, fits_turned = _fit(pair, base.get(f"{module}.weight"))
        is_transposed = fits_turned and (turned or pair.is_embedding)
        if not is_transposed and (pair.is_embedding or not fits):
            raise adapter.refused(say("merging.adapter_misfit", name=module))
        factors[f"{module}.weight"] = _factors(adapter, module, pair, scale, is_transposed=is_transposed)
    whole = dict(adapter.whole)
    unties = False
    if head is not None and {head, embeddings} & whole.keys():
        unties = not adapter.config.get("ensure_weight_tying")
        if not unties:
            del whole[head]  # the same as the embeddings
    replaced = {name: entry for name, entry in adapter.copied.items() if name in base} | whole
    for name, entry in replaced.items():
        known = base.get(embeddings if name == head and embeddings else name)
        if known is None or known.shape != entry.shape:
            raise adapter.refused(say("merging.adapter_misfit", name=name))
    return Adapter(file=adapter.file, factors=factors, replaced=replaced, unties=unties)


def _fit(pair: Pair, whole: Entry | None) -> tuple[bool, bool]:
    """Return whether a change fits a tensor as it is, and whether it does transposed.

    peft asks the layer's class, which no file tells; its config tells that of the layer that came last. So the shapes
    decide, and of square tensors the config and the other layers.
    """
    if whole is None:
        return False, False
    shape = (pair.up.shape[0], pair.down.shape[1])
    return whole.shape == shape, whole.shape == shape[::-1]


def _factors(adapter: AdapterFile, module: str, pair: Pair, scale: float, *, is_transposed: bool) -> Factors:
    if bool(adapter.config.get("use_dora")) != (pair.magnitude is not None):
        raise adapter.refused(say("merging.adapter_misfit", name=f"{module}.lora_magnitude_vector"))
    if pair.magnitude is not None:
        if is_transposed:
            # The lengths are those of columns then, for which the whole tensor would have to be read first.
            raise adapter.refused(say("merging.adapter_option", name=f"use_dora ({module})"))
        if pair.magnitude.shape != pair.up.shape[:1]:
            raise adapter.refused(say("merging.adapter_misfit", name=module))
    return Factors(
        down=pair.down,
        up=pair.up,
        scale=scale * adapter.scale(module),
        is_transposed=is_transposed,
        magnitude=pair.magnitude,
    )


def _is_zero(entry: Entry) -> bool:
    files = Files()
    try:
        files.open(entry.file)
        buffer = Buffer(files)
        for start in range(0, entry.num_elements, _AT_ONCE):
            if buffer.read(entry, start, min(_AT_ONCE, entry.num_elements - start)).count_nonzero():
                return False
        return True
    finally:
        files.close()
