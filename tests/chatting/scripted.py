"""Models that say what they are told to: each token has one successor, so that no ending needs training."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
import transformers

from finetooth.demo import tokenizer_path
from finetooth.labels import make_setup
from finetooth.probing.prompts import encode_prompt
from finetooth.training.running import quieten_libraries

WORDS = "まあ、素敵ですわ。"


def ids_of(text: str, *, tokenizer: str = "supervised") -> list[int]:
    """Return the ids of a text as one of the demo's tokenizers writes it after the prompt."""
    return list(make_setup(str(tokenizer_path(tokenizer))).tokenizer.encode([text], add_special_tokens=False)[0].ids)


def save_scripted(
    directory: Path,
    ids: Sequence[int],
    *,
    tokenizer: str = "supervised",
    then: int | None = None,
    context: int = 512,
    stop_ids: int | list[int] = 2,
) -> Path:
    """Write a Llama that answers every question with the same ids.

    Args:
        directory: Where it is written.
        ids: The answer; no id twice.
        tokenizer: Which of the demo's tokenizers it has.
        then: The index of the id that follows the last one, for answers without an end.
        context: Its number of positions.
        stop_ids: What generation_config.json names.
    """
    source = tokenizer_path(tokenizer)
    setup = make_setup(str(source))
    assert setup.template is not None
    last = encode_prompt(setup.tokenizer, setup.template, [{"role": "user", "content": "はい"}])[1].ids[-1]
    chain = [last, *ids]
    assert len(set(chain)) == len(chain), "a token has one successor"
    quieten_libraries()
    config = transformers.LlamaConfig(
        vocab_size=2048,
        hidden_size=128,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=context,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    assert len(chain) <= 128
    model = transformers.LlamaForCausalLM(config)
    with torch.no_grad():
        for parameter in model.model.layers.parameters():
            parameter.zero_()
        model.model.embed_tokens.weight.zero_()
        model.lm_head.weight.zero_()
        for place, one in enumerate(chain):
            model.model.embed_tokens.weight[one, place] = 1.0
            following = chain[place + 1] if place + 1 < len(chain) else None if then is None else ids[then]
            if following is not None:
                model.lm_head.weight[following, place] = 5.0
    model.generation_config.eos_token_id = stop_ids
    model.save_pretrained(directory)
    for path in source.iterdir():
        if path.name not in ("config.json", "generation_config.json"):
            shutil.copyfile(path, directory / path.name)
    return directory


def save_stopping(directory: Path) -> Path:
    """Write a model that stops."""
    return save_scripted(directory, [*ids_of(WORDS), 2])


def save_leaking(directory: Path) -> Path:
    """Write a model that writes `</s>` as text, and goes on."""
    return save_scripted(directory, ids_of(f"{WORDS}</s>", tokenizer="split"), tokenizer="split", then=1)


def save_running_on(directory: Path, *, context: int = 512) -> Path:
    """Write a model that never stops."""
    return save_scripted(directory, ids_of(WORDS), then=1, context=context)
