"""Whole runs: what lies in a run's directory, going on after a kill, several processes, and what goes wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file  # noqa: E402

from finetooth.errors import ConfigError, FinetoothError, TrainingError  # noqa: E402
from finetooth.runs import METRICS, PROBES, SAMPLES, Run  # noqa: E402
from finetooth.training.callbacks import ORDER  # noqa: E402
from finetooth.training.running import CheckFailed, train, train_run  # noqa: E402
from tests.training.recipes import prepared, save_model, write_data, write_recipe  # noqa: E402
from tests.training.toys import relative_difference  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")

FILES = {
    "recipe.yaml",
    "env.json",
    "fingerprint.json",
    "findings.json",
    "examples.jsonl",
    METRICS,
    SAMPLES,
    "probe.json",
    "model",
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)
    yield


def final_weights(run: Path) -> dict[str, Any]:
    return dict(load_file(run / "model" / "model.safetensors"))


def lines(run: Path, name: str = METRICS) -> list[dict[str, Any]]:
    return list(Run(run).lines(name))


def test_probes_during_training(tmp_path: Path) -> None:
    """The same prompts every three steps, before the first and after the last; a run that goes on asks on."""
    recipe = write_recipe(tmp_path, train__probe_steps=3, train__probe_prompts=5)
    (run,) = train(recipe, "out")
    asked = list(run.lines(PROBES))
    assert [line["step"] for line in asked] == [0, 3, 6]
    assert {line["num_prompts"] for line in asked} == {5}
    assert all(sum(line["outcomes"].values()) == 5 for line in asked)
    last = run.read_json("probe.json")
    assert {name: asked[-1][name] for name in ("stop_rate", "leak_rate")} == {
        name: last[name] for name in ("stop_rate", "leak_rate")
    }
    recipe = write_recipe(tmp_path, train__probe_steps="epoch", train__probe_prompts=2)
    (run,) = train(recipe, "epochs")
    assert [line["step"] for line in run.lines(PROBES)] == [0, 3, 6]  # 20 rows, 7 a step


def test_a_run_is_held_while_it_is_trained(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    run = Run(tmp_path / "out")
    run.begin()
    seen: list[str] = []
    train_run(prepared(recipe), run, tell=lambda sentence: seen.append(run.state), progress=False)
    assert "running" in seen
    assert run.state == "finished"
    with run.hold(), pytest.raises(FinetoothError, match="being trained right now"):
        Run(tmp_path / "out").begin(resume=True)


def test_the_directory_of_a_run(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, data__eval_share=0.1, train__eval_steps=3)
    (run,) = train(recipe, "out")
    names = {path.name for path in run.directory.iterdir()}
    assert names == {*FILES, "checkpoint-4", "checkpoint-6"}  # train.save_total_limit
    training = [line for line in run.lines(METRICS) if "loss" in line]
    assert [line["step"] for line in training] == [1, 2, 3, 4, 5, 6]
    assert all(list(line) == ["step", "epoch", *ORDER] for line in training)
    assert training[-1]["loss"] < training[0]["loss"]
    assert 0 < training[0]["p_eos_end"] < 1
    evaluations = [line for line in run.lines(METRICS) if "eval_loss" in line]
    assert [line["step"] for line in evaluations] == [3, 6]
    assert {"eval_eos_loss", "eval_p_eos_end", "eval_p_eos_inside"} <= evaluations[0].keys()
    samples = list(run.lines(SAMPLES))
    assert [line["step"] for line in samples] == [3, 6]
    assert samples[0]["prompt"].endswith("[/INST]")
    assert set(samples[0]) == {"step", "record", "where", "prompt", "text", "ids", "stopped"}
    computed = run.read_json("env.json")["loss"]
    assert computed.pop("max_tokens") > 0
    assert computed == {"function": "finetooth.loss.observed_loss", "label_smoothing": 0.0, "packing": "forest"}


def test_the_model_can_be_loaded_and_says_where_it_is_from(tmp_path: Path) -> None:
    import transformers

    (run,) = train(write_recipe(tmp_path), "out")
    model = run.directory / "model"
    assert not (model / "training_args.bin").exists()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (model / name).read_bytes() == (tmp_path / "base" / name).read_bytes()
    transformers.AutoModelForCausalLM.from_pretrained(model)
    fingerprint = run.read_json("fingerprint.json")
    card = (model / "README.md").read_text(encoding="utf-8")
    for value in ("data_hash", "label_hash", "template_hash", "probe_hash"):
        assert fingerprint[value] in card
    assert "finetooth, train_on completion" in card
    assert "base_model:" in card


def test_an_adapter_is_saved_as_one(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, train__method="lora", lora={"r": 4})
    (run,) = train(recipe, "out")
    assert (run.directory / "model" / "adapter_model.safetensors").is_file()
    assert json.loads((run.directory / "model" / "adapter_config.json").read_text())["r"] == 4
    assert "library_name: peft" in (run.directory / "model" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_less_precision_and_less_memory(precision: str, tmp_path: Path) -> None:
    recipe = write_recipe(
        tmp_path,
        train__precision=precision,
        train__gradient_checkpointing=True,
        train__scheduler="cosine",
        train__warmup_steps=0.5,
        train__save_steps="never",
    )
    (run,) = train(recipe, "out")
    rates = [line["learning_rate"] for line in run.lines(METRICS)]
    assert rates.index(max(rates)) == 3
    assert rates[-1] < rates[3]
    losses = [line["loss"] for line in run.lines(METRICS)]
    assert losses[-1] < losses[0]


def test_a_run_is_repeated_by_its_own_recipe(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, train__max_steps=3)
    train(recipe, "first", sets=["train.learning_rate=0.002"])
    train("first/recipe.yaml", "second")
    for name, weight in final_weights(tmp_path / "first").items():
        assert torch.equal(weight, final_weights(tmp_path / "second")[name])


def test_a_matrix_is_a_run_for_each_variant(tmp_path: Path) -> None:
    recipe = write_recipe(
        tmp_path,
        train__max_steps=2,
        train__save_steps="never",
        matrix={"labels": {"whole": {"labels.train_on": "all"}, "answer": {}}},
    )
    runs = train(recipe, "out")
    assert [run.directory for run in runs] == [Path("out/whole"), Path("out/answer")]
    shares = [next(run.lines(METRICS))["supervised_share"] for run in runs]
    assert shares[0] > 0.9 > shares[1]


@pytest.mark.parametrize("way", ["finetooth", "trl", "causal-lm", "completion-collator"])
def test_any_way_of_labels_is_trained_on(way: str, tmp_path: Path) -> None:
    save_model(tmp_path / "base", tokenizer="masked")
    labels: dict[str, Any] = {"way": way}
    if way == "completion-collator":
        labels["response_template"] = "[/INST]"
    recipe = write_recipe(tmp_path, labels=labels, train__max_steps=2, train__save_steps="never")
    (run,) = train(recipe, "out", check=False)
    line = next(run.lines(METRICS))
    learned = way in ("finetooth", "trl")
    assert (line["eos_loss"] is not None) == learned
    assert line["p_eos_end"] is not None
    findings = run.read_json("findings.json")
    assert (findings["endings"].get("stops", 0) == 20) == learned
    for finding in findings["findings"]:
        said = finding["said"]["ja"]
        assert said["message"] != finding["message"]
        assert (said["cause"] is None) == (finding["cause"] is None)


def test_the_check_stops_what_would_not_learn_to_stop(tmp_path: Path) -> None:
    save_model(tmp_path / "base", tokenizer="masked")
    labels = {"way": "completion-collator", "response_template": "[/INST]"}
    recipe = write_recipe(tmp_path, labels=labels)
    with pytest.raises(CheckFailed, match="LAB002 masked-eos"):
        train(recipe, "out")
    assert not (tmp_path / "out").exists()


# Going on ----------------------------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
import torch
torch.set_num_threads(1)
calls, save = 0, torch.save
def killing(*args, **options):
    global calls
    calls += 1
    if calls == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    return save(*args, **options)
torch.save = killing
import finetooth
finetooth.train(sys.argv[1], "killed", resume=len(sys.argv) > 3)
"""


