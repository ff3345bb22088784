"""TRL's own preparation of a data set, to compare with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase


def prepared_by_trl(
    rows: list[dict[str, Any]], tokenizer: PreTrainedTokenizerBase, output_dir: Path, **options: Any
) -> list[dict[str, list[int]]]:
    """Return the rows that SFTTrainer trains on, in their order, with `input_ids` and `labels`."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    model = LlamaForCausalLM(
        LlamaConfig(
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=1,
            vocab_size=len(tokenizer),
        )
    )
    config = SFTConfig(str(output_dir), report_to=[], use_cpu=True, bf16=False, **options)
    trainer = SFTTrainer(model=model, args=config, train_dataset=Dataset.from_list(rows), processing_class=tokenizer)
    return [{"input_ids": row["input_ids"], "labels": row["labels"]} for row in trainer.train_dataset]


def tokenizer_of(directory: Path) -> PreTrainedTokenizerBase:
    """Load a tokenizer as users do."""
    loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(str(directory))
    return loaded
