from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from finetooth.config import ConfigErrors
from finetooth.errors import ConfigError
from finetooth.personas.reading import load_persona
from finetooth.personas.sheet import Fact, Length
from tests.personas.personas import SHEET, demo_persona, sheet


def wrong(folder: Path, text: str) -> list[tuple[str, str, str]]:
    """Return what, where (the line alone) and help of each error of a sheet."""
    path = sheet(folder, text)
    with pytest.raises(ConfigError) as caught:
        load_persona(path)
    errors = caught.value.errors if isinstance(caught.value, ConfigErrors) else (caught.value,)
    return [(one.what, (one.where or "").removeprefix(str(path)).lstrip(":"), one.help or "") for one in errors]


def test_a_sheet(tmp_path: Path) -> None:
    persona = load_persona(sheet(tmp_path))
    assert (persona.name, persona.tone, persona.language) == ("Ada", ("Be brief.",), "en")
    assert persona.length == Length(sentences=1, min_characters=5, max_characters=40)
    assert list(persona.grouped_facts) == [
        ("pets", Fact(text="She has a parrot called Kip.")),
        ("pets", Fact(text="She is afraid of spiders.", contradicted_by=("(?i)love(s)? spiders",))),
        ("work", Fact(text="She builds steam engines.")),
    ]
    with pytest.raises(dataclasses.FrozenInstanceError):
        persona.name = "Eve"  # type: ignore[misc]


@pytest.mark.parametrize(("language", "num_facts"), [("ja", 33), ("en", 30)])
def test_the_demo_s_sheets_load_with_their_free_keys(language: str, num_facts: int) -> None:
    persona = demo_persona(language)
    assert persona.language == language
    assert len(list(persona.grouped_facts)) == num_facts
    assert persona.length.sentences == 1


def test_every_error_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    text = """\
name: yes
tone: {a: b}
length:
  sentences: two
  charcters: 30
facts:
  pets:
    - {text: A parrot., contradictd_by: x}
    - 17
lookup: {top_k: 1.5, floor: none}
style_patterns: ['(', 3]
"""
    found = wrong(tmp_path, text)
    assert [(what, where) for what, where, _ in found] == [
        ("`name` cannot be `true`", "1"),
        ("`system_prompt` is missing", "1"),
        ("`tone` cannot be `{a}`", "2"),
        ("`length.sentences` cannot be `two`", "4"),
        ("unknown key `length.charcters`", "5"),
        ("unknown key `facts.pets.contradictd_by`", "8"),
        ("`facts.pets[1]` cannot be `17`", "9"),
        ("`lookup.top_k` cannot be `1.5`", "10"),
        ("`lookup.floor` cannot be `none`", "10"),
        ("`style_patterns[1]` cannot be `3`", "11"),
        ("`(` is no regular expression: missing ), unterminated subpattern at position 0", "11"),
    ]
    assert "quote" in found[0][2]
    assert found[4][2] == "did you mean `characters`?"


@pytest.mark.parametrize(
    ("line", "key", "near"),
    [
        ("fact: {}", "fact", "facts"),
        ("system_promt: x", "system_promt", "system_prompt"),
        ("tones: x", "tones", "tone"),
    ],
)
def test_a_misspelt_key_is_refused(tmp_path: Path, line: str, key: str, near: str) -> None:
    ((what, where, remedy),) = wrong(tmp_path, f"name: A\nsystem_prompt: B\n{line}\n")
    assert (what, where) == (f"unknown key `{key}`", "3")
    assert f"`{near}`" in remedy
    load_persona(sheet(tmp_path, f"name: A\nsystem_prompt: B\nx_{line}\n"))  # as the remedy says


@pytest.mark.parametrize("key", ["age", "birthday", "role", "reading", "hometown", "height", "voice", "notes"])
def test_a_free_key_is_allowed(tmp_path: Path, key: str) -> None:
    load_persona(sheet(tmp_path, f"name: A\nsystem_prompt: B\n{key}: 1\n"))


@pytest.mark.parametrize(
    ("text", "what", "where"),
    [
        ("", "the file holds no persona", ""),
        ("- a\n", "the file holds no persona", ""),
        ("name: A\n---\nname: B\n", "a persona's sheet is one YAML document, and the file holds several", ""),
        ("name: A\nname: B\n", "key `name` is given twice", "2"),
        ("name: [A\n", "not valid YAML", "2"),
        ("name: ''\nsystem_prompt: B\n", "`name` cannot be ``", "1"),
        ("name: A\nsystem_prompt: B\nlength: {sentences: 0}\n", "`length.sentences` cannot be `0`", "3"),
        ("name: A\nsystem_prompt: B\nlookup: {floor: -1}\n", "`lookup.floor` cannot be `-1`", "3"),
        ("name: A\nsystem_prompt: B\nlookup: {floor: .nan}\n", "`lookup.floor` cannot be `nan`", "3"),
        ("name: A\nsystem_prompt: B\nlanguage: fr\n", "`language` cannot be `fr`", "3"),
        ("name: A\nsystem_prompt: B\nstyle_patterns:\n- 'a'\n- '('\n", "`(` is no regular expression", "5"),
        ("name: A\nsystem_prompt: B\nfacts:\n  x:\n  - {text: t, contradicted_by: '['}\n", "`[` is no regular", "5"),
        (
            "name: A\nsystem_prompt: B\nlength:\n  max_characters: 5\n  min_characters: 9\n",
            "`min_characters` is 9, more than `max_characters` with 5",
            "5",
        ),
    ],
)  # fmt: skip
def test_what_is_refused(tmp_path: Path, text: str, what: str, where: str) -> None:
    errors = wrong(tmp_path, text)
    assert errors[0][0].startswith(what)
    assert errors[0][1] == where
    assert len(errors) == 1


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_persona(tmp_path / "none.yaml")
    path = tmp_path / "persona.yaml"
    path.write_bytes("name: 朔子".encode("shift_jis"))
    with pytest.raises(ConfigError, match="UTF-8"):
        load_persona(path)


def test_a_key_may_say_which_language(tmp_path: Path) -> None:
    assert load_persona(sheet(tmp_path, SHEET + "language: ja\n")).language == "ja"
