"""The findings on the training example of the report, and on the real dialogues."""

from __future__ import annotations

import pytest

from finetooth.checking import SetupReport, check_records
from finetooth.config import Config, DataConfig, LabelsConfig
from finetooth.labels import make_setup
from finetooth.records import read_records
from finetooth.rules import all_rules
from finetooth.types import Finding
from tests.shared_data import SHARED, needs_shared

EXAMPLE = "report-example/text.jsonl"
PAIRS = "ojousama/ojousamatalkscript200.jsonl"
MESSAGES = "ojousama/ojousamatalkscript200_gpt-3.5-1106ver.jsonl"


def check(data: str, tokenizer: str, labels: LabelsConfig) -> SetupReport:
    setup = make_setup(str(SHARED / "data" / "tokenizers" / tokenizer), Config(labels=labels))
    records = list(read_records([str(SHARED / "data" / data)], DataConfig()))
    return check_records(records, [setup], all_rules()).parts[0]


def collator() -> LabelsConfig:
    return LabelsConfig(way="completion-collator", response_template="[/INST] ")


def by_code(part: SetupReport) -> dict[str, Finding]:
    return {finding.code: finding for finding in part.findings}


@needs_shared
def test_split_end() -> None:
    part = check(EXAMPLE, "llama2-eos-normalized", collator())
    found = by_code(part)
    assert not {"LAB002", "LAB003"} & set(found)
    split = found["LAB001"]
    assert split.severity == "error"
    assert split.cause is not None
    assert split.cause.code == "TOK003"
    assert split.cause.evidence["previous_character"] == "。"
    assert split.cause.evidence["ids"] == [829, 29879, 29958]
    assert split.cause.evidence["normalized"] is True
    assert split.cause.evidence["stored_pattern"] == "▁</s>"
    assert split.cause.evidence["token_id"] == 2
    (place,) = split.places
    assert (place.first_token, place.end_token) == (282, 285)
    assert part.endings == {"split-by-normalizer": 1}


@needs_shared
def test_reproduction_shows_the_pieces(capsys: pytest.CaptureFixture[str]) -> None:
    found = by_code(check(EXAMPLE, "llama2-eos-normalized", collator()))
    reproduction = found["LAB001"].reproduction
    assert reproduction is not None
    assert len(reproduction.splitlines()) == 2
    exec(reproduction, {})
    assert "829, 29879, 29958" in capsys.readouterr().out


@needs_shared
def test_masked_end() -> None:
    found = by_code(check(EXAMPLE, "llama2-pad-is-eos", collator()))
    assert not {"LAB001", "LAB003"} & set(found)
    assert found["LAB002"].cause is not None
    assert found["LAB002"].cause.code == "pad-is-eos"
    assert found["LAB002"].cause.evidence["file"].endswith("tokenizer_config.json")


@needs_shared
def test_learned_end() -> None:
    part = check(EXAMPLE, "llama2-pad-is-unk", collator())
    assert not {"LAB001", "LAB002", "LAB003"} & set(by_code(part))
    assert part.endings == {"stops": 1}


@needs_shared
@pytest.mark.parametrize("tokenizer", ["llama2-eos-normalized", "llama2-pad-is-eos", "llama2-pad-is-unk"])
def test_newline_at_the_start(tokenizer: str) -> None:
    found = by_code(check(EXAMPLE, tokenizer, collator()))
    assert found["LAB011"].severity == "warning"
    assert found["LAB011"].cause is not None
    assert found["LAB011"].cause.code == "newline"


@needs_shared
def test_the_end_that_the_trainer_appends_is_split_in_every_row() -> None:
    found = by_code(check(PAIRS, "llama2-eos-normalized", LabelsConfig(way="trl")))
    assert (found["LAB001"].count, found["LAB001"].share) == (202, 1.0)
    assert len(found["LAB001"].places) == 3


@needs_shared
def test_the_space_before_the_end_keeps_it_whole() -> None:
    found = by_code(check(MESSAGES, "llama2-eos-normalized", LabelsConfig()))
    assert "LAB001" not in found


@needs_shared
@pytest.mark.parametrize("data", [PAIRS, MESSAGES])
def test_healthy_data_has_no_finding_of_labels(data: str) -> None:
    part = check(data, "llama2-pad-is-unk", LabelsConfig())
    assert {finding.code for finding in part.findings if finding.code.startswith("LAB")} == set()
    assert part.endings == {"stops": 202}
