"""Llamas with random weights, and fine-tunes near to them, for benchmarks of merging."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The sizes of a Llama with grouped-query attention."""

    layers: int = 3
    hidden: int = 64
    inner: int = 96
    heads: int = 4
    kv_heads: int = 2
    vocabulary: int = 256
    is_tied: bool = False

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of all tensors by name."""
        kv = self.hidden // self.heads * self.kv_heads
        found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (self.vocabulary, self.hidden)}
        for layer in range(self.layers):
            at = f"model.layers.{layer}."
            found |= {
                f"{at}self_attn.q_proj.weight": (self.hidden, self.hidden),
                f"{at}self_attn.k_proj.weight": (kv, self.hidden),
                f"{at}self_attn.v_proj.weight": (kv, self.hidden),
                f"{at}self_attn.o_proj.weight": (self.hidden, self.hidden),
                f"{at}mlp.gate_proj.weight": (self.inner, self.hidden),
                f"{at}mlp.up_proj.weight": (self.inner, self.hidden),
                f"{at}mlp.down_proj.weight": (self.hidden, self.inner),
                f"{at}input_layernorm.weight": (self.hidden,),
                f"{at}post_attention_layernorm.weight": (self.hidden,),
            }
        found["model.norm.weight"] = (self.hidden,)
        if not self.is_tied:
            found["lm_head.weight"] = (self.vocabulary, self.hidden)
        return found

    def config(self, dtype: torch.dtype) -> dict[str, Any]:
        """Return the config.json."""
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": self.hidden,
            "intermediate_size": self.inner,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "vocab_size": self.vocabulary,
            "max_position_embeddings": 2048,
            "rms_norm_eps": 1e-5,
            "hidden_act": "silu",
            "tie_word_embeddings": self.is_tied,
            "torch_dtype": str(dtype).removeprefix("torch."),
            "bos_token_id": 1,
            "eos_token_id": 2,
        }


TINY_LLAMA = Shape(layers=22, hidden=2048, inner=5632, heads=32, kv_heads=4, vocabulary=32000)
"""1.1 billion parameters: the shape of TinyLlama-1.1B."""


def write_family(root: Path, shape: Shape, dtype: torch.dtype, *, names: str = "abc", distance: float = 0.1) -> None:
    """Write `base` and models near to it.

    Args:
        root: The directory in which theirs are made.
        shape: Their sizes.
        dtype: Of the weights.
        names: A model for each letter.
        distance: The size of a task vector's elements, over that of the base's.
    """
    generator = torch.Generator().manual_seed(0)
    base = {
        name: (torch.ones(size) if "norm" in name else torch.empty(size).normal_(0, 0.02, generator=generator))
        for name, size in shape.tensors().items()
    }
    for name in ["base", *names]:
        directory = root / name
        directory.mkdir(parents=True)
        (directory / "config.json").write_text(json.dumps(shape.config(dtype)), encoding="utf-8")
        tensors: dict[str, Tensor] = {}
        for key, value in base.items():
            noise = 0.0 if name == "base" else torch.randn(value.shape, generator=generator) * 0.02 * distance
            tensors[key] = (value + noise).to(dtype)
        save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
        del tensors
