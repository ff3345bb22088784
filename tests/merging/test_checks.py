"""What is checked before a merge, and what stops it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import finetooth
from finetooth.checking import Report
from finetooth.merging.checks import STRETCH, STRETCHES, ChecksFailed, check_configuration, stretches
from finetooth.merging.configuration import parse_merges
from finetooth.merging.methods import METHODS
from finetooth.runs import FINDINGS
from tests import small_tokenizers
from tests.merging.test_merge import settings
from tests.merging.toys import family, read_weights, weights, write_model
from tests.small_tokenizers import copy_of, llama_bpe


def reports_of(config: Any, output: Path, **more: Any) -> list[Report]:
    found: list[Report] = []
    finetooth.merge(config, output, on_report=found.append, **more)
    return found


def with_tokenizers(root: Path, names: str = "abc") -> Path:
    """Write a family of models with a tokenizer each, all the same."""
    vocab = llama_bpe().get_vocab_size()
    family(root, names, vocab=vocab)
    for directory in root.iterdir():
        small_tokenizers.save_model(directory, llama_bpe())
    return root


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_tokenizers(tmp_path_factory.mktemp("healthy"))


@pytest.mark.parametrize("method", sorted(METHODS))
def test_merges_of_healthy_models_pass_without_findings(method: str, healthy: Path, tmp_path: Path) -> None:
    (report,) = reports_of(settings(healthy, method), tmp_path / "merged")
    assert report.findings == ()
    assert [part.not_run for part in report.parts] == [()]
    assert report.parts[0].data == "merge"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dtypes_and_shards_pass_without_findings(dtype: torch.dtype, tmp_path: Path) -> None:
    family(tmp_path, dtype=dtype, shards=3)
    (report,) = reports_of(settings(tmp_path, "ties"), tmp_path / "merged")
    assert report.findings == ()
    assert {code for code, _ in report.parts[0].not_run} == {"MRG001", "MRG002"}  # there are no tokenizers


def test_a_leaking_child_is_warned_of_and_merged(healthy: Path, tmp_path: Path) -> None:
    tokens = [
        {"id": index, "content": token, "special": True, "normalized": token == "</s>", "single_word": False,
         "lstrip": False, "rstrip": False}
        for index, token in enumerate(small_tokenizers.SPECIAL_TOKENS.values())
    ]  # fmt: skip
    vocab = llama_bpe().get_vocab_size()
    near = read_weights(healthy / "base")
    leaking = write_model(tmp_path / "leaking", weights(8, near=near, vocab=vocab), vocab=vocab)
    small_tokenizers.save_model(leaking, copy_of(llama_bpe(), added_tokens=tokens))
    config = settings(healthy, "slerp", models=[{"model": str(leaking)}])
    (report,) = reports_of(config, tmp_path / "merged")
    (finding,) = report.findings
    assert (finding.code, finding.severity) == ("MRG002", "warning")
    assert finding.cause is not None and finding.cause.code == "splits-eos"
    assert finding.cause.evidence["whole_in"] == [str(healthy / "base")]
    assert str(leaking) in finding.message
    assert (tmp_path / "merged" / "config.json").is_file()
    # It is kept beside the model, in both languages, for whoever reports it.
    (kept,) = json.loads((tmp_path / "merged" / FINDINGS).read_text(encoding="utf-8"))["findings"]
    assert (kept["code"], kept["cause"]["text"]) == ("MRG002", finding.cause.text)
    assert kept["said"]["ja"]["cause"] != kept["cause"]["text"]


def test_errors_stop_a_merge_unless_forced(tmp_path: Path) -> None:
    family(tmp_path, "a")
    write_model(tmp_path / "b", weights(9))  # of no kin to the base
    config = settings(tmp_path, "ties", "ab")
    found: list[Report] = []
    with pytest.raises(ChecksFailed, match=r"MRG005 unrelated-base: .*/b was not made from .*/base(.|\n)*--force") as e:
        finetooth.merge(config, tmp_path / "merged", on_report=found.append)
    assert e.value.exit_code == 1
    assert [one.code for one in e.value.findings] == ["MRG005"]
    assert found[0].findings == e.value.findings
    assert not (tmp_path / "merged").exists()
    assert not list(tmp_path.glob(".merged*")), "nothing was begun"
    assert finetooth.merge(config, tmp_path / "merged", force=True).is_dir()


def test_an_adapter_is_part_of_what_is_read(models: Path, tmp_path: Path) -> None:
    """A base with an adapter is not the base, though its weights are."""
    from safetensors.torch import save_file

    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(
        '{"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": ["q_proj"]}'
    )
    name = "base_model.model.model.layers.0.self_attn.q_proj"
    save_file(
        {f"{name}.lora_A.weight": torch.randn(2, 16), f"{name}.lora_B.weight": torch.full((16, 2), 0.01)},
        adapter / "adapter_model.safetensors",
    )
    copy = tmp_path / "copy"
    shutil.copytree(models / "base", copy)
    for number, (reference, causes) in enumerate({f"{copy}+{adapter}": [], str(copy): ["same-as-base"]}.items()):
        config = settings(models, "task_arithmetic", models=[{"model": reference}])
        (report,) = reports_of(config, tmp_path / f"merged-{number}")
        assert [one.cause.code for one in report.findings if one.cause] == causes


def test_every_stage_is_checked_once_its_models_are_there(models: Path, tmp_path: Path) -> None:
    text = (
        f"name: first\nmerge_method: linear\nmodels:\n- model: {models}/a\n- model: {models}/b\n"
        f"parameters: {{weight: 1}}\n---\n"
        f"merge_method: task_arithmetic\nbase_model: {models}/base\nmodels:\n- model: first\n"
        f"parameters: {{weight: 1}}\n"
    )
    one, two = check_configuration(parse_merges(text, "merge.yaml"), shown="merge.yaml")
    assert (one.model, two.model) == ("merge.yaml (first)", "merge.yaml (1)")
    assert any("first" in reason for code, reason in two.not_run if code == "MRG")
    path = tmp_path / "merge.yaml"
    path.write_text(text)
    assert [report.parts[0].num_models for report in reports_of(path, tmp_path / "merged")] == [2, 2]


def test_a_plan_that_fails_without_a_finding_is_told(models: Path) -> None:
    config = yaml.safe_dump({"merge_method": "linear", "models": [{"model": str(models / name)} for name in "ab"]})
    with pytest.raises(finetooth.FinetoothError, match="needs `weight`"):
        check_configuration(parse_merges(config, "merge.yaml"), shown="merge.yaml")


@pytest.mark.parametrize("total", [0, 1, STRETCH, STRETCHES * STRETCH, STRETCHES * STRETCH + 1, 10_000_000])
def test_elements_are_read_from_the_first_to_the_last(total: int) -> None:
    found = stretches(total)
    assert sum(count for _, count in found) == min(total, STRETCHES * STRETCH)
    if total:
        assert found[0][0] == 0
        assert found[-1][0] + found[-1][1] == total
