"""What `encode_dataset` gives reaches the model unchanged, through TRL and through transformers' Trainer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import finetooth
from finetooth.demo import DIALOGUES, data_path, tokenizer_path
from finetooth.types import IGNORE_INDEX
from tests.differential.sft_trainer import tokenizer_of

pytestmark = pytest.mark.filterwarnings("ignore")


def dialogues() -> list[dict[str, Any]]:
    lines = data_path(DIALOGUES["ja"]).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines[:12]]


def small_model(vocab_size: int) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1}
    return LlamaForCausalLM(LlamaConfig(**sizes, vocab_size=vocab_size))


@pytest.mark.parametrize("as_dataset", [True, False])
def test_it_is_what_encode_gives(as_dataset: bool) -> None:
    from datasets import Dataset

    rows = dialogues()
    tokenizer = tokenizer_of(tokenizer_path("supervised"))
    encoded = finetooth.encode_dataset(Dataset.from_list(rows) if as_dataset else rows, tokenizer)
    assert encoded.column_names == ["input_ids", "labels"]
    expected = finetooth.encode(rows, model=tokenizer)
    assert [row["input_ids"] for row in encoded] == [one.input_ids for one in expected]
    assert [row["labels"] for row in encoded] == [one.labels for one in expected]
    assert all(row["labels"][-1] == 2 for row in encoded)


def test_trl_takes_it_as_it_is(tmp_path: Path) -> None:
    trl = pytest.importorskip("trl")
    tokenizer = tokenizer_of(tokenizer_path("supervised"))
    encoded = finetooth.encode_dataset(dialogues(), tokenizer)
    config = trl.SFTConfig(str(tmp_path), max_length=None, report_to=[], use_cpu=True, bf16=False)
    trainer = trl.SFTTrainer(small_model(2000), args=config, train_dataset=encoded, processing_class=tokenizer)
    assert trainer.train_dataset[:] == encoded[:]
    seen = finetooth.inspect(trainer)
    assert [one.sides[0].encoded.labels for one in seen] == encoded["labels"][:]


def test_the_trainer_pads_labels_by_position(tmp_path: Path) -> None:
    from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

    tokenizer = tokenizer_of(tokenizer_path("masked"))  # its pad is its EOS
    encoded = finetooth.encode_dataset(dialogues(), tokenizer)
    trainer = Trainer(
        small_model(2000),
        args=TrainingArguments(str(tmp_path), per_device_train_batch_size=4, report_to=[], use_cpu=True, seed=0),
        train_dataset=encoded,
        data_collator=DataCollatorForSeq2Seq(tokenizer),
    )
    reached = []
    for batch in trainer.get_train_dataloader():
        for labels, attention in zip(batch["labels"].tolist(), batch["attention_mask"].tolist(), strict=True):
            kept = [label for label, seen in zip(labels, attention, strict=True) if seen]
            assert set(labels[len(kept) :]) <= {IGNORE_INDEX}
            reached.append(kept)
    assert sorted(reached) == sorted(encoded["labels"])
