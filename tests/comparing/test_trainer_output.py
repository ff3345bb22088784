"""What plain trainers leave behind: transformers' Trainer and TRL's SFTTrainer, run here, and pickles that bite."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

import transformers  # noqa: E402
from datasets import Dataset  # noqa: E402
from trl import SFTConfig, SFTTrainer  # noqa: E402

from finetooth.comparing.arguments import read_arguments  # noqa: E402
from finetooth.comparing.comparison import compare  # noqa: E402
from finetooth.config import config_of  # noqa: E402
from tests.comparing.recorded import write_run  # noqa: E402
from tests.training.recipes import save_model, write_data  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output directories of a plain TRL run with LoRA, and of a plain Trainer."""
    from peft import LoraConfig

    folder = tmp_path_factory.mktemp("plain")
    base, data = save_model(folder / "base"), write_data(folder / "train.jsonl", 12)
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    rows = [json.loads(line) for line in data.read_text(encoding="utf-8").splitlines()]
    trl = SFTTrainer(
        model=str(base),
        args=SFTConfig(
            output_dir=str(folder / "trl"),
            num_train_epochs=2,
            per_device_train_batch_size=3,
            gradient_accumulation_steps=2,
            learning_rate=2e-3,
            logging_steps=1,
            max_length=256,
            assistant_only_loss=False,
            report_to="none",
            use_cpu=True,
            bf16=False,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=LoraConfig(r=4, lora_alpha=8, target_modules="all-linear"),
    )
    trl.train()
    trl.save_model()
    encoded = [
        {"input_ids": ids, "labels": ids, "attention_mask": [1] * len(ids)}
        for row in rows
        for ids in [tokenizer.apply_chat_template(row["messages"], return_dict=False)]
    ]
    trainer = transformers.Trainer(
        model=transformers.AutoModelForCausalLM.from_pretrained(base),
        args=transformers.TrainingArguments(
            output_dir=str(folder / "trainer"),
            max_steps=4,
            per_device_train_batch_size=2,
            logging_steps=2,
            eval_strategy="steps",
            eval_steps=2,
            save_steps=2,
            lr_scheduler_type="cosine",
            report_to="none",
            use_cpu=True,
        ),
        train_dataset=Dataset.from_list(encoded),
        eval_dataset=Dataset.from_list(encoded[:4]),
        data_collator=transformers.DataCollatorForSeq2Seq(tokenizer),
        processing_class=tokenizer,
    )
    trainer.train()
    return folder


def test_plain_trl(outputs: Path) -> None:
    (entry,) = compare(outputs / "trl").entries
    assert (entry.kind, entry.state, entry.step, entry.epoch) == ("trainer", "finished", 4, 2.0)
    assert [line["step"] for line in entry.metrics] == [1, 2, 3, 4]
    assert all("token_accuracy" in line for line in entry.metrics)
    expected = {
        "train.learning_rate": 2e-3,
        "train.epochs": 2,
        "train.batch_size": 6,
        "train.scheduler": "linear",
        "train.method": "lora",
        "lora.r": 4,
        "lora.alpha": 8,
        "labels.way": "trl",
        "labels.max_length": 256,
        "labels.assistant_only_loss": False,
        "train.precision": "fp32",
        "model.path": str(outputs / "base"),
    }
    assert {key: entry.settings[key] for key in expected} == expected


def test_plain_trainer(outputs: Path) -> None:
    """It saved no final model: its logs are those of its last checkpoint."""
    (entry,) = compare(outputs / "trainer").entries
    assert (entry.state, entry.step) == ("finished", 4)
    assert len(entry.curve("loss", by="step")) == 2
    assert len(entry.curve("eval_loss", by="step")) == 2
    assert entry.settings["train.scheduler"] == "cosine"
    assert entry.settings["train.method"] == "full"
    state = json.loads((outputs / "trainer" / "checkpoint-2" / "trainer_state.json").read_text())
    (early,) = compare(outputs / "trainer" / "checkpoint-2").entries
    assert (early.state, early.step) == ("stopped", state["global_step"])


def test_beside_a_run_of_ours(outputs: Path, tmp_path: Path) -> None:
    ours = write_run(tmp_path / "ours")
    text = " ".join(str(compare(ours, outputs / "trl", outputs / "trainer")).split())
    assert "It is not known what trl, trainer was trained on; `--data` says it." in text
    assert "train.learning_rate 0.0001 0.002" in text


def test_labels_of_a_plain_trainer(outputs: Path) -> None:
    """With the data its labels are made as it made them, checked, and predicted from."""
    config = config_of({"labels.way": "trl"})
    comparison = compare(outputs / "trl", data=str(outputs / "train.jsonl"), config=config)
    (entry,) = comparison.entries
    assert entry.data.num_records == 12
    assert entry.predicted == ("stops", 1.0)
    assert entry.examples[0].encoded.labels_way == "trl"
    assert "Supervised labels by tokenizer" in str(comparison)
    (other,) = compare(outputs / "trl", data=str(outputs / "absent.jsonl"), config=config).entries
    assert any("its labels cannot be made" in remark for remark in other.remarks)


def write_pickle(path: Path, value: Any) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(value))
    return path


class Arguments:
    """Stands for TrainingArguments: any class that a pickle may name."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


class Bite:
    """Runs a command when it is loaded by pickle itself."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_arguments_are_read_without_executing_anything(tmp_path: Path) -> None:
    bitten = tmp_path / "bitten"
    value = Arguments(learning_rate=1e-3, inner=Bite(bitten), nested=[1, 2], kind=None)
    assert read_arguments(write_pickle(tmp_path / "a.bin", value)) == {
        "learning_rate": 1e-3,
        "inner": str(bitten),  # what it was to be called with: text, and nothing else
        "nested": [1, 2],
        "kind": None,
    }
    assert not bitten.exists()
    pickle.loads(pickle.dumps(Bite(bitten)))
    assert bitten.is_dir()  # pickle itself would have


@pytest.mark.parametrize("what", ["no zip", "no pickle", "cut short", "a list", "too large"])
def test_broken_arguments(tmp_path: Path, what: str) -> None:
    path = tmp_path / "training_args.bin"
    if what == "no zip":
        path.write_bytes(b"nothing")
    elif what == "no pickle":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/version", "3")
    elif what == "cut short":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps(Arguments(a=1))[:-9])
    elif what == "a list":
        write_pickle(path, [1, 2])
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("archive/data.pkl", io.BytesIO(b"\0" * 5_000_000).read())
    with pytest.raises(ValueError):
        read_arguments(path)
