"""What the rules of the tokenizer and of the run find in the report's example, on its three tokenizers."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetooth.checking import SetupReport, check_records
from finetooth.config import Config, DataConfig, LabelsConfig
from finetooth.labels import make_setup
from finetooth.records import read_records
from finetooth.rules import all_rules
from finetooth.types import Finding
from tests.shared_data import SHARED, needs_shared

pytestmark = needs_shared

TOKENIZERS = ("llama2-eos-normalized", "llama2-pad-is-eos", "llama2-pad-is-unk")


def check(data: Path, tokenizer: str, labels: LabelsConfig) -> SetupReport:
    setup = make_setup(str(SHARED / "data/tokenizers" / tokenizer), Config(labels=labels))
    return check_records(read_records([str(data)], DataConfig()), [setup], all_rules()).parts[0]


def check_example(tokenizer: str) -> dict[str, Finding]:
    labels = LabelsConfig(way="completion-collator", response_template="[/INST] ")
    found = check(SHARED / "data/report-example/text.jsonl", tokenizer, labels).findings
    return {finding.code: finding for finding in found}


@pytest.mark.parametrize(
    ("tokenizer", "codes"),
    [
        ("llama2-eos-normalized", {"TOK001", "TOK003", "RUN002"}),
        ("llama2-pad-is-eos", {"TOK001", "RUN002"}),
        ("llama2-pad-is-unk", {"TOK001"}),
    ],
)
def test_codes(tokenizer: str, codes: set[str]) -> None:
    found = check_example(tokenizer)
    assert {code for code in found if code.startswith(("TOK", "RUN"))} == codes


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_two_bos_are_traced_to_text_and_tokenizer(tokenizer: str) -> None:
    cause = check_example(tokenizer)["TOK001"].cause
    assert cause is not None
    assert cause.code == "text+tokenizer"
    assert cause.evidence["ids"] == [1, 1]
    assert cause.evidence["ranges"] == [[0, 0], [0, 3]]
    assert Path(cause.evidence["file"]).name == "tokenizer.json"
    assert cause.evidence["post_processor"] == "TemplateProcessing"


def test_the_split_eos_is_traced_to_flag_and_normalizer() -> None:
    finding = check_example("llama2-eos-normalized")["TOK003"]
    assert finding.folded_under == "LAB001"
    assert finding.severity == "error"
    assert finding.fixable
    assert finding.cause is not None
    evidence = finding.cause.evidence
    assert evidence["ids"] == [829, 29879, 29958]
    assert evidence["stored_pattern"] == "▁</s>"
    assert evidence["previous_character"] == "。"
    assert evidence["token_id"] == 2


@pytest.mark.parametrize(
    ("tokenizer", "cause", "folded_under"),
    [
        ("llama2-eos-normalized", "masks-once-repaired", None),
        ("llama2-pad-is-eos", "masks-now", "LAB002"),
    ],
)
def test_the_harm_of_the_padding_token(tokenizer: str, cause: str, folded_under: str | None) -> None:
    finding = check_example(tokenizer)["RUN002"]
    assert finding.severity == "warning"
    assert finding.cause is not None
    assert finding.cause.code == cause
    assert finding.folded_under == folded_under
    assert finding.help is not None
    assert "<unk>" in finding.help


def test_a_space_before_the_eos_hides_the_fault() -> None:
    data = SHARED / "data/ojousama/ojousamatalkscript200.jsonl"
    part = check(data, "llama2-eos-normalized", LabelsConfig())
    (finding,) = (finding for finding in part.findings if finding.code == "TOK003")
    assert finding.severity == "warning"
    assert finding.folded_under is None
    assert finding.cause is not None
    # The answers' own last characters, by how often they end one.
    assert finding.cause.evidence["last_characters_of_answers"][:3] == ["わ", "の", "！"]
    assert " " not in finding.cause.evidence["contexts"]


def test_real_dialogues_on_a_right_tokenizer() -> None:
    data = SHARED / "data/ojousama/ojousamatalkscript200.jsonl"
    part = check(data, "llama2-pad-is-unk", LabelsConfig())
    assert [finding.code for finding in part.findings if finding.code.startswith(("TOK", "RUN"))] == []
