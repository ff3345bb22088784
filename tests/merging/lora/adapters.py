"""Adapters made by peft, with random numbers in both factors."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor


def load_model(directory: Path, dtype: torch.dtype = torch.float32) -> Any:
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()  # it would stand among what commands say
    return AutoModelForCausalLM.from_pretrained(directory, dtype=dtype)


def make_adapter(
    base: Path,
    directory: Path,
    *,
    seed: int = 0,
    noise: float = 0.1,
    dtype: torch.dtype = torch.float32,
    **options: Any,
) -> Path:
    """Write an adapter of a model; `options` are those of `LoraConfig`, `noise` 0 leaves it as before training."""
    from peft import LoraConfig, get_peft_model

    options = {"r": 4, "lora_alpha": 6, "target_modules": ["q_proj", "v_proj", "down_proj"]} | options
    with warnings.catch_warnings():
        # peft warns of tied weights and of embeddings that it stores; what comes of them is what is tested
        warnings.simplefilter("ignore")
        model = get_peft_model(load_model(base, dtype), LoraConfig(task_type="CAUSAL_LM", **options))
        generator = torch.Generator().manual_seed(seed)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data += noise * torch.randn(parameter.shape, generator=generator).to(parameter.dtype)
        model.save_pretrained(directory)
    return directory


def merged_by_peft(
    base: Path, adapter: Path, *, scale: float = 1.0, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """Return the weights after `merge_and_unload`, as they are saved."""
    from peft import PeftModel
    from peft.tuners.lora import LoraLayer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = PeftModel.from_pretrained(load_model(base, dtype), adapter)
        for module in model.modules():
            if isinstance(module, LoraLayer) and scale != 1:
                module.scale_layer(scale)
        merged = model.merge_and_unload()
        directory = adapter.with_name(f"{adapter.name}-by-peft")
        merged.save_pretrained(directory)
    found: dict[str, Tensor] = load_file(directory / "model.safetensors")
    return found


def write_gpt2(directory: Path, *, tied: bool = True) -> Path:
    """Write a small GPT-2, whose layers store their weights as `[in, out]`."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(
        n_layer=2, n_head=2, n_embd=16, vocab_size=40, n_positions=32, bos_token_id=1, eos_token_id=2,
        tie_word_embeddings=tied,
    )  # fmt: skip
    GPT2LMHeadModel(config).save_pretrained(directory)
    return directory
