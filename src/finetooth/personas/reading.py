"""Read a persona's sheet, and tell everything that is wrong with it at once, each with its line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any

from finetooth.config import ConfigErrors, closest
from finetooth.config.yamlnodes import Node, read_documents
from finetooth.errors import ConfigError
from finetooth.messages import say
from finetooth.personas.sheet import Example, Fact, Length, Lookup, Persona, PromptTemplates

_JAPANESE = re.compile(r"[\u3041-\u30ff]|[\u4e00-\u9fff]")

_KEYS = tuple(one.name for one in fields(Persona) if one.name != "where")
_FREE = "x_"
"""What makes a note of any key, whatever it looks like."""
_SECTIONS: Mapping[str, type] = {"length": Length, "prompt": PromptTemplates, "lookup": Lookup}

_DUE = {
    "missing": "due_missing",
    "string_type": "due_text",
    "int_type": "due_count",
    "int_parsing": "due_count",
    "int_from_float": "due_count",
    "float_type": "due_number",
    "float_parsing": "due_number",
    "finite_number": "due_number",
    "tuple_type": "due_list",
    "literal_error": "due_language",
    "mapping_type": "due_mapping",
    "dict_type": "due_mapping",
    "dataclass_type": "due_mapping",
}
"""The message that says what is due, by pydantic's type of error."""


def load_persona(path: str | Path) -> Persona:
    """Return the persona of a sheet.

    Keys that nobody reads are allowed, so that a sheet can hold what its author wants to note (`birthday`), unless one
    looks like a known key misspelled and does not begin with `x_`. In the sections (`length`, `lookup`, `prompt`, a
    fact, an example) every key has to be known.

    Raises:
        ConfigError: The file cannot be read or is no YAML, or something in it is wrong; `ConfigErrors` where it is
            more than one thing.
    """
    documents = read_documents(Path(path))
    if len(documents) != 1 or not isinstance(documents[0].value, dict):
        what = say("personas.several" if len(documents) > 1 else "personas.no_sheet")
        raise ConfigError(what, where=str(path), help=say("personas.no_sheet_help"))
    sheet = documents[0]
    errors = list(_unknown_keys(sheet))
    persona = _validated(sheet, str(path), errors)
    errors += _bad_patterns(sheet)
    if persona is not None:
        errors += _out_of_range(sheet, persona)
        errors += _bad_lengths(sheet, persona.length)
        errors += _bad_templates(sheet, persona)
    if len(errors) > 1:
        raise ConfigErrors(sorted(errors, key=_line_of))
    if errors:
        raise errors[0]
    assert persona is not None, "a sheet that gives no persona has an error"
    return persona


def _line_of(error: ConfigError) -> int:
    line = (error.where or "").rpartition(":")[2]
    return int(line) if line.isdecimal() else 0


def language_of(texts: Sequence[str]) -> str:
    """Return the language of a sheet by its words: Japanese where a tenth of the characters are kana or kanji."""
    words = "".join(texts)
    return "ja" if 10 * len(_JAPANESE.findall(words)) >= max(1, len(words)) else "en"


def _unknown_keys(sheet: Node) -> Iterator[ConfigError]:
    for name, node in sheet.value.items():
        near = None if name in _KEYS or name.startswith(_FREE) else closest(name, _KEYS)
        if near is not None:
            yield node.error(
                say("personas.unknown_key", key=name), help=say("personas.rename_free", name=near, key=f"{_FREE}{name}")
            )
    for section, kind in _SECTIONS.items():
        yield from _unknown_in(sheet.value.get(section), section, kind)
    examples = sheet.value.get("examples")
    if examples is not None and isinstance(examples.value, list):
        for node in examples.value:
            yield from _unknown_in(node, "examples", Example)
    facts = sheet.value.get("facts")
    if facts is not None and isinstance(facts.value, dict):
        for name, group in facts.value.items():
            for node in group.value if isinstance(group.value, list) else ():
                yield from _unknown_in(node, f"facts.{name}", Fact)


def _unknown_in(node: Node | None, section: str, kind: type) -> Iterator[ConfigError]:
    if node is None or not isinstance(node.value, dict):
        return
    known = [one.name for one in fields(kind)]
    for name, value in node.value.items():
        if name not in known:
            near = closest(name, known)
            remedy = say("config.did_you_mean", name=near) if near else say("yaml.known_keys", keys=", ".join(known))
            yield value.error(say("personas.unknown_key", key=f"{section}.{name}"), help=remedy)


def _validated(sheet: Node, path: str, errors: list[ConfigError]) -> Persona | None:
    from pydantic import TypeAdapter, ValidationError

    values: dict[str, Any] = {
        name: _plain(node) for name, node in sheet.value.items() if name in _KEYS and node.value is not None
    }
    for name, kind in _SECTIONS.items():
        values[name] = _without_unknown(values[name], kind) if name in values else {}
    if isinstance(values.get("examples"), list):
        values["examples"] = [_without_unknown(one, Example) for one in values["examples"]]
    if isinstance(values.get("facts"), dict):
        values["facts"] = {name: _facts(group) for name, group in values["facts"].items()}
    for name in ("tone", "style_patterns"):
        one: Any = values.get(name)
        if isinstance(one, str):
            values[name] = [one]  # `tone: courteous` for a list of one
    words = [values.get("system_prompt"), *(values.get("tone") or [])]
    values.setdefault("language", language_of([one for one in words if isinstance(one, str)]))
    try:
        return TypeAdapter(Persona).validate_python(values | {"where": path})
    except ValidationError as error:
        # A union reports once for each of its members: one error a place is enough.
        wrong = {details["loc"]: details for details in reversed(error.errors(include_url=False))}
        errors.extend(_bad_value(sheet, loc, details) for loc, details in reversed(wrong.items()))
        return None


