"""Small Llamas in directories, made without transformers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

HIDDEN, INNER, HEADS, KV_HEADS, HEAD = 16, 24, 2, 1, 8


def config(*, layers: int = 2, vocab: int = 40, tied: bool = False, dtype: str = "float32") -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "num_hidden_layers": layers,
        "vocab_size": vocab,
        "max_position_embeddings": 64,
        "rms_norm_eps": 1e-6,
        "hidden_act": "silu",
        "tie_word_embeddings": tied,
        "torch_dtype": dtype,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }


def shapes(*, layers: int = 2, vocab: int = 40, tied: bool = False) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocab, HIDDEN)}
    for layer in range(layers):
        at = f"model.layers.{layer}."
        found |= {
            f"{at}self_attn.q_proj.weight": (HEADS * HEAD, HIDDEN),
            f"{at}self_attn.k_proj.weight": (KV_HEADS * HEAD, HIDDEN),
            f"{at}self_attn.v_proj.weight": (KV_HEADS * HEAD, HIDDEN),
            f"{at}self_attn.o_proj.weight": (HIDDEN, HEADS * HEAD),
            f"{at}mlp.gate_proj.weight": (INNER, HIDDEN),
            f"{at}mlp.up_proj.weight": (INNER, HIDDEN),
            f"{at}mlp.down_proj.weight": (HIDDEN, INNER),
            f"{at}input_layernorm.weight": (HIDDEN,),
            f"{at}post_attention_layernorm.weight": (HIDDEN,),
        }
    found["model.norm.weight"] = (HIDDEN,)
    if not tied:
        found["lm_head.weight"] = (vocab, HIDDEN)
    return found


def weights(seed: int, near: Mapping[str, Tensor] | None = None, **form: Any) -> dict[str, Tensor]:
    """Return random weights, or weights near to others."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name, shape in shapes(**form).items():
        noise = torch.randn(shape, generator=generator)
        if near is None:
            found[name] = 1 + noise * 0.1 if "norm" in name else noise * 0.05
        else:
            found[name] = near[name] + 0.01 * noise
    return found


def write_model(
    directory: Path, tensors: Mapping[str, Tensor], *, dtype: torch.dtype = torch.float32, shards: int = 1, **form: Any
) -> Path:
    directory.mkdir(parents=True)
    named = str(dtype).removeprefix("torch.")
    (directory / "config.json").write_text(json.dumps(config(dtype=named, **form)))
    (directory / "generation_config.json").write_text('{"eos_token_id": 2, "max_new_tokens": 4}')
    stored = {name: tensor.to(dtype).contiguous() for name, tensor in tensors.items()}
    if shards == 1:
        save_file(stored, directory / "model.safetensors", metadata={"format": "pt"})
        return directory
    weight_map: dict[str, str] = {}
    for number in range(shards):
        file = f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
        part = {name: stored[name] for name in list(stored)[number::shards]}
        save_file(part, directory / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    (directory / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return directory


def family(root: Path, names: str = "abc", **form: Any) -> dict[str, dict[str, Tensor]]:
    """Write a base and models near to it; return the weights of all."""
    dtype, shards = form.pop("dtype", torch.float32), form.pop("shards", 1)
    found = {"base": weights(0, **form)}
    for number, name in enumerate(names, 1):
        found[name] = weights(number, near=found["base"], **form)
    for name, tensors in found.items():
        write_model(root / name, tensors, dtype=dtype, shards=shards, **form)
    return found


def read_weights(directory: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for file in sorted(directory.glob("*.safetensors")):
        found |= load_file(file)
    return found


def files_of(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()
    }
