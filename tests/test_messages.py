"""Every sentence exists in both languages, with the same placeholders, and is said somewhere as it wants to be."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from string import Formatter

import pytest

from finetooth.config import keys
from finetooth.messages import areas, detect_language, say, sentences, set_language
from finetooth.rules import Rule, all_rules
from tests.sources import modules

FIELDS = "fields"
"""The area that is Japanese alone: its English sentences are the docstrings of the configuration's fields."""

RULE_DOCS = "rule_docs_"
"""The areas that are Japanese alone: their English is the docstrings of the rules."""

KEY = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-zA-Z0-9_]*")
JAPANESE = re.compile(r"[\u3041-\u30ff\u4e00-\u9fff]")


def placeholders(sentence: str) -> set[str]:
    return {name.partition(".")[0].partition("[")[0] for _, name, _, _ in Formatter().parse(sentence) if name}


def english() -> dict[str, str]:
    return {f"{area}.{name}": text for area in areas("en") for name, text in sentences("en", area).items()}


def japanese() -> dict[str, str]:
    return {f"{area}.{name}": text for area in areas("ja") for name, text in sentences("ja", area).items()}


def test_both_languages_have_the_same_areas() -> None:
    both = {area for area in areas("ja") if area != FIELDS and not area.startswith(RULE_DOCS)}
    assert both == set(areas("en"))


@pytest.mark.parametrize("rule", all_rules(), ids=lambda rule: rule.code)
def test_every_rule_is_documented_in_japanese(rule: Rule) -> None:
    document = sentences("ja", f"{RULE_DOCS}{rule.code[:3].lower()}")[rule.code]
    headings = re.compile("^## ", re.MULTILINE)
    assert len(headings.findall(document)) == len(headings.findall(rule.documentation)) == 6
    assert JAPANESE.search(document)


def test_both_languages_have_the_same_sentences() -> None:
    alone = (f"{FIELDS}.", RULE_DOCS)
    assert {key for key in japanese() if not key.startswith(alone)} == set(english())


@pytest.mark.parametrize("key", sorted(english()))
def test_placeholders_are_the_same(key: str) -> None:
    assert placeholders(japanese()[key]) == placeholders(english()[key])


def test_every_configuration_key_is_told_in_japanese() -> None:
    assert set(sentences("ja", FIELDS)) == {name.replace(".", "_") for name in keys()}


def prose(sentence: str) -> str:
    """Return what is left of a sentence without code, quotes, flags, placeholders and examples (indented lines)."""
    lines = [line for line in sentence.splitlines() if not line.startswith(" ")]
    return re.sub(r"`[^`]*`|\"[^\"]*\"|\{[^}]*\}|--[\w-]+", " ", "\n".join(lines))


@pytest.mark.parametrize("key", sorted(japanese()))
def test_japanese_sentences_are_japanese(key: str) -> None:
    sentence = prose(japanese()[key])
    # A command to paste (`unset X`) or a bare term is the same in any language.
    if len(re.findall(r"[A-Za-z]{2,}", sentence)) >= 2:
        assert JAPANESE.search(sentence)


@pytest.mark.parametrize("key", sorted(english()))
def test_english_sentences_are_not_japanese(key: str) -> None:
    assert not JAPANESE.search(prose(english()[key]))


def calls(tree: ast.AST) -> Iterator[tuple[ast.expr, set[str] | None]]:
    """Yield the key of every `say` and every `help_key=`, with the names of the values given (`None`: not known)."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name == "say" and node.args:
            names = {keyword.arg for keyword in node.keywords}
            yield node.args[0], None if None in names else {name for name in names if name}
        for keyword in node.keywords:
            if keyword.arg == "help_key":
                yield keyword.value, set()


def literal_keys(expression: ast.expr) -> Iterator[str]:
    """Yield the keys that an expression can be, as far as they are written out."""
    match expression:
        case ast.Constant(value=str(key)):
            yield key
        case ast.IfExp(body=body, orelse=orelse):
            yield from literal_keys(body)
            yield from literal_keys(orelse)
        case ast.BoolOp(values=values):
            for value in values:
                yield from literal_keys(value)


def patterns(tree: ast.AST) -> Iterator[re.Pattern[str]]:
    """Yield a pattern for every f-string that can be a key: `say(f"cli.short_{name}")`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [
                re.escape(str(part.value)) if isinstance(part, ast.Constant) else "[a-zA-Z0-9_]+"
                for part in node.values
            ]
            if any(isinstance(part, ast.Constant) and "." in str(part.value) for part in node.values):
                yield re.compile("".join(parts))


def said() -> list[tuple[str, str, set[str] | None]]:
    """Return module, key and given values of every sentence that is said by a key written out."""
    return [
        (module, key, values)
        for module, tree in modules()
        for expression, values in calls(tree)
        for key in literal_keys(expression)
    ]


def test_every_key_said_exists() -> None:
    assert [f"{module}: {key}" for module, key, _ in said() if key not in english()] == []


def test_every_pattern_said_matches_a_sentence() -> None:
    known = [*english(), *japanese()]
    lost = [
        f"{module}: {pattern.pattern}"
        for module, tree in modules()
        for expression, _ in calls(tree)
        for pattern in patterns(expression)
        if not any(pattern.fullmatch(key) for key in known)
    ]
    assert lost == []


def test_every_sentence_is_given_its_values() -> None:
    wrong = [
        f"{module}: {key} wants {sorted(placeholders(english()[key]))}, is given {sorted(values)}"
        for module, key, values in said()
        if values is not None and key in english() and values != placeholders(english()[key])
    ]
    assert wrong == []


def test_no_sentence_is_unused() -> None:
    """Every key stands somewhere in the source, written out or as a pattern."""
    used: set[str] = set()
    found: list[re.Pattern[str]] = []
    for _, tree in modules():
        used |= {
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and KEY.fullmatch(node.value)
        }
        found += patterns(tree)
    # Arguments are told by `cli_<command>.<argument>`, which is no literal: the help of every command covers them.
    unused = [key for key in english() if key not in used and not any(pattern.fullmatch(key) for pattern in found)]
    assert unused == []


@pytest.mark.parametrize(
    ("environ", "language"),
    [
        ({}, "en"),
        ({"LANG": "ja_JP.UTF-8"}, "ja"),
        ({"LANG": "ja_JP.UTF-8", "LC_ALL": "C"}, "en"),
        ({"LANG": "en_US.UTF-8", "FINETOOTH_LANG": "ja"}, "ja"),
        ({"LANG": "ja_JP.UTF-8", "FINETOOTH_LANG": "en"}, "en"),
        ({"FINETOOTH_LANG": "", "LANG": "de_DE.UTF-8"}, "en"),
    ],
)
def test_language_of_the_environment(environ: dict[str, str], language: str) -> None:
    assert detect_language(environ) == language


def test_say_follows_the_language() -> None:
    set_language("ja")
    assert say("cli.did_you_mean", name="x") == "もしかして `x` ですか"
    set_language("en")
    assert say("cli.did_you_mean", name="x") == "did you mean `x`?"


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(ValueError, match="'fr' is not one of en, ja"):
        set_language("fr")