def in_process(*arguments: str, code: str = KILLED, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=folder, capture_output=True, text=True, encoding="utf-8"
    )


def test_resume_after_a_kill_within_a_checkpoint_equals_no_kill(tmp_path: Path) -> None:
    """With dropout, so that the state of random numbers has to come back as well."""
    save_model(tmp_path / "base", attention_dropout=0.1)
    recipe = write_recipe(tmp_path, train__pack="pad")
    train(recipe, "whole")
    # torch.save is called four times a checkpoint: the second one is cut off in its middle.
    killed = in_process(str(recipe), "6", folder=tmp_path)
    assert killed.returncode == -9, killed.stderr
    run = Run(tmp_path / "killed")
    assert (run.directory / ".saving" / "checkpoint-4").is_dir()
    assert list(run.checkpoints()) == [2]
    assert not run.is_finished
    again = in_process(str(recipe), "0", "resume", folder=tmp_path)
    assert again.returncode == 0, again.stderr
    assert not (run.directory / ".saving").exists()
    assert [line["step"] for line in lines(run.directory)] == [1, 2, 3, 4, 5, 6]
    for one, other in zip(lines(run.directory), lines(tmp_path / "whole"), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], abs=1e-6)
    assert relative_difference(final_weights(run.directory), final_weights(tmp_path / "whole")) < 1e-6


