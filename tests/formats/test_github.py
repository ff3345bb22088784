from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetooth.formats.github import command, render
from finetooth.types import Place
from tests.formats.samples import (
    broken,
    check_golden,
    healthy,
    hostile,
    make_finding,
    make_part,
    make_report,
    split_eos,
)

COMMAND = re.compile(r"::(?P<name>[a-z]+)(?: (?P<properties>[^\n]*?))?::(?P<message>[^\n]*)\n")


def unescape(text: str) -> str:
    """Undo the escaping, as the runner does."""
    for code, char in (("%3A", ":"), ("%2C", ","), ("%0D", "\r"), ("%0A", "\n"), ("%25", "%")):
        text = text.replace(code, char)
    return text


def parse(line: str) -> tuple[str, dict[str, str], str]:
    """Take a command apart as the runner does: the message begins at the second `::`."""
    match = COMMAND.fullmatch(line)
    assert match is not None, line
    pairs = [pair.partition("=") for pair in (match["properties"] or "").split(",") if pair]
    return match["name"], {name: unescape(value) for name, _, value in pairs}, unescape(match["message"])


def test_golden() -> None:
    check_golden("broken.github", "".join(render(broken())))


def test_a_command_for_each_place_of_what_is_not_folded() -> None:
    commands = [parse(line) for line in render(broken())]
    assert [(name, properties.get("file"), properties.get("line")) for name, properties, _ in commands] == [
        ("error", "train.jsonl", "1"),
        ("error", "train.jsonl", "2"),
        ("error", "train.jsonl", "3"),
        ("warning", None, None),
        ("notice", None, None),
    ]
    assert commands[0][1]["title"] == "LAB001 split-eos"
    assert "TOK003: the added token" in commands[0][2]


def test_nothing_found_is_no_command() -> None:
    assert list(render(healthy())) == []


def test_a_finding_whose_places_are_known_still_has_a_command() -> None:
    finding = replace(split_eos(), places=(), views=())
    assert [parse(line)[1] for line in render(make_report(make_part([finding])))] == [{"title": "LAB001 split-eos"}]


def test_hostile_data_begins_no_command() -> None:
    lines = list(render(hostile()))
    assert len(lines) == 3
    for line in lines:
        assert line.count("\n") == 1
        assert parse(line)[0] == "error"
        assert set(parse(line)[1]) <= {"file", "line", "title"}


@given(message=st.text(), title=st.text(min_size=1), path=st.text(min_size=1))
def test_values_come_back(message: str, title: str, path: str) -> None:
    line = command("error", message, {"file": path, "title": title})
    assert line.count("\n") == 1 and "\r" not in line
    name, properties, said = parse(line)
    assert (name, said) == ("error", message)
    assert set(properties) == {"file", "title"}


@given(st.text(min_size=1))
def test_any_place_is_one_line(where: str) -> None:
    finding = make_finding(places=(Place(record=0, where=f"{where}:3"),))
    (line,) = render(make_report(make_part([finding])))
    assert parse(line)[1].get("line", "3") == "3"


@pytest.mark.parametrize("text", ["a%0Ab", "100%", "%25"])
def test_percent_signs_are_data(text: str) -> None:
    assert parse(command("error", text, {"title": text})) == ("error", {"title": text}, text)
