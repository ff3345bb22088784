from __future__ import annotations

import json
import shutil
import subprocess
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetooth.fix.difference import Hunks, file_difference
from finetooth.fix.modelcopy import FileChange


def difference(before: str, after: str, name: str = "a.txt", is_new: bool = False) -> str:
    change = FileChange(name=name, before=before, after=after, is_new=is_new)
    return "".join(file_difference(change, name, name, "shown indented"))


def applied(before: str, patch: str) -> str:
    """Apply a unified difference, as `patch` does."""
    old = before.split("\n")
    old = [f"{line}\n" for line in old[:-1]] + ([old[-1]] if old[-1] else [])
    new: list[str] = []
    position = 0
    lines = patch.split("\n")[2:]
    for number, line in enumerate(lines):
        ends = "" if lines[number + 1 : number + 2] == ["\\ No newline at end of file"] else "\n"
        if line.startswith("@@"):
            start, _, count = line.split()[1][1:].partition(",")
            first = int(start) - (count != "0")
            new += old[position:first]
            position = first
        elif line.startswith((" ", "-")):
            assert old[position] == line[1:] + ends
            position += 1
        if line.startswith((" ", "+")):
            new.append(line[1:] + ends)
    return "".join(new + old[position:])


_texts = st.lists(st.sampled_from(["a\n", "b\n", "\u2028x\n", "\n"]), max_size=14).flatmap(
    lambda lines: st.sampled_from(["", "end"]).map(lambda last: "".join(lines) + last)
)


@given(_texts, _texts)
def test_it_can_be_applied(before: str, after: str) -> None:
    assert applied(before, difference(before, after)) == after


def test_only_the_lines_around_a_change() -> None:
    before = "".join(f"{number}\n" for number in range(100))
    shown = difference(before, before.replace("50\n", "fifty\n"))
    assert shown == "--- a.txt\n+++ a.txt\n@@ -48,7 +48,7 @@\n 47\n 48\n 49\n-50\n+fifty\n 51\n 52\n 53\n"


def test_a_new_file() -> None:
    assert difference("", "{}\n", is_new=True) == "--- /dev/null\n+++ a.txt\n@@ -0,0 +1 @@\n+{}\n"


def test_json_in_one_line_is_shown_indented() -> None:
    before = json.dumps({"flag": True, "vocabulary": {f"piece{number}": number for number in range(500)}})
    shown = difference(before, before.replace("true", "false"), name="tokenizer.json")
    assert '-  "flag": true,\n+  "flag": false,\n' in shown
    assert shown.startswith("--- tokenizer.json\t(shown indented)\n")
    assert len(shown) < 300


def rows(*pairs: tuple[str, str]) -> str:
    file = StringIO()
    hunks = Hunks(file, "a.jsonl", "a.jsonl")
    for before, after in pairs:
        hunks.add(before, after)
    return file.getvalue()


PAIRS = [("a\n", "a\n"), ("b\n", "B\n"), ("c\n", ""), ("d\n", "d\n"), ("e\n", "E\n"), ("f", "F")]


def test_rows() -> None:
    shown = rows(*PAIRS)
    assert shown.startswith("--- a.jsonl\n+++ a.jsonl\n@@ -2 +2 @@\n-b\n+B\n@@ -3 +2,0 @@\n-c\n@@ -5 +4 @@\n-e\n+E\n")
    assert applied("".join(before for before, _ in PAIRS), shown) == "".join(after for _, after in PAIRS)
    assert rows(("a\n", "a\n")) == ""


@pytest.mark.skipif(shutil.which("patch") is None, reason="patch is not installed")
def test_patch_applies_both(tmp_path: Path) -> None:
    before, after = ("".join(pair[side] for pair in PAIRS) for side in (0, 1))
    text = difference("x\ny\n", "x\nz\n")
    (tmp_path / "a.jsonl").write_text(before)
    (tmp_path / "a.txt").write_text("x\ny\n")
    subprocess.run(
        ["patch", "-p0"], input=(rows(*PAIRS) + text).encode(), cwd=tmp_path, check=True, capture_output=True
    )
    assert (tmp_path / "a.jsonl").read_text() == after
    assert (tmp_path / "a.txt").read_text() == "x\nz\n"
