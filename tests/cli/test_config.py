from __future__ import annotations

import json
from pathlib import Path

import yaml

from finetooth.cli.help import columns
from finetooth.config import keys
from tests.cli.conftest import Finetooth


def test_every_value_with_its_origin(finetooth: Finetooth, tmp_path: Path) -> None:
    (tmp_path / "finetooth.yaml").write_text("labels:\n  way: trl\n")
    result = finetooth("config", "--set", "labels.max_length=none")
    assert (result.code, result.err) == (0, "")
    head, *rows = [line.split() for line in result.out.splitlines()]
    assert head == ["key", "value", "origin"]
    assert [row[0] for row in rows] == list(keys())
    assert ["labels.way", "trl", "finetooth.yaml:2"] in rows
    assert ["labels.max_length", "none", "--set"] in rows
    assert ["data.name", "null", "default"] in rows


def test_columns_are_aligned_in_japanese(finetooth: Finetooth) -> None:
    lines = finetooth("config", "output", "--lang", "ja").out.splitlines()
    assert len(lines) == 3
    starts = {columns(line[: line.rindex("  ") + 2]) for line in lines}
    assert len(starts) == 1


def test_what_differs_from_the_default_stands_out(finetooth: Finetooth) -> None:
    lines = finetooth("config", "labels", "--set", "labels.way=trl", "--color", "always").out.splitlines()
    assert lines[1].startswith("\x1b[32mlabels.way")
    assert lines[2].startswith("\x1b[2mlabels.train_on")


def test_a_section(finetooth: Finetooth) -> None:
    assert [line.split()[0] for line in finetooth("config", "output").out.splitlines()[1:]] == [
        "output.lang",
        "output.color",
    ]


def test_a_key(finetooth: Finetooth) -> None:
    result = finetooth("config", "labels.way", "--set", "labels.way=trl")
    assert result.out.splitlines() == [
        "labels.way",
        "  Whose labels: our own, those that the rows hold, or those of another piece of",
        "  software.",
        "  value     trl",
        "  origin    --set",
        "  default   finetooth",
        "  allowed   finetooth | as-is | completion-collator | causal-lm | trl",
        "  variable  FINETOOTH_LABELS_WAY",
    ]


def test_an_unknown_key(finetooth: Finetooth) -> None:
    assert finetooth("config", "labels.wey") == (
        2,
        "",
        "error: unknown key `labels.wey`\nhelp: did you mean `labels.way`?\n",
    )


def test_json(finetooth: Finetooth) -> None:
    rows = json.loads(finetooth("config", "--format", "json", "--set", "labels.response_template_ids=1,2").out)
    assert [row["key"] for row in rows] == list(keys())
    assert {
        "key": "labels.response_template_ids",
        "value": [1, 2],
        "origin": "--set",
        "allowed": "INTEGER,... | null",
    } in rows


def test_yaml_is_read_again(finetooth: Finetooth, tmp_path: Path) -> None:
    written = finetooth("config", "--format", "yaml", "--set", "labels.max_length=none", "--set", "data.name=no").out
    assert yaml.safe_load(written)["labels"]["max_length"] == "none"
    (tmp_path / "finetooth.yaml").write_text(written)
    assert finetooth("config", "--format", "yaml").out == written


def test_markdown_escapes_its_bars(finetooth: Finetooth) -> None:
    head, rule, *rows = finetooth("config", "--format", "markdown", "output.lang").out.splitlines()
    assert (head, rule) == ("| key | value | allowed | meaning |", "| --- | --- | --- | --- |")
    assert rows[0].startswith(r"| `output.lang` | `null` | `en \| ja \| null` | The language")
