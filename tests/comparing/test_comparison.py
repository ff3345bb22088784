"""Comparisons of runs as they lie on disk: what differs, what must be said first, and what is broken."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

import pytest

import finetooth
from finetooth.comparing.entry import Entry
from finetooth.comparing.pages import document_of
from finetooth.documents import Paragraph, Table
from finetooth.documents.naming import names_of, without_common_ends, without_common_folders
from finetooth.errors import ConfigError, DataError
from finetooth.messages import set_language
from finetooth.runs import FINGERPRINT, LOCK, METRICS, MODEL, PROBE, RECIPE, Run
from tests.comparing.recorded import write_run

LITERAL = ("はい。</s> はい。</s>", "まあ。</s>")


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """The report's three set-ups, in the order in which they were begun."""
    runs = tmp_path / "runs"
    write_run(runs / "split", tokenizer="split", outcome="shows-literal", answers=LITERAL, losses=(4.0, 2.0, 1.1))
    write_run(runs / "masked", tokenizer="masked", outcome="runs-on", answers=("はいはいはい",))
    write_run(runs / "whole", losses=(4.0, 2.0, 1.05))
    for number, name in enumerate(("split", "masked", "whole")):
        os.utime(runs / name / RECIPE, (number, number))
    return runs


def text_of(*runs: Path) -> str:
    return str(finetooth.compare(*runs))


def warnings_of(*runs: Path) -> list[str]:
    document = document_of(finetooth.compare(*runs))
    return [block.line[0][0] for block in document.blocks if isinstance(block, Paragraph) and block.tone == "warning"]


def table_of(label: str, *runs: Path) -> dict[str, list[str]]:
    """Return the rows of the first table that has a row of this label."""
    for block in document_of(finetooth.compare(*runs)).blocks:
        if isinstance(block, Table):
            rows = {
                "".join(text for text, _ in row.label): ["".join(text for text, _ in cell) for cell in row.cells]
                for row in block.rows
            }
            if label in rows:
                return rows
    raise AssertionError(f"no table has a row {label}")


def test_a_directory_of_runs_stands_for_them_in_the_order_in_which_they_were_begun(three: Path) -> None:
    assert [entry.name for entry in finetooth.compare(three).entries] == ["split", "masked", "whole"]


def test_only_settings_that_differ_are_told(three: Path) -> None:
    keys = [one.key for one in finetooth.compare(three).settings]
    assert keys == ["tokenizer.path", "labels.way", "labels.response_template"]
    write_run(three.parent / "slower", settings={"learning_rate": 1e-5, "logging_steps": 3})
    other = finetooth.compare(three / "whole", three.parent / "slower")
    assert [(one.key, list(one.values)) for one in other.settings] == [("train.learning_rate", [1e-4, 1e-5])]


def test_the_labels_of_the_report(three: Path) -> None:
    """Its three endings: in pieces, masked, whole; marked is what not all of them hold."""
    rows = table_of("last labels", three)
    split, masked, whole = (cell.split() for cell in rows["last labels"])
    assert split[-6:] == [split[-6], "</", split[-4], "s", split[-2], ">"]
    assert whole[-2:] == ["2", "</s>"]
    assert masked == whole[:-2]
    assert "masked: 2 </s>" in rows["how it ends"][1]
    document = document_of(finetooth.compare(three))
    marked = {
        text
        for block in document.blocks
        if isinstance(block, Table)
        for row in block.rows
        for cell in row.cells
        for text, style in cell
        if style == "differs"
    }
    assert {"2", split[-6], split[-4], split[-2], "</s>"} == marked  # the last is the literal in the answers


def test_prediction_beside_what_was_measured(three: Path, tmp_path: Path) -> None:
    rows = table_of("as predicted", three)
    assert rows["predicted from the labels"] == ["shows the literal 100%", "runs on 100%", "stops 100%"]
    assert rows["measured"] == ["shows the literal 2 / 2", "runs on 1 / 1", "stops 1 / 1"]
    assert rows["as predicted"] == ["✓ yes"] * 3
    write_run(tmp_path / "odd", prediction="stops", outcome="runs-on", answers=("はい",))
    assert table_of("as predicted", tmp_path / "odd")["as predicted"] == ["✗ no"]
    text = text_of(three)
    assert (
        "The final losses lie between 1.00 and 1.10, 0.10 apart, and the answers end in 3 different ways."
        in " ".join(text.split())
    )
    assert "the labels predict something else for odd" in " ".join(text_of(three, tmp_path / "odd").split()).lower()


def test_asked_under_another_template(tmp_path: Path) -> None:
    """What the labels teach holds less surely where the model is asked otherwise than it was trained: that is said."""
    directory = write_run(tmp_path / "run", prediction="stops", outcome="runs-on", answers=("はい",))
    fingerprint, probe = directory / FINGERPRINT, directory / PROBE
    told = "stops 100% (asked under another template)"
    for trained, asked, expected in (("a", "a", "stops 100%"), ("a", "b", told), ("a", None, "stops 100%")):
        fingerprint.write_text(json.dumps({"data_hash": "d" * 64, "template_hash": trained}))
        probe.write_text(json.dumps(json.loads(probe.read_text()) | {"template_hash": asked}))
        assert table_of("as predicted", directory)["predicted from the labels"] == [expected]


