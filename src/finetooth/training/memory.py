"""How much memory a run takes, about: from the headers of the weights, without loading any."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetooth.config import Config
from finetooth.weightfiles import read_header

_NO_LINEAR = ("embed", "lm_head", "norm", "wte", "wpe")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shapes:
    """The tensors of a model by name."""

    sizes: Mapping[str, tuple[int, ...]]
    hidden_size: int
    intermediate_size: int
    num_layers: int
    vocab_size: int
    config: Mapping[str, Any]
    """Of the text model, as config.json holds it."""

    @property
    def num_weights(self) -> int:
        """Return the number of weights."""
        return sum(math.prod(size) for size in self.sizes.values())

    def num_adapter_weights(self, rank: int) -> int:
        """Return the weights of an adapter on all linear layers: rank times (inputs and outputs) of each."""
        return sum(
            rank * sum(size)
            for name, size in self.sizes.items()
            if len(size) == 2 and not any(word in name for word in _NO_LINEAR)
        )


def read_shapes(path: str) -> Shapes | None:
    """Return the shapes of a directory's weights; `None` where it holds none that can be read."""
    directory = Path(path).expanduser()
    try:
        config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
        sizes: dict[str, tuple[int, ...]] = {}
        for file in sorted(directory.glob("*.safetensors")):
            sizes |= {name: tuple(entry["shape"]) for name, entry in read_header(file).items()}
        text = config.get("text_config") or config
        hidden = int(text["hidden_size"])
        return (
            Shapes(
                sizes=sizes,
                hidden_size=hidden,
                intermediate_size=int(text.get("intermediate_size") or 4 * hidden),
                num_layers=int(text["num_hidden_layers"]),
                vocab_size=int(text["vocab_size"]),
                config=text,
            )
            if sizes
            else None
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes, about."""

    weights: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        """Return the sum."""
        return self.weights + self.gradients + self.optimizer + self.activations


def estimate(shapes: Shapes, config: Config, *, weight_bytes: int, pack_tokens: int, num_targets: int) -> Memory:
    """Return what a run takes, about.

    Adam keeps two numbers of 4 bytes a trained weight, and gradients take 4. Activations of a token in a layer are
    counted as 16 times the hidden size and 6 times the inner one, which is what a Llama of 7B with an adapter was seen
    to take on an H100 (33 GiB for 4,096 tokens); with gradient checkpointing, a layer's input, and one layer.

    Args:
        shapes: The model.
        config: The recipe.
        weight_bytes: Of one weight, and of one activation.
        pack_tokens: Tokens of the largest batch.
        num_targets: Predictions of the largest batch.
    """
    trained = shapes.num_weights if config.train.method == "full" else shapes.num_adapter_weights(config.lora.r)
    adapter = 0 if config.train.method == "full" else 4 * trained
    layer = weight_bytes * (16 * shapes.hidden_size + 6 * shapes.intermediate_size)
    layers = shapes.num_layers * layer
    if config.train.gradient_checkpointing:
        layers = shapes.num_layers * weight_bytes * shapes.hidden_size + layer
    logits = min(num_targets, 1024) * shapes.vocab_size * (weight_bytes + 8)
    return Memory(
        weights=shapes.num_weights * weight_bytes + adapter,
        gradients=4 * trained,
        optimizer=8 * trained,
        activations=pack_tokens * layers + logits,
    )
