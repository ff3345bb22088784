"""Toy models and rows for the tests of training: small enough for seconds, with all that packing has to meet."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch
import transformers
from transformers import TrainingArguments

from finetooth.training.rows import EncodedRows
from finetooth.types import IGNORE_INDEX, Encoded

WINDOW = 24
VOCABULARY = 97
STOP = 2

_BASE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": STOP,
}
_MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 32}
_LINEAR = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
}
_MIXED = ["sliding_attention", "full_attention"]
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "Llama": ("LlamaConfig", {}),
    "Mistral": ("MistralConfig", {"sliding_window": WINDOW}),
    "Qwen2": ("Qwen2Config", {"use_sliding_window": True, "sliding_window": WINDOW, "layer_types": _MIXED}),
    "Qwen3": ("Qwen3Config", {"head_dim": 8}),
    "Gemma": ("GemmaConfig", {"head_dim": 8}),
    "Gemma 2": ("Gemma2Config", {"head_dim": 8, "sliding_window": WINDOW}),
    "Gemma 3": ("Gemma3TextConfig", {"head_dim": 8, "sliding_window": WINDOW, "layer_types": _MIXED}),
    "Phi-3": ("Phi3Config", {"sliding_window": WINDOW}),
    "Granite": ("GraniteConfig", {"logits_scaling": 4.0}),
    "LFM2": ("Lfm2Config", {"layer_types": ["conv", "full_attention"], "full_attn_idxs": [1]}),
    "Qwen3-Next": (
        "Qwen3NextConfig",
        {"head_dim": 16, "layer_types": ["linear_attention", "full_attention"], **_MOE, **_LINEAR},
    ),
}
"""Kinds of models: the class of their configuration, and what theirs has besides."""


def toy(kind: str, attention: str = "sdpa", *, std: float = 0.15) -> Any:
    """Return a toy model of a kind, in fp32, its weights large enough for attention to matter."""
    config_name, more = KINDS[kind]
    config = getattr(transformers, config_name)(**{**_BASE, **more})
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(
        config, attn_implementation="eager" if attention == "eager" else "sdpa"
    )
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.normal_(std=std)
    if attention == "forest_sdpa":
        import finetooth.training.attention

        model.set_attn_implementation(finetooth.training.attention.NAME)
    model.generation_config.eos_token_id = STOP
    return model


def rows_of(pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> EncodedRows:
    """Return rows of prompts and answers."""
    rows = EncodedRows()
    for index, (prompt, answer) in enumerate(pairs):
        rows.append(
            Encoded(
                record_index=index,
                where=f"rows.jsonl:{index + 1}",
                model="toy",
                loader="tokenizers",
                labels_way="finetooth",
                text="",
                input_ids=[*prompt, *answer],
                labels=[IGNORE_INDEX] * len(prompt) + list(answer),
                offsets=[],
                spans=(),
            )
        )
    return rows


def persona_rows(count: int = 24, *, seed: int = 0, shared: int = 40) -> EncodedRows:
    """Return rows that share prefixes at several depths, with the cases that packing has to meet.

    Two personas; questions asked under both; one question with three answers; a row twice; a row that is the beginning
    of another; a row of which nothing is learned; one without a stop token at its end.
    """
    draw = random.Random(seed)

    def some(number: int) -> list[int]:
        return [draw.randrange(3, VOCABULARY) for _ in range(number)]

    personas = [[1, *some(shared)], [1, *some(shared // 2)]]
    questions = [some(draw.randrange(3, 9)) for _ in range(max(2, count // 3))]
    pairs: list[tuple[list[int], list[int]]] = []
    question = questions[0]
    for _ in range(3):
        pairs.append((personas[0] + question, [*some(draw.randrange(3, 9)), STOP]))
    pairs.append(pairs[0])
    pairs.append((pairs[1][0], pairs[1][1][:2]))
    pairs.append((pairs[1][0] + pairs[1][1] + some(4), [*some(5), STOP]))
    pairs.append((personas[1] + questions[1], []))
    pairs.append((personas[1] + questions[1], some(4)))
    while len(pairs) < count:
        prompt = draw.choice(personas) + draw.choice(questions)
        pairs.append((prompt, [*some(draw.randrange(3, 12)), STOP]))
    draw.shuffle(pairs)
    return rows_of(pairs[:count])


def arguments(directory: Any, **options: Any) -> TrainingArguments:
    """Return arguments of a run on the CPU that says nothing and saves nothing, unless told otherwise."""
    given: dict[str, Any] = {
        "output_dir": str(directory),
        "use_cpu": True,
        "report_to": "none",
        "disable_tqdm": True,
        "save_strategy": "no",
        "logging_steps": 1,
        "learning_rate": 1e-3,
        "per_device_train_batch_size": 8,
        "lr_scheduler_type": "linear",
        "dataloader_pin_memory": False,
        "remove_unused_columns": False,
        "seed": 0,
        **options,
    }
    return TrainingArguments(**given)


def padded_batch(examples: Sequence[Any]) -> dict[str, torch.Tensor]:
    """Pad rows on the right, labels by position: the collator of a plain Trainer."""
    width = max(len(row["input_ids"]) for row in examples)

    def padded(name: str, fill: int) -> torch.Tensor:
        return torch.tensor([row[name] + [fill] * (width - len(row[name])) for row in examples])

    mask = [[1] * len(row["input_ids"]) + [0] * (width - len(row["input_ids"])) for row in examples]
    return {
        "input_ids": padded("input_ids", 0),
        "labels": padded("labels", IGNORE_INDEX),
        "attention_mask": torch.tensor(mask),
    }


def losses(trainer: Any) -> list[float]:
    """Return the logged losses, step by step."""
    return [line["loss"] for line in trainer.state.log_history if "loss" in line]


def weights(model: Any) -> dict[str, torch.Tensor]:
    """Return copies of the trained weights."""
    return {name: weight.detach().clone() for name, weight in model.named_parameters() if weight.requires_grad}


def relative_difference(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> float:
    """Return the largest norm-wise relative difference of any tensor."""
    assert found.keys() == expected.keys()
    return max(
        float((found[name] - weight).norm() / weight.norm().clamp_min(1e-30)) for name, weight in expected.items()
    )
