"""In other people's trainers: the mixin under SFTTrainer, collators of others, and the metrics callback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

import transformers  # noqa: E402
from datasets import Dataset  # noqa: E402
from trl import SFTConfig, SFTTrainer  # noqa: E402

import finetooth  # noqa: E402
from finetooth.demo import tokenizer_path  # noqa: E402
from finetooth.errors import TrainingError  # noqa: E402
from finetooth.training.observing import watched_targets  # noqa: E402
from finetooth.training.trainer import ForestMixin, ForestTrainer  # noqa: E402
from tests.training.toys import WINDOW, arguments, losses, padded_batch, persona_rows, relative_difference, toy, weights  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")

METRICS = ("eos_loss", "p_eos_end", "p_eos_inside", "token_accuracy", "supervised_share")
TEXTS = [
    f"[INST] <<SYS>>\nあなたはお嬢様です。\n<</SYS>>\n\n{question} [/INST] {answer}</s>"
    for question in ("はい？", "お元気？", "紅茶は？")
    for answer in ("ええ。", "まあ、素敵ですわ。")
]


class ForestSFTTrainer(ForestMixin, SFTTrainer):  # type: ignore[misc]
    pass


def tokenizer() -> Any:
    return transformers.AutoTokenizer.from_pretrained(tokenizer_path("supervised"))


def small_model(reader: Any) -> Any:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(reader), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2
    )
    model = transformers.LlamaForCausalLM(config)
    model.generation_config.eos_token_id = reader.eos_token_id
    return model


def sft_arguments(directory: Path, **more: Any) -> SFTConfig:
    return SFTConfig(
        output_dir=str(directory),
        max_length=None,
        max_steps=6,
        per_device_train_batch_size=3,
        gradient_accumulation_steps=2,
        use_cpu=True,
        bf16=False,
        report_to="none",
        disable_tqdm=True,
        save_strategy="no",
        logging_steps=1,
        learning_rate=1e-3,
        seed=0,
        **more,
    )


@pytest.mark.parametrize("pack", ["forest", "pad"])
def test_sft_trainer_on_forests(pack: str, tmp_path: Path) -> None:
    """TRL prepares the texts, our collator labels them, and the steps are those of ForestTrainer."""
    reader = tokenizer()
    model = small_model(reader)
    trainer = ForestSFTTrainer(
        model,
        args=sft_arguments(tmp_path),
        train_dataset=Dataset.from_list([{"text": text} for text in TEXTS]),
        data_collator=finetooth.CompletionOnlyCollator("[/INST] ", tokenizer=reader),
        processing_class=reader,
        pack=pack,
    )
    trainer.train()
    assert trainer.way == pack

    other = small_model(reader)
    rows = [{"input_ids": reader(text).input_ids} for text in TEXTS]
    plain = ForestTrainer(
        other,
        arguments(tmp_path, max_steps=6, per_device_train_batch_size=6),
        train_dataset=rows,
        data_collator=finetooth.CompletionOnlyCollator("[/INST] ", tokenizer=reader),
        pack="pad",
    )
    plain.train()
    assert losses(trainer) == pytest.approx(losses(plain), abs=1e-5)
    assert relative_difference(weights(model), weights(other)) < 1e-5
    assert {"p_eos_end", "eos_loss"} <= trainer.state.log_history[0].keys()


def test_sft_trainers_own_labels_on_forests(tmp_path: Path) -> None:
    """Prompt and completion, TRL's own collator: the same trajectory as SFTTrainer without us."""
    reader = tokenizer()
    pairs = [
        {"prompt": text.partition("[/INST]")[0] + "[/INST]", "completion": text.partition("[/INST]")[2][:-4]}
        for text in TEXTS
    ]
    runs = []
    for trainer_class in (ForestSFTTrainer, SFTTrainer):
        model = small_model(reader)
        trainer = trainer_class(
            model,
            args=sft_arguments(tmp_path, train_sampling_strategy="sequential"),
            train_dataset=Dataset.from_list(pairs),
            processing_class=reader,
        )
        trainer.train()
        runs.append((losses(trainer), weights(model)))
    # Six rows a step and six rows: every step has all rows, in whatever order.
    assert runs[0][0] == pytest.approx(runs[1][0], abs=1e-4)
    assert relative_difference(runs[0][1], runs[1][1]) < 1e-4


def test_a_collator_without_labels_is_refused_by_name(tmp_path: Path) -> None:
    trainer = ForestTrainer(
        toy("Llama"),
        arguments(tmp_path, max_steps=1),
        train_dataset=[{"input_ids": [1, 2, 3]}],
        data_collator=lambda examples: {"input_ids": torch.tensor([examples[0]["input_ids"]])},
    )
    with pytest.raises(TrainingError, match="the collator gives no `labels`"):
        trainer.train()


def test_evaluation_and_best_model(tmp_path: Path) -> None:
    rows = persona_rows()
    trainer = ForestTrainer(
        toy("Llama"),
        arguments(
            tmp_path,
            max_steps=6,
            eval_strategy="steps",
            eval_steps=2,
            save_strategy="steps",
            save_steps=2,
            load_best_model_at_end=True,
            metric_for_best_model="eval_p_eos_end",
            greater_is_better=True,
        ),
        train_dataset=rows,
        eval_dataset=rows,
    )
    trainer.train()
    found = trainer.evaluate()
    assert found["eval_p_eos_end"] == pytest.approx(trainer.state.best_metric, rel=1e-5)
    best = Path(trainer.state.best_model_checkpoint)
    assert best.parent == tmp_path
    assert best.is_dir()
    state = json.loads((best / "trainer_state.json").read_text())
    assert state["best_model_checkpoint"] == str(best)
    named = trainer.evaluate({"one": rows, "two": persona_rows(seed=1)})
    assert {"eval_one_loss", "eval_two_loss"} <= named.keys()