def _plain(node: Node) -> Any:
    """Return a node's value for pydantic to judge."""
    if isinstance(node.value, dict):
        return {name: _plain(child) for name, child in node.value.items()}
    if isinstance(node.value, list):
        return [_plain(child) for child in node.value]
    if isinstance(node.value, bool) or (isinstance(node.value, str) and not node.value.strip()):
        # pydantic would take true for 1, where it is a `yes` or `no` that YAML read as a boolean; no text may be empty.
        return (node.value,)
    return node.value


def _without_unknown(value: Any, kind: type) -> Any:
    known = {one.name for one in fields(kind)}
    return {name: one for name, one in value.items() if name in known} if isinstance(value, dict) else value


def _facts(group: Any) -> Any:
    """Return the facts of a group in their long form; a text alone is a list of one."""
    if isinstance(group, str):
        group = [group]
    if not isinstance(group, list):
        return group
    facts: list[Any] = [{"text": one} if isinstance(one, str) else _without_unknown(one, Fact) for one in group]
    for fact in facts:
        pattern: Any = fact.get("contradicted_by") if isinstance(fact, dict) else None
        if isinstance(pattern, str):
            fact["contradicted_by"] = [pattern]
    return facts


def _node_at(sheet: Node, location: Sequence[int | str]) -> Node:
    """Return the deepest node on the way to a location of pydantic's, which goes on below the sheet's own."""
    node = sheet
    for part in location:
        if isinstance(node.value, dict):
            child = node.value.get(part)
        else:
            is_index = isinstance(node.value, list) and isinstance(part, int) and part < len(node.value)
            child = node.value[part] if is_index else None
        if child is None:
            break
        node = child
    return node


def _bad_value(sheet: Node, location: tuple[int | str, ...], details: Mapping[str, Any]) -> ConfigError:
    key = str(location[0])
    for part in location[1:]:
        key += f"[{part}]" if isinstance(part, int) else f".{part}"
    node = _node_at(sheet, location)
    due = _DUE.get(details["type"], "due_other")
    if due == "due_missing":
        return node.error(say("personas.missing", key=key), help=say("personas.due_missing", key=key))
    if isinstance(node.value, bool):
        remedy = say("config.quote_booleans")
    elif due == "due_text" and isinstance(node.value, int | float):
        remedy = say("config.quote", value=node.value)
    else:
        remedy = say(f"personas.{due}") if due != "due_other" else str(details["msg"])
    return node.error(say("config.bad_value", key=key, value=_cut(node.shown)), help=remedy)


def _cut(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:60]}…"


def _bad_patterns(sheet: Node) -> Iterator[ConfigError]:
    """Yield an error for each regular expression that is none."""
    for name in ("style_patterns", "facts"):
        node = sheet.value.get(name)
        if node is None or node.value is None:
            continue
        if name == "style_patterns":
            nodes = node.value if isinstance(node.value, list) else [node]
        else:
            groups = node.value.values() if isinstance(node.value, dict) else ()
            nodes = [pattern for group in groups for pattern in _contradictions(group)]
        for pattern in nodes:
            if not isinstance(pattern.value, str):
                continue  # which is told as such
            try:
                re.compile(pattern.value)
            except re.error as error:
                what = say("probing.bad_pattern", pattern=_cut(pattern.value), reason=str(error))
                yield pattern.error(what, help=say("personas.bad_pattern_help"))


def _contradictions(group: Node) -> Iterator[Node]:
    for fact in group.value if isinstance(group.value, list) else ():
        if isinstance(fact.value, dict) and (patterns := fact.value.get("contradicted_by")) is not None:
            if isinstance(patterns.value, list):
                yield from patterns.value
            elif patterns.value is not None:
                yield patterns


def _out_of_range(sheet: Node, persona: Persona) -> Iterator[ConfigError]:
    """Yield an error for each number that is too small."""
    for section, name, least, due in (
        *(("length", one.name, 1, "due_count") for one in fields(Length)),
        ("lookup", "top_k", 0, "due_number"),
        ("lookup", "floor", 0, "due_number"),
    ):
        value = getattr(getattr(persona, section), name)
        if value is not None and not value >= least:
            node = sheet.value[section].value[name]
            what = say("config.bad_value", key=f"{section}.{name}", value=node.shown)
            yield node.error(what, help=say(f"personas.{due}"))


def _bad_lengths(sheet: Node, length: Length) -> Iterator[ConfigError]:
    """Yield an error where the lengths are not in their order."""
    names = ("min_characters", "characters", "max_characters")
    given = [(name, value) for name in names if (value := getattr(length, name)) is not None]
    for (low, small), (high, large) in pairwise(given):
        if small > large:
            what = say("personas.length_order", low=low, small=small, high=high, large=large)
            yield sheet.value["length"].value[low].error(what, help="min_characters ≤ characters ≤ max_characters")


def _bad_templates(sheet: Node, persona: Persona) -> Iterator[ConfigError]:
    """Yield an error for each template that cannot be used."""
    from finetooth.personas.templates import check_templates

    for name, error in check_templates(persona):
        node = sheet.value.get("prompt")
        node = node.value.get(name, node) if node is not None and isinstance(node.value, dict) else None
        where = sheet.where if node is None else node.where
        yield ConfigError(error.what, where=where, help=error.help)
