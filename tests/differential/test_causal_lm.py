"""`--labels causal-lm` gives the labels of transformers' `DataCollatorForLanguageModeling`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from finetooth.config import Config, LabelsConfig
from finetooth.labels import encode_records, make_setup
from finetooth.records import records_of
from tests.differential.sft_trainer import tokenizer_of
from tests.shared_data import SHARED, needs_shared

pytestmark = [pytest.mark.filterwarnings("ignore"), needs_shared]


def collated(tokenizer: Any, texts: list[str]) -> list[dict[str, list[int]]]:
    from transformers import DataCollatorForLanguageModeling

    collator = DataCollatorForLanguageModeling(tokenizer, mlm=False)
    rows = []
    for text in texts:
        batch = collator([tokenizer(text)])
        rows.append({"input_ids": batch["input_ids"][0].tolist(), "labels": batch["labels"][0].tolist()})
    return rows


@pytest.mark.parametrize("name", ["llama2-eos-normalized", "llama2-pad-is-eos", "llama2-pad-is-unk"])
@pytest.mark.parametrize("kind", ["pairs", "messages", "text"])
def test_labels_are_the_collators(name: str, kind: str) -> None:
    directory = SHARED / "data/tokenizers" / name
    tokenizer = tokenizer_of(directory)
    folder = SHARED / "data/ojousama"
    stem = "ojousamatalkscript200" + ("_gpt-3.5-1106ver" if kind == "messages" else "")
    lines = (folder / f"{stem}.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    if kind == "messages":
        texts = [tokenizer.apply_chat_template(row["messages"], tokenize=False) for row in rows]
    else:
        texts = [row["prompt"] + row["completion"] for row in rows]
        if kind == "text":
            texts = [f"{text}</s>" for text in texts]
            rows = [{"text": text} for text in texts]
    setup = make_setup(str(directory), Config(labels=LabelsConfig(way="causal-lm")))
    ours = [{"input_ids": one.input_ids, "labels": one.labels} for one in encode_records(setup, records_of(rows))]
    assert len(ours) == 202
    assert ours == collated(tokenizer, texts)
