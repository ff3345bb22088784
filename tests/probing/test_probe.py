"""The probe on models: those that are made to stop, to run on, and to write anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from finetooth.config import config_of  # noqa: E402
from finetooth.errors import ConfigError, DataError, FinetoothError  # noqa: E402
from finetooth.fingerprint import fingerprint  # noqa: E402
from finetooth.labels import make_setup  # noqa: E402
from finetooth.probing.generating import generate, stop_ids_of  # noqa: E402
from finetooth.probing.probe import probe, probe_model  # noqa: E402
from finetooth.probing.prompts import prompts_of_data, prompts_of_lines  # noqa: E402
from finetooth.runs import Run  # noqa: E402
from finetooth.training.running import train  # noqa: E402
from tests.cli.conftest import Finetooth, finetooth  # noqa: E402, F401
from tests.training.recipes import save_model, write_data, write_recipe  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return save_model(tmp_path / "base")


def loaded(path: Path) -> Any:
    import transformers

    return transformers.AutoModelForCausalLM.from_pretrained(path)


def saying(model: Any, *ids: int) -> Any:
    """Make a model write some ids, one after the other, whatever it is asked, and then the last one for ever."""
    model.told = 0

    def steer(module: Any, args: Any, output: Any) -> Any:
        wanted = ids[min(model.told, len(ids) - 1)]
        model.told += 1
        logits = torch.zeros_like(output)
        logits[..., wanted] = 1.0
        return logits

    model.lm_head.register_forward_hook(steer)
    return model


def test_batches_answer_as_one_by_one_does(base: Path) -> None:
    model = loaded(base)
    prompts = [[1, 300, 301], [1, 400], [1, 500, 501, 502, 503, 504]]
    together = generate(model, prompts, max_tokens=8)
    alone = [generate(model, [prompt], max_tokens=8)[0] for prompt in prompts]
    assert together == alone
    assert generate(model, [], max_tokens=8) == []


def test_generation_is_that_of_transformers(base: Path) -> None:
    model = loaded(base)
    expected = model.generate(torch.tensor([[1, 300, 301]]), max_new_tokens=8, do_sample=False, pad_token_id=0)
    assert generate(model, [[1, 300, 301]], max_tokens=8) == [expected[0, 3:].tolist()]


@pytest.mark.parametrize(
    ("said", "rates"),
    [
        ((300, 301, 2), {"stop": 1.0, "leak": 0.0, "runaway": 0.0, "passed_over": 0.0}),
        ((300, 301, 302), {"stop": 0.0, "runaway": 1.0, "repetition": 1.0}),
    ],
)
def test_endings_are_counted(said: tuple[int, ...], rates: dict[str, float], base: Path, tmp_path: Path) -> None:
    setup = make_setup(str(base))
    data = write_data(tmp_path / "train.jsonl", 1)
    model = saying(loaded(base), *said)
    prompts = prompts_of_data([str(data)], setup, config_of({}))
    report = probe_model(model, setup.tokenizer, prompts, name="m", max_new_tokens=30)
    assert {name: report.rate(name) for name in rates} == rates


def test_a_stop_set_without_the_terminator(base: Path, tmp_path: Path) -> None:
    setup = make_setup(str(base))
    model = saying(loaded(base), 300, 2, 301)
    model.generation_config.eos_token_id = 7
    assert stop_ids_of(model) == {7}
    data = write_data(tmp_path / "train.jsonl", 1)
    prompts = prompts_of_data([str(data)], setup, config_of({}))
    report = probe_model(model, setup.tokenizer, prompts, name="m", max_new_tokens=8)
    assert (report.rate("stop"), report.rate("passed_over"), report.rate("leak")) == (0.0, 1.0, 0.0)


def test_prompts_are_what_inference_supplies(base: Path, tmp_path: Path) -> None:
    setup = make_setup(str(base))
    data = write_data(tmp_path / "train.jsonl", 2)
    messages = json.loads(data.read_text(encoding="utf-8").splitlines()[0])["messages"]
    lines = tmp_path / "questions.txt"
    lines.write_text(f"\n{messages[1]['content']}\n", encoding="utf-8")
    (asked,) = prompts_of_lines(lines, setup, system=messages[0]["content"])
    first = next(prompts_of_data([str(data)], setup, config_of({})))
    assert asked.input_ids == first.input_ids
    assert asked.question == first.question == messages[1]["content"]
    assert (asked.where, asked.record) == (f"{lines}:2", 1)
    assert first.answer_tokens > 0


def test_the_last_answer_of_a_conversation_is_asked_for(base: Path, tmp_path: Path) -> None:
    turns = [("user", "はい？"), ("assistant", "ええ。"), ("user", "紅茶は？"), ("assistant", "いただきますわ。")]
    row = {"messages": [{"role": role, "content": content} for role, content in turns]}
    data = tmp_path / "turns.jsonl"
    data.write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    setup = make_setup(str(base))
    (prompt,) = prompts_of_data([str(data)], setup, config_of({}))
    assert prompt.question == "紅茶は？"
    text = setup.tokenizer.backend.decode(prompt.input_ids, skip_special_tokens=False)
    assert "ええ。" in text
    assert "いただき" not in text


def test_a_run_writes_its_probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)
    (run,) = train(write_recipe(tmp_path, train__max_steps=1, train__save_steps="never", train__probe_prompts=3), "out")
    written = run.read_json("probe.json")
    assert written["num_prompts"] == 3
    assert {"stop_rate", "leak_rate", "runaway_rate", "echo_rate", "mean_chars", "samples"} <= written.keys()
    again = probe("out", data="train.jsonl", limit=3)
    assert again.to_json()["counts"] == written["counts"]
    assert [one["ids"] for one in again.to_json()["samples"]] == [one["ids"] for one in written["samples"]]


def test_an_adapter_is_probed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)
    recipe = write_recipe(tmp_path, train__method="lora", train__max_steps=2, train__save_steps="never")
    train(recipe, "out")
    written = Run(Path("out")).read_json("probe.json")
    by_run = probe("out", data="train.jsonl", limit=16)
    by_adapter = probe("base", adapter="out/model", data="train.jsonl", limit=16)
    for report in (by_run, by_adapter):
        assert report.to_json()["counts"] == written["counts"]


def test_what_is_refused(base: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.txt"
    empty.write_text("\n")
    with pytest.raises(ConfigError, match="either data or a file of prompts"):
        probe(base)
    with pytest.raises(DataError, match="nothing to ask"):
        probe(base, prompts=empty)
    with pytest.raises(DataError, match="cannot be read"):
        probe(base, prompts=tmp_path / "nowhere.txt")
    data = write_data(tmp_path / "train.jsonl", 1)
    with pytest.raises(ConfigError, match="is no regular expression"):
        probe(base, data=data, style=["("])
    (base / "model.safetensors").unlink()
    with pytest.raises(FinetoothError, match="the model cannot be loaded"):
        probe(base, data=data)


def test_the_command(finetooth: Finetooth, tmp_path: Path) -> None:  # noqa: F811
    save_model(tmp_path / "base")
    data = write_data(tmp_path / "train.jsonl", 5)
    arguments = ("probe", "base", "--data", str(data), "--max-new-tokens", "4", "--style", "。$", "--asked-chars", "9")
    result = finetooth(*arguments, "-n", "3", "-o", "probe.json")
    assert result.code == 0, result.err
    assert "3 prompts, at most 4 tokens each, stops at 2" in result.out
    assert "ran on to the limit" in result.out
    written = json.loads((tmp_path / "probe.json").read_text(encoding="utf-8"))
    printed = finetooth(*arguments, "-n", "3", "--format", "json")
    assert json.loads(printed.out) == written
    assert finetooth("probe", "base").code == 2
    assert finetooth("probe", "nowhere", "--data", str(data)).code == 2


def test_the_template_of_the_prompts_is_noted(base: Path, tmp_path: Path) -> None:
    """A probe under another template than the one that was trained with is told from one under the same."""
    data = write_data(tmp_path / "train.jsonl", 3)
    own = probe(base, data=str(data), max_new_tokens=2)
    other = probe(base, data=str(data), max_new_tokens=2, config=config_of({"tokenizer.template": "chatml"}))
    assert own.template_hash == fingerprint(make_setup(str(base))).template_hash
    assert other.template_hash not in (None, own.template_hash)
    text = tmp_path / "text.jsonl"
    text.write_text(json.dumps({"text": "<s>[INST] はい？ [/INST] ええ。</s>"}) + "\n", encoding="utf-8")
    config = config_of({"labels.response_template": "[/INST]"})
    assert probe(base, data=str(text), max_new_tokens=2, config=config).template_hash is None


def test_what_is_kept_does_not_grow_with_the_prompts(base: Path, tmp_path: Path) -> None:
    questions = tmp_path / "questions.txt"
    questions.write_text("はい？\n" * 300, encoding="utf-8")
    report = probe(base, prompts=questions, max_new_tokens=1, batch_size=64)
    assert report.num_prompts == sum(report.outcomes.values()) == 300
    assert len(report.samples) <= 40
