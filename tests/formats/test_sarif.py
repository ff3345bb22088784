from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from finetooth.checking import Report
from finetooth.formats.sarif import FINGERPRINT, render
from finetooth.messages import set_language
from finetooth.rules import Rule, all_rules
from finetooth.types import Place
from tests.formats.samples import (
    HOSTILE,
    broken,
    check_golden,
    healthy,
    hostile,
    make_finding,
    make_part,
    make_report,
    split_eos,
)

SCHEMA = Path(__file__).with_name("sarif-schema-2.1.0.json")

RULES = tuple(
    Rule(
        code=code,
        name=name,
        severity="error",
        scope="record",
        run=None,
        documentation=f"Find {name}.\n\n## What it does\nLooks\nat it.\n\n## Why it is bad\nIt is.",
        fix="safe",
    )
    for code, name in (("LAB001", "split-eos"), ("TOK004", "loader-drift"))
)


@cache
def validator() -> Any:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    kind = jsonschema.validators.validator_for(schema)
    kind.check_schema(schema)
    return kind(schema, format_checker=kind.FORMAT_CHECKER)


def log_of(report: Report, rules: tuple[Rule, ...] | None = RULES) -> dict[str, Any]:
    log: dict[str, Any] = json.loads("".join(render(report, rules)))
    errors = [f"{error.json_path}: {error.message}" for error in validator().iter_errors(log)]
    assert errors == []
    return log


def results(report: Report) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = log_of(report)["runs"][0]["results"]
    return found


def test_golden() -> None:
    text = "".join(render(broken(), RULES))
    version = json.loads(text)["runs"][0]["tool"]["driver"]["version"]
    check_golden("broken.sarif", text.replace(f'"{version}"', '"VERSION"'))


@pytest.mark.parametrize("report", [broken, healthy, hostile, make_report])
@pytest.mark.parametrize("language", ["en", "ja"])
def test_the_schema_of_the_standard_is_kept(report: Any, language: str) -> None:
    set_language(language)
    assert log_of(report())["version"] == "2.1.0"


def test_the_schema_finds_what_is_wrong() -> None:
    log = log_of(broken())
    log["runs"][0]["results"][0]["level"] = "info"
    assert not validator().is_valid(log)


def test_every_rule_is_described() -> None:
    rules = log_of(healthy(), None)["runs"][0]["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == [rule.code for rule in all_rules()]
    for rule in rules:
        assert rule["shortDescription"]["text"] and rule["fullDescription"]["text"] and rule["help"]["markdown"]


def test_a_rule_is_what_its_docstring_says() -> None:
    rule = log_of(healthy())["runs"][0]["tool"]["driver"]["rules"][0]
    assert (rule["shortDescription"]["text"], rule["fullDescription"]["text"]) == ("Find split-eos.", "Looks at it.")
    assert rule["defaultConfiguration"] == {"level": "error"}
    assert rule["help"]["markdown"].startswith("Find split-eos.\n\n## What it does")


def test_results_point_at_their_rules() -> None:
    run = log_of(broken())["runs"][0]
    rules = run["tool"]["driver"]["rules"]
    assert [rules[result["ruleIndex"]]["id"] for result in run["results"]] == ["LAB001", "TOK003", "RUN002", "TOK008"]
    assert [result["level"] for result in run["results"]] == ["error", "warning", "warning", "note"]
    assert [result["occurrenceCount"] for result in run["results"]] == [200, 1, 1, 4]


def test_locations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.parquet").touch()
    split, _, pad, fallback = results(broken())
    assert split["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": "train.jsonl", "uriBaseId": "%SRCROOT%"},
        "region": {"startLine": 1},
    }
    assert split["locations"][0]["message"]["text"].startswith("… ▁で*")
    assert split["locations"][0]["properties"]["first_token"] == 20
    assert pad["locations"][0]["logicalLocations"] == [{"fullyQualifiedName": "lab/chat-masked"}]
    assert fallback["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "data.parquet"
    assert fallback["locations"][0]["logicalLocations"] == [{"fullyQualifiedName": "data.parquet[17]"}]


def test_a_fingerprint_outlives_a_moved_row_and_a_renamed_folder() -> None:
    def fingerprint(**changes: Any) -> str:
        (result,) = results(make_report(make_part([replace(split_eos(), **changes)])))
        value: str = result["partialFingerprints"][FINGERPRINT]
        return value

    same = fingerprint()
    assert fingerprint(model="/elsewhere/chat-split", places=(Place(record=9, where="other.jsonl:10"),)) == same
    assert fingerprint(hashes=("other",)) != same
    assert fingerprint(labels_way="trl") != same
    assert fingerprint(code="LAB002") != same


def test_text_is_no_placeholder_and_no_link() -> None:
    (result,) = results(make_report(make_part([make_finding(message="a {0} [b](http://c) {% generation %}")])))
    assert result["message"]["text"] == "a {{0} [b] (http://c) {% generation %}"


def test_what_was_not_run_is_a_notification() -> None:
    first, second = log_of(broken())["runs"][0]["invocations"][0]["toolExecutionNotifications"]
    assert first["associatedRule"] == {"id": "TOK004", "index": 1}
    assert "it needs transformers" in first["message"]["text"]
    assert "was not checked" in second["message"]["text"]


def test_hostile_data_stays_data() -> None:
    text = "".join(render(hostile(), RULES))
    text.encode("utf-8")
    assert text.replace("\n", "").isprintable()
    assert json.loads(text)["runs"][0]["results"][0]["properties"]["model"] == HOSTILE
