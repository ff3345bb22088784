from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from finetooth.formats import documentation
from finetooth.formats.documentation import Section, documentation_of, sections_of, summary_of
from finetooth.messages import set_language
from finetooth.rules import Rule, all_rules

RULE = Rule(
    code="LAB001",
    name="split-eos",
    severity="error",
    scope="record",
    run=None,
    documentation="Find it,\nhere.\n\nMore.\n\n## What it does\nLooks.\n\n```python\n# no heading\n```\n\n"
    "## Fix\nMend it.\n",
)


def test_sections() -> None:
    assert sections_of(RULE.documentation) == [
        Section(title="", text="Find it,\nhere.\n\nMore."),
        Section(title="What it does", text="Looks.\n\n```python\n# no heading\n```"),
        Section(title="Fix", text="Mend it."),
    ]
    assert sections_of("") == []
    assert summary_of(RULE.documentation) == "Find it, here."
    assert summary_of("") == ""


@pytest.fixture
def japanese(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def sentences(language: str, area: str) -> dict[str, str]:
        if (language, area) != ("ja", "rule_docs_lab"):
            raise FileNotFoundError(area)
        return {"LAB001": "探します。\n"}

    monkeypatch.setattr(documentation, "sentences", sentences)
    set_language("ja")
    yield


@pytest.mark.usefixtures("japanese")
def test_japanese_where_there_is_some() -> None:
    assert documentation_of(RULE) == "探します。"
    assert documentation_of(RULE, english=True).startswith("Find it")
    assert documentation_of(replace(RULE, code="LAB999")).startswith("Find it")
    assert documentation_of(replace(RULE, code="XYZ001")).startswith("Find it")


@pytest.mark.parametrize("rule", all_rules(), ids=lambda rule: rule.code)
def test_every_rule_says_what_it_does_in_sections(rule: Rule) -> None:
    titles = [section.title for section in sections_of(rule.documentation)]
    assert titles == ["", "What it does", "Why it is bad", "Example", "Fix", "Fix safety", "Sources"]
