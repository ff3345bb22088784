"""Checking as a whole: what stays the same whatever the order, the number of processes, or the way in."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import finetooth
from finetooth import checking, workers
from finetooth.checking import FindingsError, check_records
from finetooth.config import Config, LabelsConfig
from finetooth.demo import DIALOGUES, data_path, tokenizer_path
from finetooth.errors import FinetoothError
from finetooth.labels import encode_records, make_setup
from finetooth.records import records_of
from finetooth.rules import all_rules
from finetooth.types import Finding
from tests.shared_data import SHARED, needs_shared

SPLIT, MASKED, SUPERVISED = (str(tokenizer_path(name)) for name in ("split", "masked", "supervised"))


def dialogues() -> list[dict[str, Any]]:
    lines = data_path(DIALOGUES["ja"]).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def faulty_rows() -> list[dict[str, Any]]:
    """Return pairs of which some are healthy and the others at fault in several ways."""
    rows: list[dict[str, Any]] = []
    for number, row in enumerate(dialogues()[:60]):
        question, answer = row["messages"][1]["content"], row["messages"][2]["content"]
        if number % 5 == 1:
            question += " {name}"
        elif number % 5 == 2:
            answer = ""
        elif number % 5 == 3:
            answer = "\n" + answer
        rows.append({"prompt": f"[INST] {question} [/INST]", "completion": f" {answer}"})
    return rows


def summary(findings: tuple[Finding, ...], *, counts: bool = True) -> set[tuple[Any, ...]]:
    return {
        (f.code, f.severity, f.cause.code if f.cause else None, round(f.share, 6), f.count if counts else None)
        for f in findings
    }


def test_shuffled_rows_give_the_same_findings() -> None:
    rows = faulty_rows()
    shuffled = random.Random(1).sample(rows, len(rows))
    one, other = (finetooth.check(r, model=[SPLIT, MASKED], labels="trl") for r in (rows, shuffled))
    assert len(one.findings) > 5
    assert summary(one.findings) == summary(other.findings)
    assert [part.endings for part in one.parts] == [part.endings for part in other.parts]


def test_rows_twice_over_give_the_same_shares() -> None:
    rows = faulty_rows()
    one, other = (finetooth.check(r, model=SPLIT, labels="trl") for r in (rows, rows + rows))
    assert summary(one.findings, counts=False) == summary(other.findings, counts=False)


def _end(batch: Any, skip: bool) -> Any:
    os._exit(9)


def test_a_process_that_is_killed_is_an_error_and_no_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "FEW", 20)
    monkeypatch.setattr(workers, "_check_in_worker", _end)
    with pytest.raises(FinetoothError, match="ended from outside"):
        finetooth.check(faulty_rows(), model=SPLIT, labels="trl", processes=2)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads the processes of Linux")
def test_no_process_outlives_a_parent_that_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text((json.dumps({"prompt": "a", "completion": "b c d " * 20}) + "\n") * 30_000, encoding="utf-8")
    command = [sys.executable, "-m", "finetooth", "check", str(path), "--model", SPLIT, "--processes", "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as parent:
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
        until = time.monotonic() + 30
        while not children.read_text() and parent.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        assert children.read_text()
        parent.kill()
        # The processes hold the other end of this pipe: it ends when the last of them does.
        parent.communicate(timeout=30)


def test_several_processes_find_what_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "FEW", 16)
    monkeypatch.setattr(checking, "_BATCH", 8)
    rows = faulty_rows()
    one, other = (finetooth.check(rows, model=SPLIT, labels="trl", processes=n) for n in (1, 2))
    assert one.findings == other.findings
    assert one.parts == other.parts


def test_as_is_finds_in_prepared_rows_what_trl_would() -> None:
    rows = faulty_rows()
    setup = make_setup(SPLIT, Config(labels=LabelsConfig(way="trl")))
    prepared = [
        {"input_ids": one.input_ids, "labels": one.labels}
        for one in encode_records(setup, records_of(rows))
        if one.dropped is None
    ]
    codes = {"LAB001", "LAB002", "LAB003"}
    found = [
        {(f.code, f.cause.code if f.cause else None, f.count) for f in report.findings if f.code in codes}
        for report in (
            finetooth.check(rows, model=SPLIT, labels="trl"),
            finetooth.check(prepared, model=SPLIT, labels="as-is"),
        )
    ]
    assert found[0] == found[1] != set()


def test_every_record_takes_exactly_one_branch() -> None:
    report = finetooth.check(faulty_rows(), model=[SPLIT, MASKED, SUPERVISED], labels="causal-lm")
    assert [sum(part.endings.values()) for part in report.parts] == [60, 60, 60]


def test_healthy_dialogues_pass() -> None:
    report = finetooth.check(str(data_path(DIALOGUES["ja"])), model=SUPERVISED)
    assert [f for f in report.findings if f.severity != "info"] == []
    assert set(report.parts[0].endings) == {"stops"}
    report.raise_for_errors()


def test_raise_for_errors_is_for_tests() -> None:
    report = finetooth.check(faulty_rows(), model=SPLIT, labels="trl")
    with pytest.raises(FindingsError, match="error LAB001 split-eos") as caught:
        report.raise_for_errors()
    assert {finding.code for finding in caught.value.findings} >= {"LAB001"}
    assert isinstance(caught.value, AssertionError)


def test_rules_are_selected_by_code_stage_and_name() -> None:
    rows = faulty_rows()
    assert {f.code for f in finetooth.check(rows, model=SPLIT, labels="trl", select=["LAB001"]).findings} == {"LAB001"}
    stage = {f.code[:3] for f in finetooth.check(rows, model=SPLIT, labels="trl", select=["dat"]).findings}
    assert stage == {"DAT"}
    ignored = finetooth.check(rows, model=SPLIT, labels="trl", ignore=["split-eos"])
    assert "LAB001" not in {f.code for f in ignored.findings}
    with pytest.raises(FinetoothError, match="no rule LAB099"):
        finetooth.check(rows, model=SPLIT, select=["LAB099"])


def test_evaluation_data_is_a_part_of_its_own() -> None:
    report = finetooth.check(faulty_rows(), model=SPLIT, eval_data=faulty_rows()[:5])
    assert [(part.data, part.num_records) for part in report.parts] == [("train", 60), ("eval", 5)]


@pytest.mark.filterwarnings("ignore")
def test_a_live_trainer_is_checked_by_what_its_collator_gives(tmp_path: Path) -> None:
    trl = pytest.importorskip("trl")
    from datasets import Dataset
    from transformers import AutoTokenizer, DataCollatorForLanguageModeling, LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1}
    tokenizer = AutoTokenizer.from_pretrained(MASKED)
    trainer = trl.SFTTrainer(
        LlamaForCausalLM(LlamaConfig(**sizes, vocab_size=2000)),
        args=trl.SFTConfig(str(tmp_path), report_to=[], use_cpu=True, bf16=False),
        train_dataset=Dataset.from_list(dialogues()[:10]),
        processing_class=tokenizer,
    )
    assert "LAB002" not in {f.code for f in finetooth.check(trainer).findings}
    trainer.data_collator = DataCollatorForLanguageModeling(tokenizer, mlm=False)
    assert "LAB002" in {f.code for f in finetooth.check(trainer).findings}


def test_a_refused_row_stops_or_is_told_of() -> None:
    rows = [*faulty_rows()[:3], {"messages": [{"role": "user", "content": "混ざった行"}]}]
    setup = make_setup(SPLIT, Config(labels=LabelsConfig(way="trl")))
    with pytest.raises(FinetoothError):
        check_records(records_of(rows), [setup], all_rules())
    told: list[FinetoothError] = []
    report = check_records(records_of(rows), [setup], all_rules(), on_broken=told.append)
    assert report.num_records == 3
    assert [error.where for error in told] == ["<memory>[3]"]


@needs_shared
class TestReport:
    """The report's own example, and its data."""

    def check(self, tokenizer: str, data: str, **options: Any) -> dict[str, Finding]:
        report = finetooth.check(
            str(SHARED / "data" / data), model=str(SHARED / "data/tokenizers" / tokenizer), **options
        )
        return {finding.code: finding for finding in report.findings}

    def example(self, tokenizer: str) -> dict[str, Finding]:
        return self.check(
            tokenizer, "report-example/text.jsonl", labels="completion-collator", response_template="[/INST] "
        )

    def test_the_first_tokenizer(self) -> None:
        found = self.example("llama2-eos-normalized")
        assert found["LAB001"].cause is not None
        assert found["LAB001"].cause.code == "TOK003"
        assert found["LAB001"].cause.evidence["previous_character"] == "。"
        assert found["LAB001"].fixable
        assert "repaired" in found["RUN002"].cause.text  # type: ignore[union-attr]
        text = found["TOK001"].cause.text  # type: ignore[union-attr]
        assert "text" in text
        assert "tokenizer" in text
        assert {"TPL007", "LAB011", "DAT005"} <= set(found)
        assert not {"TOK009", "TOK012", "RUN001", "LAB002", "LAB003"} & set(found)

    def test_the_second_tokenizer(self) -> None:
        found = self.example("llama2-pad-is-eos")
        assert found["LAB002"].cause is not None
        assert found["LAB002"].cause.code == "pad-is-eos"
        assert "RUN002" in found

    def test_the_third_tokenizer(self) -> None:
        assert not {"LAB001", "LAB002", "LAB003"} & set(self.example("llama2-pad-is-unk"))

    def test_trl_on_plain_pairs_splits_every_row(self) -> None:
        found = self.check("llama2-eos-normalized", "ojousama/ojousamatalkscript200.jsonl", labels="trl")
        assert (found["LAB001"].count, found["LAB001"].share) == (202, 1.0)

    def test_through_the_tokenizers_own_template_the_fault_is_latent(self) -> None:
        data = "ojousama/ojousamatalkscript200_gpt-3.5-1106ver.jsonl"
        for way in ("trl", "finetooth"):
            found = self.check("llama2-eos-normalized", data, labels=way)
            assert "LAB001" not in found
            assert found["TOK003"].severity == "warning"
            assert "わ" in found["TOK003"].message

    def test_no_false_alarm_on_healthy_dialogues(self) -> None:
        assert not self.check("llama2-pad-is-unk", "ojousama/ojousamatalkscript200_gpt-3.5-1106ver.jsonl")

    @pytest.mark.parametrize(
        "name", ["alpaca_en_demo.json", "glaive_toolcall_en_demo.json", "identity.json", "v1_sft_demo.jsonl"]
    )
    def test_no_error_on_the_formats(self, name: str, tmp_path: Path) -> None:
        from tests.rules.fixtures import build_model

        control = [{"content": text, "special": True, "normalized": False} for text in ("<|im_start|>", "<|im_end|>")]
        spec = {
            "base": "demo/supervised",
            "added_tokens": control,
            "tokenizer_config": {"eos_token": "<|im_end|>"},
            "generation_config": {"eos_token_id": 2001},
            "config": {"eos_token_id": 2001, "vocab_size": 2002},
            "template": None,
        }
        model = build_model(spec, tmp_path / "model")
        report = finetooth.check(str(SHARED / "data/formats" / name), model=str(model), template="chatml")
        assert [f for f in report.findings if f.severity == "error"] == []
