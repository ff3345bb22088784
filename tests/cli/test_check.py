"""`finetooth check` on the command line: exit codes, formats, configuration and baselines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from finetooth.demo import DIALOGUES, data_path, tokenizer_path
from tests.cli.conftest import Finetooth
from tests.cli.test_inspect import write_jsonl

SPLIT, SUPERVISED = (str(tokenizer_path(name)) for name in ("split", "supervised"))
PAIRS = [{"prompt": f"[INST] 質問{n} [/INST]", "completion": f" 答え{n}ですわ。"} for n in range(4)]


@pytest.fixture
def pairs(tmp_path: Path) -> str:
    """Return the name of a file of four pairs in the current folder."""
    return write_jsonl(tmp_path / "pairs.jsonl", *PAIRS)


def codes(out: str) -> list[str]:
    return [json.loads(line)["code"] for line in out.splitlines()]


def test_a_healthy_data_set_exits_with_0(finetooth: Finetooth) -> None:
    result = finetooth("check", str(data_path(DIALOGUES["ja"])), "--model", SUPERVISED)
    assert result.code == 0
    assert "298" in result.out


def test_findings_exit_with_1(finetooth: Finetooth, pairs: str) -> None:
    result = finetooth("check", pairs, "--model", SPLIT, "--labels", "trl")
    assert result.code == 1
    assert "LAB001 split-eos" in result.out
    assert "TOK003" in result.out


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--exit-zero"], 0),
        (["--fail-on", "never"], 0),
        (["--fail-on", "error"], 1),
        (["--ignore", "LAB001,TOK003"], 0),
        (["--select", "RUN"], 0),
    ],
)
def test_exit_codes(arguments: list[str], code: int, finetooth: Finetooth, pairs: str) -> None:
    assert finetooth("check", pairs, "--model", SPLIT, "--labels", "trl", *arguments).code == code


def test_json_has_the_keys_of_the_contract(finetooth: Finetooth, pairs: str) -> None:
    result = finetooth("check", pairs, "--model", SPLIT, "--labels", "trl", "--format", "json")
    first = json.loads(result.out.splitlines()[0])
    assert list(first) == [
        "code",
        "name",
        "severity",
        "model",
        "labels_way",
        "count",
        "share",
        "cause",
        "places",
        "message",
        "fixable",
        "folded_under",
    ]
    assert list(first["cause"]) == ["code", "text", "evidence"]
    assert list(first["places"][0]) == ["record", "where", "start", "end", "first_token", "end_token"]
    assert (first["code"], first["model"], first["count"], first["share"]) == ("LAB001", SPLIT, 4, 1.0)
    assert any(json.loads(line)["folded_under"] == "LAB001" for line in result.out.splitlines())


@pytest.mark.parametrize("name", ["json", "github", "sarif"])
def test_machine_formats_stay_english(name: str, finetooth: Finetooth, pairs: str) -> None:
    arguments = ("check", pairs, "--model", SPLIT, "--labels", "trl", "--format", name)
    assert finetooth(*arguments, "--lang", "ja").out == finetooth(*arguments, "--lang", "en").out


@pytest.mark.parametrize("name", ["text", "markdown", "html"])
@pytest.mark.parametrize("lang", ["en", "ja"])
def test_formats_for_people_speak_the_language(name: str, lang: str, finetooth: Finetooth, pairs: str) -> None:
    out = finetooth("check", pairs, "--model", SPLIT, "--labels", "trl", "--format", name, "--lang", lang).out
    assert "LAB001" in out
    assert ("学習" in out) is (lang == "ja")


def test_configuration_by_file(finetooth: Finetooth, pairs: str, tmp_path: Path) -> None:
    (tmp_path / "finetooth.yaml").write_text(
        "labels:\n  way: trl\ncheck:\n  select: [LAB001]\n  fail_on: never\n", encoding="utf-8"
    )
    result = finetooth("check", pairs, "--model", SPLIT, "--format", "json")
    assert (result.code, codes(result.out)) == (0, ["LAB001"])


class TestBaseline:
    """Known findings are not told again, whatever the order of the rows."""

    def test_what_is_known_is_not_told(self, finetooth: Finetooth, pairs: str) -> None:
        arguments = ("check", pairs, "--model", SPLIT, "--labels", "trl")
        assert finetooth(*arguments, "--write-baseline", "known.json").code == 0
        result = finetooth(*arguments, "--baseline", "known.json", "--format", "json")
        assert (result.code, result.out) == (0, "")

    def test_rows_may_be_reordered_and_new_ones_are_told(
        self, finetooth: Finetooth, pairs: str, tmp_path: Path
    ) -> None:
        arguments = ("check", pairs, "--model", SPLIT, "--labels", "trl")
        finetooth(*arguments, "--write-baseline", "known.json")
        new = {"prompt": "[INST] 新しい質問 [/INST]", "completion": " 新しい答えですわ。"}
        write_jsonl(tmp_path / "pairs.jsonl", *reversed(PAIRS), new)
        result = finetooth(*arguments, "--baseline", "known.json", "--format", "json")
        (line,) = [json.loads(line) for line in result.out.splitlines() if json.loads(line)["code"] == "LAB001"]
        assert (result.code, line["count"]) == (1, 1)

    def test_stale_entries_are_reported(self, finetooth: Finetooth, pairs: str, tmp_path: Path) -> None:
        arguments = ("check", pairs, "--model", SPLIT, "--labels", "trl")
        finetooth(*arguments, "--write-baseline", "known.json")
        write_jsonl(tmp_path / "pairs.jsonl", *PAIRS[:2])
        assert "are no longer there" in finetooth(*arguments, "--baseline", "known.json").err


def test_the_output_is_never_an_input(finetooth: Finetooth, pairs: str, tmp_path: Path) -> None:
    before = (tmp_path / pairs).read_bytes()
    result = finetooth("check", pairs, "--model", SPLIT, "-o", pairs)
    assert result.code == 2
    assert (tmp_path / pairs).read_bytes() == before


def test_settings_without_effect_are_told(finetooth: Finetooth, pairs: str) -> None:
    result = finetooth("check", pairs, "--model", SPLIT, "--labels", "trl", "--train-on", "last")
    assert "--train-on has no effect with --labels trl" in result.err
