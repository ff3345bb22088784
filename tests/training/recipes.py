"""A model on disk, a data set and a recipe, for tests that train as users do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
import transformers
import yaml

from finetooth.config import Recipe, load_recipes
from finetooth.demo import tokenizer_path
from finetooth.training.preparing import Prepared, prepare, setup_of
from finetooth.training.running import quieten_libraries

SENTENCES = ("ごきげんよう。", "紅茶はいかが？", "お庭を歩きましょう。", "はい、喜んで。", "まあ、素敵ですわ。")


def save_model(directory: Path, *, tokenizer: str = "supervised", **more: Any) -> Path:
    """Write a toy Llama with one of the demo's tokenizers."""
    config = transformers.LlamaConfig(
        **{
            "vocab_size": 2048,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "max_position_embeddings": 512,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "pad_token_id": 0,
            **more,
        }
    )
    quieten_libraries()
    torch.manual_seed(0)
    transformers.LlamaForCausalLM(config).save_pretrained(directory)
    for path in tokenizer_path(tokenizer).iterdir():
        if path.name not in ("config.json", "generation_config.json"):
            shutil.copyfile(path, directory / path.name)
    return directory


def write_data(path: Path, count: int = 20) -> Path:
    """Write conversations under one system prompt."""
    rows = [
        {
            "messages": [
                {"role": "system", "content": "あなたはお嬢様です。丁寧にお返事します。"},
                {"role": "user", "content": f"{SENTENCES[number % 5]}{number}"},
                {"role": "assistant", "content": SENTENCES[(number * 3 + 1) % 5]},
            ]
        }
        for number in range(count)
    ]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def write_recipe(folder: Path, **keys: Any) -> Path:
    """Write a recipe of a few steps beside a model and data; `keys` are dotted ones, with `__` for the dot."""
    model = save_model(folder / "base") if not (folder / "base").exists() else folder / "base"
    data = folder / "train.jsonl" if (folder / "train.jsonl").exists() else write_data(folder / "train.jsonl")
    values: dict[str, Any] = {
        "model": str(model),
        "data": {"train": str(data)},
        "train": {
            "method": "full",
            "max_steps": 6,
            "batch_size": 7,
            "learning_rate": 0.003,
            "logging_steps": 1,
            "save_steps": 2,
            "num_samples": 1,
            "sample_tokens": 4,
            "device": "cpu",
        },
    }
    for name, value in keys.items():
        section, _, key = name.partition("__")
        if key:
            values.setdefault(section, {})[key] = value
        else:
            values[section] = value
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(values, allow_unicode=True, sort_keys=False), encoding="utf-8")
    return path


def prepared(path: Path, **sets: Any) -> Prepared:
    """Return a recipe of one run with its rows."""
    recipe: Recipe
    (recipe,) = load_recipes(path, sets=[f"{key.replace('__', '.')}={value}" for key, value in sets.items()])
    return prepare(recipe, setup_of(recipe))