def test_different_data_is_said_first(three: Path, tmp_path: Path) -> None:
    assert "different data" not in text_of(three)
    write_run(tmp_path / "other", data_hash="e" * 64, num_records=7)
    first = text_of(three, tmp_path / "other").splitlines()[0]
    assert first.startswith("! The runs were trained on different data")
    assert "7 records" in warnings_of(three, tmp_path / "other")[0]


def test_a_run_that_is_running_and_one_that_died(tmp_path: Path) -> None:
    directory = write_run(tmp_path / "run", finished=False, settings={"max_steps": 90})
    assert warnings_of(directory) == [
        "run ended before its end: step 30. `finetooth train --resume` goes on with a run of finetooth."
    ]
    with (directory / LOCK).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert Run(directory).state == "running"
        assert warnings_of(directory) == ["run is still running: step 30."]
    assert Run(directory).state == "stopped"  # the lock ends with its process
    # What a kill in the middle of a line leaves is no fault.
    with (directory / METRICS).open("a") as file:
        file.write('{"step": 40, "ep')
    assert warnings_of(directory) == [warnings_of(directory)[0]]
    (directory / MODEL).mkdir()
    assert Run(directory).state == "finished"


def test_a_model_that_generates_nothing(tmp_path: Path) -> None:
    directory = write_run(tmp_path / "mute", outcome="stops", answers=("", "  "))
    text = text_of(directory)
    assert text.count("(nothing) ■ stopped") == 2


def test_what_is_broken_is_told_and_the_rest_is_shown(tmp_path: Path) -> None:
    directory = write_run(tmp_path / "run")
    (directory / PROBE).write_text('{"num_prompts": ', encoding="utf-8")
    with (directory / METRICS).open("a") as file:
        file.write("not json\n")
        file.write('{"step": 40, "epoch": 4.0, "loss": NaN}\n')
    said = warnings_of(directory)
    assert any(one.startswith("run: probe.json cannot be read: expecting value") for one in said)
    assert any(one.startswith("run: metrics.jsonl:4 cannot be read") for one in said)
    assert finetooth.compare(directory).entries[0].final("loss") == 1.0


def test_runs_without_a_probe_or_metrics(tmp_path: Path) -> None:
    directory = write_run(tmp_path / "run")
    for name in (PROBE, METRICS, "findings.json", "examples.jsonl", "fingerprint.json"):
        (directory / name).unlink()
    text = " ".join(text_of(directory).split())
    assert "No model was probed" in text
    assert "no check was run before it" in text


def test_probes_that_asked_other_prompts(three: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "other", questions=("別の質問？",))
    assert any("different prompts" in one for one in warnings_of(three / "whole", tmp_path / "other"))
    assert not any("different prompts" in one for one in warnings_of(three / "whole"))


@pytest.mark.parametrize("what", ["absent", "file", "empty"])
def test_what_is_no_run(tmp_path: Path, what: str) -> None:
    path = tmp_path / "here"
    if what == "file":
        path.write_text("")
    elif what == "empty":
        path.mkdir()
    with pytest.raises(DataError) as caught:
        finetooth.compare(path)
    assert caught.value.where == str(path)
    assert caught.value.help


def test_a_run_named_twice(three: Path) -> None:
    with pytest.raises(ConfigError, match="named twice"):
        finetooth.compare(three, three / "whole")


def test_names_tell_runs_apart() -> None:
    assert names_of([Path("/a/one"), Path("/a/two")]) == ["one", "two"]
    assert names_of([Path("/a/x/run"), Path("/a/y/run")]) == ["x/run", "y/run"]


def test_paths_are_told_from_where_they_part() -> None:
    long = "/home/someone/models/tokenizers"
    assert without_common_folders([f"{long}/a", f"{long}/b"]) == ["…/a", "…/b"]
    assert without_common_folders([f"{long}/a", f"{long}/a"]) == ["…/a", "…/a"]
    assert without_common_folders([f"{long}/a/x", f"{long}/b/x"]) == ["…/a/x", "…/b/x"]
    assert without_common_folders([f"{long}/a", "short"]) == ["…/a", "short"]
    assert without_common_folders(["org/name", "finetooth"]) == ["org/name", "finetooth"]


def test_the_last_epoch_is_meant_by_final(tmp_path: Path) -> None:
    directory = write_run(tmp_path / "run")
    lines = [{"step": step, "epoch": step / 2, "loss": float(10 - step)} for step in range(1, 7)]
    (directory / METRICS).write_text("".join(json.dumps(line) + "\n" for line in lines))
    (entry,) = finetooth.compare(directory).entries
    assert isinstance(entry, Entry)
    assert entry.final("loss") == (5.0 + 4.0) / 2  # of epochs 2.5 and 3


def test_machine_output_and_notebooks(three: Path) -> None:
    comparison = finetooth.compare(three)
    plain = comparison.to_json()
    assert [one["as_predicted"] for one in plain["entries"]] == [True] * 3
    assert plain["has_different_data"] is False
    assert json.loads(json.dumps(plain)) == plain
    assert comparison._repr_html_().startswith('<div class="finetooth"><style>')
    set_language("ja")
    assert "予測との一致" in str(comparison)


def test_paths_are_told_by_what_differs() -> None:
    assert without_common_ends(["runs/a/model", "runs/b/model"]) == ["a", "b"]
    assert without_common_ends(["a", "x/b"]) == ["a", "x/b"]
    assert without_common_ends(["m/a", "m/a/b"]) == ["a", "a/b"]
    assert without_common_ends(["org/base"]) == ["base"]
