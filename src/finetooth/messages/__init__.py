"""Every sentence that finetooth says, by key, in English and Japanese.

A key is `area.name`. The sentences of an area stand in `en/<area>.toml` and `ja/<area>.toml`, one table of
`name = "sentence with {placeholders}"`, and an area is read when its first sentence is needed, so that
`finetooth --help` reads no sentence of the rest. Machine formats (JSON, SARIF) stay English: they never call `say`.
"""

from __future__ import annotations

import locale
import os
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from typing import Any

LANGUAGES = ("en", "ja")

_language: str | None = None


def detect_language(environ: Mapping[str, str] | None = None) -> str:
    """Return `en` or `ja`, from `FINETOOTH_LANG`, then the locale's variables, then English."""
    environ = os.environ if environ is None else environ
    for name in ("FINETOOTH_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        value = environ.get(name, "")
        if value:
            return "ja" if value.lower().startswith("ja") else "en"
    if environ is os.environ and os.name == "nt":
        # Windows sets none of the variables; the locale module asks the system.
        return "ja" if (locale.getlocale()[0] or "").lower().startswith(("ja", "japanese")) else "en"
    return "en"


def set_language(language: str | None) -> None:
    """Choose the language of everything said from now on; `None` goes back to the environment's."""
    global _language
    if language is not None and language not in LANGUAGES:
        raise ValueError(f"language {language!r} is not one of {', '.join(LANGUAGES)}")
    _language = language


def language() -> str:
    """Return the language in force, `en` or `ja`."""
    return _language if _language is not None else detect_language()


@contextmanager
def speaking(language: str) -> Iterator[None]:
    """Say everything in one language meanwhile: what programs read stays English."""
    global _language
    before = _language
    set_language(language)
    try:
        yield
    finally:
        _language = before


def say(key: str, /, **values: Any) -> str:
    """Return the sentence of a key in the language in force, its placeholders filled.

    Raises:
        KeyError: No sentence has this key: a defect of ours, caught by the parity test.
    """
    area, _, name = key.partition(".")
    sentence = sentences(language(), area)[name]
    return sentence.format(**values) if values else sentence.replace("{{", "{").replace("}}", "}")


@cache
def sentences(language: str, area: str) -> Mapping[str, str]:
    """Return the sentences of one area in one language, by name."""
    source = files(__package__).joinpath(language, f"{area}.toml").read_text(encoding="utf-8")
    return tomllib.loads(source)


def areas(language: str = "en") -> list[str]:
    """Return the names of the areas, sorted."""
    folder = files(__package__).joinpath(language)
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))
