from __future__ import annotations

import json
from pathlib import Path

import pytest

from finetooth.cli.help import columns
from finetooth.demo import data_path, tokenizer_path
from tests.cli.conftest import Finetooth
from tests.personas.personas import sheet
from tests.shared_data import SHARED, needs_shared

MODEL = str(tokenizer_path("supervised"))
JAPANESE, ENGLISH = str(data_path("persona.ja.yaml")), str(data_path("persona.en.yaml"))
DIALOGUES = str(data_path("dialogues.en.jsonl"))


def test_build(finetooth: Finetooth, tmp_path: Path) -> None:
    result = finetooth("persona", "build", DIALOGUES, "-p", ENGLISH, "-m", MODEL, "-o", "rows.jsonl")
    assert (result.code, result.out) == (0, "")
    assert result.err.splitlines()[0].startswith("60 rows; ")
    assert result.err.splitlines()[1:] == [
        "60 system messages gave way to the persona's",
        "rows written to rows.jsonl",
    ]
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 60
    assert all(row["messages"][0]["role"] == "system" for row in rows)
    result = finetooth("check", "rows.jsonl", "-m", MODEL)
    assert result.code == 0, result.out


def test_build_writes_to_standard_output_and_says_nothing_in_quiet(finetooth: Finetooth) -> None:
    result = finetooth("persona", "build", DIALOGUES, "-p", ENGLISH, "-m", MODEL, "-q")
    assert (result.code, result.err) == (0, "")
    assert len(result.out.splitlines()) == 60


def test_refused_dialogues_are_told_and_give_exit_code_1(finetooth: Finetooth, tmp_path: Path) -> None:
    good = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hi"}]}
    lines = [good, {"text": "\x1b[31m"}, good, {"messages": good["messages"][:1]}]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = finetooth("persona", "build", "d.jsonl", "-p", ENGLISH, "-m", MODEL, "-o", "rows.jsonl")
    assert result.code == 1
    assert "2 dialogues refused:" in result.err
    assert "  1  the last turn is the user's, so there is nothing to learn  --> d.jsonl:4" in result.err.splitlines()
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize("text", ['{"text": "x"}\n', "", "{\n"])
def test_a_build_that_fails_leaves_what_was_there(finetooth: Finetooth, tmp_path: Path, text: str) -> None:
    (tmp_path / "d.jsonl").write_text(text)
    (tmp_path / "rows.jsonl").write_text("before")
    result = finetooth("persona", "build", "d.jsonl", "-p", ENGLISH, "-m", MODEL, "-o", "rows.jsonl")
    assert result.code == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == [".git", "d.jsonl", "rows.jsonl"]
    assert (tmp_path / "rows.jsonl").read_text() == "before"


