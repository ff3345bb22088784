"""From the demo's broken tokenizer to every format."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest

from finetooth.checking import Report, check_records
from finetooth.config import Config, LabelsConfig
from finetooth.demo import EXAMPLE, data_path, tokenizer_path
from finetooth.formats import github, html, jsonlines, markdown, sarif, text
from finetooth.inspection import open_records
from finetooth.labels import make_setup
from finetooth.messages import set_language
from finetooth.rules import all_rules
from tests.formats.test_sarif import validator


@cache
def split(language: str) -> Report:
    """Return what is found on the example with the tokenizer whose EOS is cut into pieces."""
    set_language(language)
    config = Config(labels=LabelsConfig(way="completion-collator", response_template="[/INST]"))
    setups = [make_setup(str(tokenizer_path(name)), config) for name in ("split", "supervised")]
    records = open_records([str(data_path(EXAMPLE))], config.data, None)
    return check_records(records, setups, all_rules())


def test_the_report_tells_the_end_that_is_in_pieces() -> None:
    drawn = "".join(text.render(split("en"), width=100, color=False))
    assert "error LAB001 split-eos" in drawn
    assert "because TOK003:" in drawn
    assert "[</* " in drawn


def test_every_format_tells_the_same_findings() -> None:
    report = split("en")
    objects = [json.loads(line) for line in jsonlines.render(report)]
    log: dict[str, Any] = json.loads("".join(sarif.render(report, all_rules())))
    assert list(validator().iter_errors(log)) == []
    codes = [finding.code for finding in report.findings]
    assert codes and [finding["code"] for finding in objects] == codes
    assert [result["ruleId"] for result in log["runs"][0]["results"]] == codes
    for code in codes:
        for drawn in (
            "".join(text.render(report, width=100, color=False)),
            "".join(markdown.render(report)),
            "".join(html.render(report, title="example")),
        ):
            assert code in drawn


def test_github_points_at_the_records() -> None:
    commands = list(github.render(split("en")))
    assert any(line.startswith("::error ") and "line=" in line for line in commands)


@pytest.mark.parametrize("width", [40, 80])
def test_japanese(width: int) -> None:
    report = split("ja")
    set_language("ja")
    drawn = "".join(text.render(report, width=width, color=False))
    assert "応答の終わり方" in drawn
    assert "エラー LAB001 split-eos" in drawn


def test_every_format_ends_its_last_line() -> None:
    for pieces in (
        text.render(split("en"), width=80, color=False),
        jsonlines.render(split("en")),
        github.render(split("en")),
        sarif.render(split("en")),
        markdown.render(split("en")),
        html.render(split("en"), title="x"),
    ):
        assert "".join(pieces).endswith("\n")