def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    (run,) = train(recipe, "out")
    assert list(run.checkpoints()) == [4, 6]
    last = run.directory / "checkpoint-6" / "model.safetensors"
    last.write_bytes(last.read_bytes()[:-1])
    assert list(run.checkpoints()) == [4]
    (run.directory / "checkpoint-4" / "model.safetensors").write_bytes(b"")
    assert list(run.checkpoints()) == []


def test_intervals_may_change_where_a_run_goes_on(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    (run,) = train(recipe, "out")
    import shutil

    shutil.rmtree(run.directory / "model")
    shutil.rmtree(run.directory / "checkpoint-6")
    train(recipe, "out", resume=True, sets=["train.logging_steps=5"])
    assert [line["step"] for line in run.lines(METRICS)] == [1, 2, 3, 4, 5, 6]
    shutil.rmtree(run.directory / "model")
    shutil.rmtree(run.directory / "checkpoint-6")
    train(recipe, "out", resume=True, sets=["train.logging_steps=6"])
    assert [line["step"] for line in run.lines(METRICS)] == [1, 2, 3, 4, 6]


def test_a_run_goes_on_with_its_own_recipe_alone(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    one = prepared(recipe)
    run = Run(tmp_path / "out")
    run.begin()
    run.write_text("recipe.yaml", one.recipe.to_yaml())
    with pytest.raises(ConfigError, match=r"train.learning_rate was 0.003, and is 0.1"):
        train_run(prepared(recipe, train__learning_rate=0.1), run, resume=True)
    run.write_json("fingerprint.json", {"label_hash": "another"})
    with pytest.raises(TrainingError, match="other rows or other labels"):
        train_run(one, run, resume=True)


def test_a_directory_that_is_not_empty_is_left_alone(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("mine")
    for options in ([], ["force"], ["resume"]):
        with pytest.raises(FinetoothError, match="holds no run of finetooth"):
            train(recipe, "out", force="force" in options, resume="resume" in options)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.tex"]
    with pytest.raises(FinetoothError, match="the output is a file"):
        train(recipe, recipe)


# Several processes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pack", ["forest", "pad"])
def test_two_ranks_equal_one(pack: str, tmp_path: Path) -> None:
    """Seven rows a step: they do not divide by two, and neither do the packs."""
    recipe = write_recipe(tmp_path, train__pack=pack, train__pack_tokens=150, data__eval_share=0.2)
    train(recipe, "one")
    command = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", _free_port()]
    process = subprocess.run(
        [sys.executable, *command, "-m", "finetooth", "train", str(recipe), "-o", "two"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "100"},
    )
    assert process.returncode == 0, process.stderr
    one, two = lines(tmp_path / "one"), lines(tmp_path / "two")
    assert [line["step"] for line in one] == [line["step"] for line in two]
    for mine, other in zip(one, two, strict=True):
        for name in mine:
            if name.removeprefix("eval_") not in ("rows_per_s", "tokens_per_s"):
                assert mine[name] == pytest.approx(other[name], abs=1e-5), name
    assert relative_difference(final_weights(tmp_path / "two"), final_weights(tmp_path / "one")) < 1e-5


def _free_port() -> str:
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return str(one.getsockname()[1])


# What goes wrong ---------------------------------------------------------------------------------------------------


def test_a_loss_that_is_no_number_names_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One token has a row of NaN: rows that hold it are named, and no others."""
    recipe = write_recipe(tmp_path)
    one = prepared(recipe)
    bad = one.rows[3].input_ids[-3]
    places = {row.where for row in one.rows if bad in row.input_ids}
    import finetooth.training.building as building

    load = building.load_model

    def broken(config: Any) -> Any:
        model = load(config)
        embed = model.get_input_embeddings()
        embed.register_forward_hook(
            lambda module, args, output: output.masked_fill((args[0] == bad)[..., None], float("nan"))
        )
        return model

    monkeypatch.setattr(building, "load_model", broken)
    run = Run(tmp_path / "out")
    run.begin()
    with pytest.raises(TrainingError, match="the loss is nan at step 0") as raised:
        train_run(one, run)
    named = set(raised.value.what.rpartition("because of ")[2].split(", "))
    assert named
    assert named <= places
    assert raised.value.where in places


def test_weights_that_are_no_numbers_are_told_apart(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, train__learning_rate=1e30, train__max_grad_norm=0)
    with pytest.raises(TrainingError, match=r"weights are no numbers at step|the loss is nan") as raised:
        train(recipe, "out")
    assert "train.jsonl:" in raised.value.what


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        # What torch 2.13 says on a disk that is full.
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 529536 vs 529424"),
    ],
    ids=["OSError", "torch"],
)
def test_a_full_disk_leaves_the_last_whole_checkpoint(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = write_recipe(tmp_path)
    calls, save = 0, torch.save

    def full(*args: Any, **options: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 6:
            raise error
        save(*args, **options)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(TrainingError, match="checkpoint-4 cannot be written") as raised:
        train(recipe, "out")
    assert "--resume" in (raised.value.help or "")
    run = Run(tmp_path / "out")
    assert list(run.checkpoints()) == [2]
    assert not (run.directory / ".saving").exists()
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    train(recipe, "out", resume=True)
    assert run.is_finished


def test_an_empty_completion_teaches_nothing_and_harms_nothing(tmp_path: Path) -> None:
    data = write_data(tmp_path / "train.jsonl", 6)
    empty = {"prompt": "[INST] はい？ [/INST]", "completion": ""}
    data.write_text(json.dumps(empty) + "\n", encoding="utf-8")
    recipe = write_recipe(tmp_path, train__max_steps=2, train__save_steps="never")
    (run,) = train(recipe, "out", check=False)
    assert [line["loss"] is not None for line in run.lines(METRICS)] == [True, True]


def test_a_row_longer_than_the_budget_has_a_pack_of_its_own(tmp_path: Path) -> None:
    recipe = write_recipe(
        tmp_path, train__max_steps=2, train__save_steps="never", train__pack="forest", train__pack_tokens=8
    )
    (run,) = train(recipe, "out")
    assert run.is_finished


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ({"model": "./nowhere"}, "nowhere"),
        ({"data": "nowhere.jsonl"}, "nowhere.jsonl"),
        ({"train__learning_rte": 1}, "unknown key `train.learning_rte`"),
        ({"train__batch_size": "many"}, "`train.batch_size` cannot be `many`"),
        ({"train__batch_size": 0}, "`train.batch_size` cannot be `0`"),
        ({"train__scheduler": "steep"}, "--> train.scheduler"),
        ({"train__optimizer": "steep"}, "--> train.optimizer"),
        ({"train__report_to": "nobody"}, "--> train.report_to"),
        ({"train__precision": "fp16"}, "fp16 needs an accelerator"),
        ({"train__method": "lora", "lora": {"target_modules": ["nothing"]}}, "RUN005"),
        (
            {"train__method": "lora", "lora": {"target_modules": ["nothing"]}, "check": {"ignore": ["RUN005"]}},
            "the adapter cannot be made",
        ),
        ({"tokenizer": str(Path("base") / "nowhere")}, "nowhere"),
    ],
    ids=str,
)
def test_a_wrong_recipe_is_refused(keys: dict[str, Any], complaint: str, tmp_path: Path) -> None:
    with pytest.raises(FinetoothError) as raised:
        train(write_recipe(tmp_path, **keys), "out")
    assert complaint in str(raised.value)
    # Nothing is left that would stand in the way of the mended recipe.
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())


def test_an_adapter_is_no_model(tmp_path: Path) -> None:
    train(write_recipe(tmp_path, train__method="lora", train__max_steps=1, train__save_steps="never"), "out")
    with pytest.raises(ConfigError, match="holds an adapter, and no model"):
        train(write_recipe(tmp_path, model="out/model"), "again")


def test_a_recipe_names_model_and_data(tmp_path: Path) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text("train: {epochs: 1}\n")
    with pytest.raises(ConfigError, match="names no model"):
        train(path, "out")
    path.write_text(f"model: {save_model(tmp_path / 'base')}\n")
    with pytest.raises(ConfigError, match="names no data"):
        train(path, "out")
    (tmp_path / "base" / "model.safetensors").unlink()
    path.write_text("model: base\ndata: x.jsonl\n")
    with pytest.raises(ConfigError, match="holds no weights"):
        train(path, "out")


def test_ids_beyond_the_model_are_refused_by_name(tmp_path: Path) -> None:
    save_model(tmp_path / "base", vocab_size=300)
    with pytest.raises(CheckFailed, match="RUN004"):
        train(write_recipe(tmp_path), "out")
    with pytest.raises(TrainingError, match="has 300 rows of embeddings") as raised:
        train(write_recipe(tmp_path), "out", check=False)
    assert (raised.value.where or "").startswith(str(tmp_path / "train.jsonl"))