def test_broken_rows_can_be_passed_over(finetooth: Finetooth, tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text('{"nothing": 1}\n{"prompt": "Hi", "completion": "Hi"}\n')
    result = finetooth("persona", "build", "d.jsonl", "-p", ENGLISH, "-m", MODEL, "--skip-broken")
    assert result.code == 0
    assert "rows skipped: 1" in result.err


def test_outputs_that_would_do_harm(finetooth: Finetooth, tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text('{"prompt": "Hi", "completion": "Hi"}\n')
    result = finetooth("persona", "build", "d.jsonl", "-p", ENGLISH, "-m", MODEL, "-o", "d.jsonl")
    assert result.code == 2
    result = finetooth("persona", "build", "d.jsonl", "-p", ENGLISH, "-m", MODEL, "-o", "rows.parquet")
    assert result.code == 2
    assert "rows.parquet" in result.err


def test_every_mistake_of_a_sheet_is_shown(finetooth: Finetooth, tmp_path: Path) -> None:
    path = sheet(tmp_path, "name: 3\nsystem_prompt: x\nstyle_pattern: y\n")
    result = finetooth("persona", "build", DIALOGUES, "-p", path.name, "-m", MODEL)
    assert result.code == 2
    assert result.err.count("error:") == 2
    assert " --> persona.yaml:1" in result.err
    assert " --> persona.yaml:3" in result.err


def test_check_of_data(finetooth: Finetooth) -> None:
    result = finetooth("persona", "check", DIALOGUES, "-p", ENGLISH)
    assert result.code == 0
    assert result.out.startswith("Rosalind Penhallow: 65 answers\n")
    result = finetooth("persona", "check", DIALOGUES, "-p", ENGLISH, "--format", "json")
    assert json.loads(result.out)["measures"]["style"]["share"] == 1.0
    assert result.err == ""


def test_what_is_found_gives_exit_code_1(finetooth: Finetooth, tmp_path: Path) -> None:
    path = sheet(tmp_path)
    (tmp_path / "ok.jsonl").write_text('{"prompt": "x", "completion": "I do so."}\n')
    (tmp_path / "bad.jsonl").write_text('{"prompt": "x", "completion": "\\u001b[31mI love spiders, indeed."}\n')
    assert finetooth("persona", "check", "ok.jsonl", "-p", path.name).code == 0
    assert finetooth("persona", "check", "ok.jsonl", "-p", path.name, "--fail-under", "0.5").code == 1
    result = finetooth("persona", "check", "bad.jsonl", "-p", path.name, "-o", "report.json")
    assert result.code == 1
    assert "love spiders  ≠  She is afraid of spiders." in result.out
    assert "bad.jsonl:1" in result.out
    assert "\x1b" not in result.out
    assert json.loads((tmp_path / "report.json").read_text())["num_contradictions"] == 1


def test_check_of_a_run_and_of_a_probe(finetooth: Finetooth, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    probe = json.dumps({"num_prompts": 1, "samples": [{"where": "x:1", "question": "q", "text": "Quite so, my dear."}]})
    (tmp_path / "run" / "probe.json").write_text(probe)
    (tmp_path / "other.json").write_text(probe)
    for name in ("run", "run/probe.json", "other.json"):
        result = finetooth("persona", "check", name, "-p", ENGLISH)
        assert result.out.startswith("Rosalind Penhallow: 1 answers"), result.err
    (tmp_path / "empty").mkdir()
    assert finetooth("persona", "check", "empty", "-p", ENGLISH).code == 2


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        (DIALOGUES, "--model", MODEL),
        ("--model", MODEL),
        ("--model", MODEL, "--data", DIALOGUES, "--prompts", "x"),
        (DIALOGUES, "--data", DIALOGUES),
        (DIALOGUES, "--adapter", "x"),
        ("none.jsonl",),
    ],
)
def test_what_cannot_be_checked(finetooth: Finetooth, arguments: tuple[str, ...]) -> None:
    result = finetooth("persona", "check", *arguments, "-p", ENGLISH)
    assert result.code == 2
    assert "help:" in result.err


@needs_shared
def test_check_of_a_model(finetooth: Finetooth, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "prompts.txt").write_text("Can you whistle?\n")
    result = finetooth(
        "persona", "check", "--model", str(SHARED / "data" / "stories260K"), "--prompts", "prompts.txt", "-p", ENGLISH,
        "--max-new-tokens", "8", "--fail-under", "1",
    )  # fmt: skip
    assert (result.code, result.err) == (1, "")
    assert "prompts.txt:1" in result.out


@pytest.mark.parametrize("lang", ["en", "ja"])
@pytest.mark.parametrize("word", ["build", "check"])
def test_help_fits_eighty_columns(finetooth: Finetooth, word: str, lang: str) -> None:
    result = finetooth("persona", word, "--help", "--lang", lang)
    assert result.code == 0
    lines = [line for line in result.out.splitlines() if not line.lstrip().startswith("finetooth ")]
    assert [line for line in lines if columns(line) > 80] == []


def test_a_word_that_is_none(finetooth: Finetooth) -> None:
    result = finetooth("persona", "chekc")
    assert result.code == 2
    assert "did you mean `finetooth persona check`" in result.err


@pytest.mark.parametrize("width", [40, 80])
def test_lines_of_answers_fit_the_terminal(
    finetooth: Finetooth, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    (tmp_path / "d.jsonl").write_text(json.dumps({"prompt": "x", "completion": "これは長い返事です。" * 20}) + "\n")
    result = finetooth("persona", "check", "d.jsonl", "-p", JAPANESE, "--lang", "ja")
    answers = result.out.split("特に問題のある応答:\n")[1].splitlines()
    assert answers[1].endswith("…")
    assert columns(answers[1]) <= width