def plain_trainer(directory: Path, model: Any, rows: Any) -> Any:

    plain = [{"input_ids": row.input_ids, "labels": row.labels} for row in rows]
    return transformers.Trainer(
        model,
        arguments(directory, max_steps=4, per_device_train_batch_size=len(rows), eval_strategy="steps", eval_steps=4),
        train_dataset=plain,
        eval_dataset=plain,
        data_collator=padded_batch,
    )


@pytest.mark.parametrize("known", [True, False], ids=["given", "later"])
def test_evaluation_rows_may_reach_a_window_that_training_rows_do_not(known: bool, tmp_path: Path) -> None:
    short, long = persona_rows(12, shared=6), persona_rows(8, shared=60)
    short = short.take(row.index for row in short if len(row.input_ids) <= WINDOW)
    assert len(short) >= 4
    assert short.longest() <= WINDOW < long.longest()
    found = []
    for pack in ("forest", "pad"):
        trainer = ForestTrainer(
            toy("Mistral"),
            arguments(tmp_path, max_steps=1),
            train_dataset=short,
            eval_dataset=long if known else None,
            pack=pack,
        )
        trainer.train()
        assert trainer.way == pack
        found.append(trainer.evaluate(long)["eval_loss"])
    assert found[0] == pytest.approx(found[1], abs=1e-5)


def test_the_callback_tells_what_our_own_training_does(tmp_path: Path) -> None:
    rows = persona_rows(12)
    ours = ForestTrainer(
        toy("Llama"),
        arguments(tmp_path, max_steps=4, per_device_train_batch_size=12),
        train_dataset=rows,
        eval_dataset=rows,
    )
    ours.train()
    theirs = plain_trainer(tmp_path, toy("Llama"), rows)
    finetooth.MetricsCallback.attach(theirs, output=tmp_path / "run")
    theirs.train()
    pairs = zip(ours.state.log_history, [one for one in theirs.state.log_history if "loss" in one], strict=False)
    for one, other in list(pairs)[:4]:
        assert other["loss"] == pytest.approx(one["loss"], abs=1e-5)
        for name in METRICS:
            assert other[name] == pytest.approx(one[name], rel=1e-4), name
    evaluated = next(line for line in theirs.state.log_history if "eval_loss" in line)
    expected = ours.evaluate()
    for name in ("loss", "p_eos_end", "eos_loss"):
        assert evaluated[f"eval_{name}"] == pytest.approx(expected[f"eval_{name}"], rel=1e-3)
    written = list(finetooth.Run(tmp_path / "run").lines("metrics.jsonl"))
    assert [line["step"] for line in written] == [1, 2, 3, 4, 4]
    assert written[0]["p_eos_end"] == pytest.approx(theirs.state.log_history[0]["p_eos_end"])


def test_the_callback_in_sft_trainer(tmp_path: Path) -> None:
    reader = tokenizer()
    trainer = SFTTrainer(
        small_model(reader),
        args=sft_arguments(tmp_path),
        train_dataset=Dataset.from_list([{"text": text} for text in TEXTS]),
        data_collator=finetooth.CompletionOnlyCollator("[/INST] ", tokenizer=reader),
        processing_class=reader,
    )
    finetooth.MetricsCallback.attach(trainer)
    trainer.train()
    first = trainer.state.log_history[0]
    assert first["eos_loss"] == pytest.approx(first["loss"], rel=0.2)  # nothing is learned yet: all tokens are alike
    assert 0 < first["p_eos_end"] < 0.01


def test_the_callback_looks_on_only_where_something_is_logged(tmp_path: Path) -> None:
    seen: list[int] = []
    rows = persona_rows(8)
    trainer = plain_trainer(tmp_path, toy("Llama"), rows)
    trainer.args.eval_strategy = "no"
    trainer.args.logging_steps = 2
    callback = finetooth.MetricsCallback.attach(trainer)
    take_in = callback._take_in

    def counting(*args: Any) -> None:
        seen.append(1)
        take_in(*args)

    callback._take_in = counting
    trainer.control.should_evaluate = False
    trainer.train()
    logged = [line for line in trainer.state.log_history if "p_eos_end" in line]
    assert len(seen) >= len(logged) == 2
    assert not trainer.model._forward_hooks


def test_ends_are_watched_in_padded_rows() -> None:
    labels = torch.tensor([[-100, 5, 6, 2], [-100, 5, 6, -100], [7, -100, 8, 9]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 1, 1]])
    targets = watched_targets(labels, torch.tensor([2]), mask)
    found = list(zip(targets.source_N.tolist(), targets.target_N.tolist(), targets.weight_N.tolist(), strict=True))
    assert found == [
        (0, 5, 1),
        (1, 6, 1),
        (2, 2, 1),
        (4, 5, 1),
        (5, 6, 1),
        (9, 8, 1),
        (10, 9, 1),
        (6, 2, 0),
        (11, 2, 0),
    ]
