"""A rule's documentation, in the language in force, taken apart into its sections."""

from __future__ import annotations

import re
from dataclasses import dataclass

from finetooth.messages import language, sentences
from finetooth.rules import Rule

_HEADING = re.compile(r"#{1,6} +(?P<title>.+?)\s*#*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of a rule's documentation."""

    title: str
    """Empty for what stands before the first heading."""
    text: str


def documentation_of(rule: Rule, *, english: bool = False) -> str:
    """Return the documentation of a rule, in Markdown; English where there is none in the language in force."""
    if language() != "en" and not english:
        try:
            translated = sentences(language(), f"rule_docs_{rule.code[:3].lower()}")
        except FileNotFoundError:
            translated = {}
        if rule.code in translated:
            return translated[rule.code].strip()
    return rule.documentation.strip()


def sections_of(documentation: str) -> list[Section]:
    """Return the sections of a documentation, in their order; a `#` within a fence is no heading."""
    found: list[tuple[str, list[str]]] = [("", [])]
    fenced = False
    for line in documentation.splitlines():
        fenced ^= line.lstrip().startswith("```")
        match = None if fenced else _HEADING.fullmatch(line)
        if match is not None:
            found.append((match["title"], []))
        else:
            found[-1][1].append(line)
    sections = [Section(title=title, text="\n".join(lines).strip("\n").rstrip()) for title, lines in found]
    return [section for section in sections if section.title or section.text]


def summary_of(documentation: str) -> str:
    """Return the first paragraph on one line; the name of a rule without one has to do."""
    first = next((section.text for section in sections_of(documentation) if section.text), "")
    return " ".join(first.split("\n\n")[0].split())
