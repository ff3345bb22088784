"""`finetooth.inspect`: files, rows in memory, live trainers, and which records are shown."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import finetooth
from finetooth.demo import DIALOGUES, EXAMPLE, TOKENIZERS, data_path, tokenizer_path
from finetooth.errors import ConfigError, DataError
from finetooth.inspection import Inspection, Selection
from finetooth.records import records_of
from finetooth.types import IGNORE_INDEX

ROWS = [
    {"messages": [{"role": "user", "content": f"質問{n}"}, {"role": "assistant", "content": f"答え{n}ですわ。"}]}
    for n in range(50)
]


def learned(inspection: Inspection, record: int = 0, side: int = 0) -> list[int]:
    return [label for label in inspection[record].sides[side].encoded.labels if label != IGNORE_INDEX]


def test_the_examples_three_endings() -> None:
    models = [str(tokenizer_path(name)) for name in TOKENIZERS]
    seen = finetooth.inspect(
        str(data_path(EXAMPLE)), model=models, labels="completion-collator", response_template="[/INST]"
    )
    split, masked, supervised = (learned(seen, side=side) for side in range(3))
    assert supervised[-1] == 2
    assert masked == supervised[:-1]
    assert split[:-3] == masked
    assert len(seen) == 1


def test_several_ways_side_by_side(demo_model: str) -> None:
    seen = finetooth.inspect(ROWS, model=demo_model, labels=["finetooth", "causal-lm", "trl"])
    assert [side.encoded.labels_way for side in seen[0].sides] == ["finetooth", "causal-lm", "trl"]
    assert len(learned(seen, side=0)) < len(learned(seen, side=1))


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(records=(3, 1)), [1, 3]),
        (Selection(limit=2), [0, 1]),
        (Selection(), list(range(50))),
    ],
)
def test_selection(selection: Selection, expected: list[int]) -> None:
    assert [record.index for record in selection.apply(records_of(ROWS))] == expected


def test_a_sample_is_the_same_every_time_and_sorted() -> None:
    drawn = [[record.index for record in Selection(sample=7).apply(records_of(ROWS))] for _ in range(2)]
    assert drawn[0] == drawn[1] == sorted(set(drawn[0]))
    assert len(drawn[0]) == 7


def test_a_sample_larger_than_the_data_is_all_of_it() -> None:
    assert len(list(Selection(sample=80).apply(records_of(ROWS)))) == 50


def test_a_number_that_is_not_there_says_how_many_there_are() -> None:
    with pytest.raises(DataError, match="the data has 50") as caught:
        list(Selection(records=(50,)).apply(records_of(ROWS)))
    assert "--record 49" in str(caught.value.help)


def test_sft_trainer_decides_by_its_first_row_whichever_is_looked_at(demo_model: str) -> None:
    rows = [{"prompt": "問い", "completion": "答え"}, {"prompt": "次の問い", "completion": "次の答え"}]
    whole = finetooth.inspect(rows, model=demo_model, labels="trl")
    one = finetooth.inspect(rows, model=demo_model, labels="trl", records=[1])
    assert learned(one) == learned(whole, record=1)
    assert one[0].record.index == 1


def test_a_dataset(demo_model: str) -> None:
    datasets = pytest.importorskip("datasets")
    seen = finetooth.inspect(datasets.Dataset.from_list(ROWS), model=demo_model)
    assert [one.record.where for one in seen][:2] == ["<memory>[0]", "<memory>[1]"]
    assert learned(seen) == learned(finetooth.inspect(ROWS, model=demo_model))


def test_json_has_the_keys_of_the_contract(demo_model: str) -> None:
    (line,) = finetooth.inspect(ROWS, model=demo_model, records=[4]).to_json()
    assert list(line) == [
        "record",
        "where",
        "model",
        "loader",
        "labels_way",
        "text",
        "input_ids",
        "labels",
        "offsets",
        "spans",
        "dropped",
    ]
    assert line["record"] == 4
    assert list(line["spans"][0]) == ["start", "end", "role", "message_index", "supervised"]
    json.dumps(line)


def test_it_shows_itself(demo_model: str) -> None:
    seen = finetooth.inspect(ROWS[:1], model=demo_model)
    assert "質問0" in str(seen)
    assert "質問0" in seen.to_text(width=60)
    assert "質問0" in re.sub("<[^>]*>", "", seen._repr_html_())
    assert seen.to_html().lstrip().lower().startswith("<!doctype html>")
    assert repr(seen) == "<Inspection: 1 records, 1 sides>"


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ({"model": None}, "no tokenizer is named"),
        ({"labels": "trll"}, "no way of making labels called trll"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], what: str, demo_model: str) -> None:
    with pytest.raises(ConfigError, match=what):
        finetooth.inspect(ROWS, **{"model": demo_model, **arguments})


def test_what_is_no_data(demo_model: str) -> None:
    with pytest.raises(DataError, match="int cannot be read as data"):
        finetooth.inspect(7, model=demo_model)


@pytest.mark.filterwarnings("ignore")
class TestLiveTrainer:
    """What a trainer's own collator gives, row by row."""

    def trainer(self, tmp_path: Path, **options: Any) -> Any:
        trl = pytest.importorskip("trl")
        from datasets import Dataset
        from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

        lines = data_path(DIALOGUES["ja"]).read_text(encoding="utf-8").splitlines()[:8]
        dataset = Dataset.from_list([json.loads(line) for line in lines])
        tokenizer = AutoTokenizer.from_pretrained(str(tokenizer_path("masked")))
        model = LlamaForCausalLM(
            LlamaConfig(
                hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1, vocab_size=2000
            )
        )
        config = trl.SFTConfig(str(tmp_path), report_to=[], use_cpu=True, bf16=False)
        return trl.SFTTrainer(model=model, args=config, train_dataset=dataset, processing_class=tokenizer, **options)

    def test_sft_trainer(self, tmp_path: Path) -> None:
        trainer = self.trainer(tmp_path)
        seen = finetooth.inspect(trainer)
        assert len(seen) == 8
        for one, row in zip(seen, trainer.train_dataset, strict=True):
            assert one.sides[0].encoded.input_ids == row["input_ids"]
            assert one.sides[0].encoded.labels == row["labels"]

    def test_a_collator_that_masks_by_pad_id_is_seen(self, tmp_path: Path) -> None:
        """The labels of the data set end in the EOS; what the model is given does not."""
        from transformers import DataCollatorForLanguageModeling

        trainer = self.trainer(tmp_path)
        trainer.data_collator = DataCollatorForLanguageModeling(trainer.processing_class, mlm=False)
        seen = finetooth.inspect(trainer)
        assert seen[0].sides[0].encoded.input_ids[-1] == 2
        assert 2 not in learned(seen)

    def test_a_data_loader(self, tmp_path: Path) -> None:
        trainer = self.trainer(tmp_path)
        seen = finetooth.inspect(trainer.get_train_dataloader(), model=trainer.processing_class)
        assert learned(seen) == learned(finetooth.inspect(trainer))
