"""Where a tensor stands among a model's layers, told from its name: `model.layers.3.mlp.up_proj.weight` in layer 3."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class LayerName(NamedTuple):
    """A tensor's name in its three parts."""

    prefix: str
    """Up to the number, with the dot."""
    number: int
    suffix: str
    """From after the number, with the dot."""

    def at(self, number: int) -> str:
        """Return the name of the same tensor in another layer."""
        return f"{self.prefix}{number}{self.suffix}"


def layer_name(name: str) -> LayerName | None:
    """Return the parts of a name, or `None` where the tensor is in no layer.

    The first number counts layers, as in all of transformers' decoders; further ones count experts.
    """
    parts = name.split(".")
    for place, part in enumerate(parts[1:-1], 1):
        if part.isdecimal():
            return LayerName(".".join(parts[:place]) + ".", int(part), "." + ".".join(parts[place + 1 :]))
    return None


def num_layers(names: Iterable[str]) -> dict[str, int]:
    """Return the number of layers by the prefix of their names.

    A language model has one such prefix, a model with towers several.
    """
    found: dict[str, int] = {}
    for name in names:
        if parts := layer_name(name):
            found[parts.prefix] = max(found.get(parts.prefix, 0), parts.number + 1)
    return found


def in_order(name: str) -> tuple[object, ...]:
    """Return a key that sorts names as a model is read: embeddings, layers by number, what comes after."""
    parts = layer_name(name)
    if parts is not None:
        return 1, parts.prefix, parts.number, parts.suffix
    return (0 if "embed" in name or "wte" in name or "wpe" in name else 2), name, 0, ""
