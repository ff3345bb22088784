"""`finetooth inspect` on the command line: what it writes where, and what it says of bad input."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetooth.demo import EXAMPLE, TOKENIZERS, data_path, tokenizer_path
from finetooth.template import sandbox
from finetooth.types import IGNORE_INDEX
from tests.cli.conftest import Finetooth
from tests.shared_data import SHARED, needs_shared

ROW = {"messages": [{"role": "user", "content": "元気？"}, {"role": "assistant", "content": "ええ、とても。"}]}
MODEL = str(tokenizer_path("supervised"))


def write_jsonl(path: Path, *rows: Any) -> str:
    lines = (row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path.name


@pytest.fixture
def rows(tmp_path: Path) -> str:
    """Return the name of a file of three rows in the current folder."""
    return write_jsonl(tmp_path / "rows.jsonl", ROW, ROW, ROW)


def supervised(line: str) -> list[int]:
    return [label for label in json.loads(line)["labels"] if label != IGNORE_INDEX]


class TestFormats:
    """What goes to stdout, and what to a file."""

    def test_text_shows_the_first_record(self, finetooth: Finetooth, rows: str) -> None:
        result = finetooth("inspect", rows, "--model", MODEL)
        assert result.code == 0
        assert result.out.startswith("record 0 · rows.jsonl:1 · messages")
        assert "record 1" not in result.out
        assert "\x1b" not in result.out

    def test_records_by_number(self, finetooth: Finetooth, rows: str) -> None:
        result = finetooth("inspect", rows, "--model", MODEL, "--record", "2", "-n", "0")
        assert [line for line in result.out.splitlines() if line.startswith("record")] == [
            "record 0 · rows.jsonl:1 · messages",
            "record 2 · rows.jsonl:3 · messages",
        ]

    def test_json_is_one_line_a_record_and_model(self, finetooth: Finetooth, rows: str) -> None:
        models = [part for name in TOKENIZERS for part in ("--model", str(tokenizer_path(name)))]
        lines = finetooth("inspect", rows, *models, "--format", "json").out.splitlines()
        assert [(json.loads(line)["record"], Path(json.loads(line)["model"]).name) for line in lines] == [
            (record, name) for record in range(3) for name in TOKENIZERS
        ]

    def test_json_stays_english(self, finetooth: Finetooth, rows: str) -> None:
        english = finetooth("inspect", rows, "--model", MODEL, "--format", "json")
        japanese = finetooth("inspect", rows, "--model", MODEL, "--format", "json", "--lang", "ja")
        assert english.out == japanese.out

    def test_html_to_a_file(self, finetooth: Finetooth, rows: str, tmp_path: Path) -> None:
        result = finetooth("inspect", rows, "--model", MODEL, "--format", "html", "-o", "page.html")
        assert (result.code, result.out) == (0, "")
        assert "written: page.html" in result.err
        page = (tmp_path / "page.html").read_text(encoding="utf-8")
        assert page.rstrip().endswith("</html>")
        assert stat.S_IMODE((tmp_path / "page.html").stat().st_mode) == 0o666 & ~current_umask()

    def test_colour_is_for_terminals_and_who_asks(self, finetooth: Finetooth, rows: str) -> None:
        assert "\x1b[" in finetooth("inspect", rows, "--model", MODEL, "--color", "always").out

    def test_ids_and_difference(self, finetooth: Finetooth, rows: str) -> None:
        shown = finetooth("inspect", rows, "--model", MODEL, "--ids").out
        (line,) = finetooth("inspect", rows, "--model", MODEL, "--format", "json", "-n", "0").out.splitlines()
        assert {str(token_id) for token_id in json.loads(line)["input_ids"]} <= set(re.findall(r"\d+", shown))
        both = finetooth("inspect", rows, "--model", MODEL, "--against", "causal-lm", "--diff")
        assert both.code == 0
        assert "difference" in both.out

    def test_japanese(self, finetooth: Finetooth, rows: str) -> None:
        assert finetooth("inspect", rows, "--model", MODEL, "--lang", "ja").out.startswith("レコード 0")

    @needs_shared
    def test_the_reports_three_lists(self, finetooth: Finetooth) -> None:
        expected = json.loads((SHARED / "data/report-example/expected.json").read_text(encoding="utf-8"))
        models = [
            part for name in expected["supervised_labels"] for part in ("-m", str(SHARED / "data/tokenizers" / name))
        ]
        data = str(SHARED / "data/report-example/text.jsonl")
        way = ("--labels", "completion-collator", "--response-template", "[/INST] ")
        lines = finetooth("inspect", data, *models, *way, "--format", "json").out.splitlines()
        assert [supervised(line) for line in lines] == list(expected["supervised_labels"].values())
        assert json.loads(lines[0])["input_ids"] == expected["input_ids_llama2_eos_normalized"]


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def bad(content: str | bytes, name: str = "bad.jsonl") -> Callable[[Path], list[str]]:
    """Return what writes a file and names it."""

    def write(folder: Path) -> list[str]:
        data = content.encode() if isinstance(content, str) else content
        (folder / name).write_bytes(data)
        return [name, "--model", MODEL]

    return write


def with_rows(*arguments: str, row: dict[str, Any] = ROW) -> Callable[[Path], list[str]]:
    return lambda folder: [write_jsonl(folder / "rows.jsonl", row), *arguments]


def with_template(source: str) -> Callable[[Path], list[str]]:
    def write(folder: Path) -> list[str]:
        (folder / "own.jinja").write_text(source, encoding="utf-8")
        return [write_jsonl(folder / "rows.jsonl", ROW), "--model", MODEL, "--template", "own.jinja"]

    return write


def without_tokenizer(folder: Path) -> list[str]:
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text("{}", encoding="utf-8")
    return [write_jsonl(folder / "rows.jsonl", ROW), "--model", "model"]


GOOD = json.dumps(ROW, ensure_ascii=False)
BAD_INPUT: dict[str, tuple[Callable[[Path], list[str]], str, str]] = {
    # what goes in: what writes it and gives the arguments, what the error says, and where
    "an empty file": (bad(""), "no records", "bad.jsonl"),
    "a broken line in the middle": (bad(f'{GOOD}\n{{"messages": [\n{GOOD}\n'), "JSON", "bad.jsonl:2"),
    "UTF-16": (bad(f"{GOOD}\n".encode("utf-16")), "UTF-16", "bad.jsonl"),
    "Latin-1": (bad('{"text": "caf\xe9"}\n'.encode("latin-1")), "UTF-8", "bad.jsonl"),
    "a lone surrogate": (bad('{"text": "\\ud83d"}\n'), "surrogate", "bad.jsonl:1"),
    "a broken line of 50 MB": (bad('{"text": "' + "a" * 50_000_000 + "\n"), "JSON", "bad.jsonl:1"),
    "a missing column": (bad('{"question": "a", "answer": "b"}\n'), "question", "bad.jsonl:1"),
    "an unknown role": (
        bad('{"messages": [{"role": "asistant", "content": "a"}]}\n'),
        "asistant",
        "bad.jsonl:1",
    ),
    "a template that raises": (
        with_template("{{ raise_exception('no such thing') }}"),
        "no such thing",
        "rows.jsonl:1",
    ),
    "a template that loops for ever": (
        with_template("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"),
        "runs for more than",
        "own.jinja",
    ),
    "a template that is no jinja": (with_template("\n{% if %}"), "jinja", "own.jinja:2"),
    "no tokenizer": (without_tokenizer, "no tokenizer", "model"),
    "no such model": (
        lambda folder: [write_jsonl(folder / "rows.jsonl", ROW), "--model", "./nowhere"],
        "no such",
        "nowhere",
    ),
    "no such file": (lambda folder: ["nowhere.jsonl", "--model", MODEL], "nowhere.jsonl", "nowhere.jsonl"),
    "no such record": (
        lambda folder: [write_jsonl(folder / "rows.jsonl", ROW), "--model", MODEL, "--record", "9"],
        "no record 9",
        "--record 9",
    ),
    "no model": (lambda folder: [write_jsonl(folder / "rows.jsonl", ROW)], "no model", "--model"),
    "a difference of one": (
        lambda folder: [write_jsonl(folder / "rows.jsonl", ROW), "--model", MODEL, "--diff"],
        "needs two",
        "--diff",
    ),
    "rows that a trainer refuses": (
        lambda folder: [
            write_jsonl(folder / "rows.jsonl", {"instruction": "a", "output": "b"}),
            "-m",
            MODEL,
            "--labels",
            "trl",
        ],
        "SFTTrainer does not take",
        "rows.jsonl:1",
    ),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_a_clear_error(
    case: str, finetooth: Finetooth, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "MAX_SECONDS", 0.3)
    prepare, what, where = BAD_INPUT[case]
    result = finetooth("inspect", *prepare(tmp_path), "--format", "json")
    error, *rest = result.err.splitlines()
    assert result.code == 2
    assert result.out == ""
    assert error.startswith("error: ")
    assert what in error
    assert any(line.startswith(" --> ") and where in line for line in rest), result.err
    assert any(line.startswith("help: ") for line in rest), "there is no remedy"
    assert max(map(len, result.err.splitlines())) < 400, "an error is read, not scrolled"


@pytest.mark.parametrize("case", ["a broken line in the middle", "a lone surrogate"])
def test_the_rest_goes_on_with_skip_broken(case: str, finetooth: Finetooth, tmp_path: Path) -> None:
    broken = {"a broken line in the middle": '{"messages": [', "a lone surrogate": '{"text": "\\ud83d"}'}[case]
    name = write_jsonl(tmp_path / "rows.jsonl", ROW, broken, ROW)
    result = finetooth("inspect", name, "--model", MODEL, "--format", "json", "--skip-broken")
    assert result.code == 0
    assert [json.loads(line)["where"] for line in result.out.splitlines()] == ["rows.jsonl:1", "rows.jsonl:3"]
    assert "rows skipped: 1" in result.err
    assert "rows.jsonl:2" in result.err


def test_a_row_that_a_template_refuses_is_skipped_as_well(finetooth: Finetooth, tmp_path: Path) -> None:
    refused = {"messages": [{"role": "tool", "content": "42"}]}
    name = write_jsonl(tmp_path / "rows.jsonl", ROW, refused, ROW)
    arguments = ("inspect", name, "--model", MODEL, "--format", "json")
    assert finetooth(*arguments).code == 2
    result = finetooth(*arguments, "--skip-broken")
    assert [json.loads(line)["record"] for line in result.out.splitlines()] == [0, 2]
    assert "rows skipped: 1" in result.err


def test_an_error_leaves_the_earlier_page_as_it_was(finetooth: Finetooth, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("earlier", encoding="utf-8")
    name = write_jsonl(tmp_path / "rows.jsonl", ROW, '{"broken')
    result = finetooth("inspect", name, "--model", MODEL, "--format", "html", "-o", "page.html")
    assert result.code == 2
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == "earlier"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".git", "page.html", "rows.jsonl"]


def test_a_place_that_cannot_be_written_to(finetooth: Finetooth, rows: str) -> None:
    result = finetooth("inspect", rows, "--model", MODEL, "--format", "html", "-o", "nowhere/page.html")
    assert result.code == 2
    assert "nowhere/page.html" in result.err


def test_a_long_line_is_read(finetooth: Finetooth, tmp_path: Path) -> None:
    long = {"messages": [{"role": "user", "content": "長い。" * 20_000}, {"role": "assistant", "content": "はい。"}]}
    result = finetooth("inspect", write_jsonl(tmp_path / "rows.jsonl", long), "--model", MODEL)
    assert result.code == 0
    assert len(result.out) < 20_000, "long masked stretches are shortened"


def test_escape_sequences_in_data_are_not_obeyed(finetooth: Finetooth, tmp_path: Path) -> None:
    row = {
        "messages": [
            {"role": "user", "content": "\x1b[2J\x1b]0;owned\x07"},
            {"role": "assistant", "content": "\x1b[31m"},
        ]
    }
    result = finetooth("inspect", write_jsonl(tmp_path / "rows.jsonl", row), "--model", MODEL)
    assert result.code == 0
    assert not {"\x1b", "\x07"} & set(result.out)


def test_the_example_of_the_package(finetooth: Finetooth) -> None:
    assert finetooth("inspect", str(data_path(EXAMPLE)), "--model", MODEL).code == 0
