from __future__ import annotations

import json
from pathlib import Path

import pytest

from finetooth.rules import all_rules
from finetooth.view.visible import cells
from tests.cli.conftest import Finetooth

CODES = [rule.code for rule in all_rules()]


def test_a_rule_by_code_and_by_name(finetooth: Finetooth) -> None:
    by_code = finetooth("rule", "LAB001")
    assert (by_code.code, by_code.err) == (0, "")
    assert by_code.out.startswith("LAB001 split-eos\nseverity: error · looks at: each record · fix: safe\n\n")
    assert "\nWhy it is bad\n  The model learns to write the text `</s>`" in by_code.out
    assert finetooth("rule", "split-eos").out == finetooth("rule", "lab001").out == by_code.out


def test_prose_fits_the_terminal(finetooth: Finetooth, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    for language in ("en", "ja"):
        lines = finetooth("rule", "LAB001", "--lang", language).out.splitlines()
        assert lines and all(cells(line) <= 40 for line in lines)


def test_paragraphs_lists_and_code_keep_their_form(finetooth: Finetooth) -> None:
    out = finetooth("rule", "LAB001").out
    assert "\n  - `TOK003`: the added token" in out
    assert "\n\n\n" not in out


def test_markdown(finetooth: Finetooth) -> None:
    out = finetooth("rule", "LAB001", "--format", "markdown").out
    assert out.startswith("# LAB001 split-eos\n\nseverity: error · ")
    assert "\n## Why it is bad\n" in out


def test_json_is_a_list_of_one_or_all_and_stays_english(finetooth: Finetooth) -> None:
    (one,) = json.loads(finetooth("rule", "LAB001", "--format", "json", "--lang", "ja").out)
    assert list(one) == ["code", "name", "severity", "scope", "fix", "documentation"]
    assert (one["code"], one["severity"], one["scope"], one["fix"]) == ("LAB001", "error", "record", "safe")
    assert "## What it does" in one["documentation"]
    everything = json.loads(finetooth("rule", "--all", "--format", "json").out)
    assert [rule["code"] for rule in everything] == CODES
    assert one in everything


def test_all(finetooth: Finetooth) -> None:
    lines = finetooth("rule", "--all").out.splitlines()
    assert lines[0].split() == ["code", "name", "severity", "fix"]
    assert [line.split()[0] for line in lines[1:]] == CODES
    assert finetooth("rule", "--all", "--lang", "ja").out.startswith("コード  名前")
    table = finetooth("rule", "--all", "--format", "markdown").out.splitlines()
    assert table[1] == "|---|---|---|---|"
    assert len(table) == len(CODES) + 2


def test_an_unknown_name(finetooth: Finetooth) -> None:
    result = finetooth("rule", "splt-eos")
    assert (result.code, result.out) == (2, "")
    assert result.err == "error: there is no rule splt-eos\nhelp: did you mean `split-eos`?\n"


def test_a_name_or_all(finetooth: Finetooth) -> None:
    neither, both = finetooth("rule"), finetooth("rule", "LAB001", "--all")
    assert (neither.code, both.code) == (2, 2)
    assert neither.err.endswith("help: finetooth rule --all\n")
    assert both.err.endswith("help: finetooth rule LAB001\n")


def test_a_broken_configuration_does_not_stop_it(finetooth: Finetooth, tmp_path: Path) -> None:
    (tmp_path / "finetooth.yaml").write_text("labels: [\n")
    assert finetooth("rule", "--all").code == 0


def test_codes_and_names_are_completed() -> None:
    import click

    from finetooth.cli.rule import _complete

    context = click.Context(click.Command("rule"))
    param = click.Argument(["name"])
    assert "LAB001" in [item.value for item in _complete(context, param, "lab0")]
    assert [item.value for item in _complete(context, param, "split-e")] == ["split-eos"]
