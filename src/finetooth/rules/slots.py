"""Slots of a prompt that nobody filled: placeholders that were left, and places that were left blank.

A placeholder looks like code, JSON, mathematics and HTML, and people talk about placeholders. So what stands in code is
blanked out first, what is not plainly a slot is left alone, and a text that speaks of templates is not judged at all.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from finetooth.rules.contents import without_code


class Slot(NamedTuple):
    """A slot, by half-open characters of the text that was looked at."""

    start: int
    end: int
    kind: str
    """`unfilled`, `blank-lines` or `empty-heading`."""


_DOUBLE = r"\{\{\s*[^\W\d][\w.\- ]{0,40}?\s*\}\}"
_DOLLAR = r"\$\{[^\W\d]\w{0,40}\}"
_JAPANESE = r"\u3040-\u30ff\u3400-\u9fff"
_SINGLE = (
    r"(?<![\w\\^_{}$@/=.\]\"'])\{[^\W\d]\w{1,40}\}(?![a-zA-Z0-9_{}@/=(\[\"'])"
    rf"|(?<=[{_JAPANESE}])\{{[^\W\d]\w{{1,40}}\}}"
)
_PLACEHOLDER = re.compile(f"{_DOUBLE}|{_DOLLAR}|{_SINGLE}")
_ANGLE = re.compile(
    r"<(?:(?:your|insert|enter|user|customer|company|first|last)[ _-][a-z_ \-]{1,30}|[A-Z]{2,}(?:[_ ][A-Z]{2,}){1,4}"
    r"|name|username|date|city|email|お?名前|氏名|会社名|商品名|日付|ここに[^<>\n]{1,20})>"
)

_ABOUT_TEMPLATES = re.compile(
    r"templat|placeholder|jinja|mustache|handlebars|\bvue\b|angular|django|ansible|liquid|\bhelm\b|f-string|printf"
    r"|format string|\.format|interpolat|regex|latex|\bbash\b|\bshell\b|environment variable"
    r"|テンプレ|プレースホルダ|雛形|ひな形|正規表現|変数",
    re.IGNORECASE,
)
_CODE_LINE = re.compile(
    r"[;{]\s*$|=>|==|\\[a-zA-Z]+|</|/>|://|\bf[\"']"
    r"|^\s*(?:def|class|return|import|from|const|let|var|function|public|private|print|echo|export|if|for|while|#include)\b"
    r"|\w\s*\([^)]*\{|\w\s*=\s*\S|^\s*[\"']?\w+[\"']?\s*:\s*[\[{\"]|^\s*[\"']\w+[\"']\s*:"
)

_BLANK_LINES = re.compile(r"\n(?:[ \t\u3000\r]*\n){3,}")

_TOPIC = (
    r"(?:[\w\u3040-\u30ff\u3400-\u9fff]{0,12}[の ]?)?"
    r"(?:facts?|information|context|references?|background|documents?|knowledge|profile|memory|persona|passages?"
    r"|情報|資料|文脈|コンテキスト|背景|前提|知識|プロフィール|設定|記憶|参考文献|参考)"
)
_QUESTION = r"(?:questions?|query|instructions?|task|user|answer|response|質問|問い|指示|依頼|ユーザー?|回答|応答|発話)"
_OPENS = r"[ \t]*(?:#{1,6}[ \t]*|[■◆●▼＃※][ \t]*|[【\[(（<＜「]|\*\*)"
_HEADING = re.compile(
    rf"^(?:{_OPENS}{_TOPIC}[】\])）>＞」]?(?:\*\*)?[ \t]*[:：]?(?:\*\*)?|[ \t]*{_TOPIC}[ \t]*[:：])[ \t]*$",
    re.IGNORECASE | re.MULTILINE,
)
_NEXT_HEADING = re.compile(
    rf"[ \t]*(?:#{{1,6}}[ \t]+\S|[■◆●▼＃]|【|\*\*{_QUESTION}|{_QUESTION}[ \t]*[:：])", re.IGNORECASE
)


def unfilled_slots(text: str, *, is_prompt: bool) -> list[Slot]:
    """Return the placeholders that were left in a text.

    Args:
        text: Somebody's words.
        is_prompt: Whether they are a prompt's. Placeholders in angle brackets count there alone: answers hold them by
            design (`<YOUR_API_KEY>`).
    """
    patterns = []
    if "{" in text:
        patterns.append(_PLACEHOLDER)
    if is_prompt and "<" in text:
        patterns.append(_ANGLE)
    if not any(pattern.search(text) for pattern in patterns) or speaks_of_templates(text):
        return []
    words = without_code(text)
    return [
        Slot(match.start(), match.end(), "unfilled")
        for pattern in patterns
        for match in pattern.finditer(words)
        if not _is_code(words, match)
    ]


def speaks_of_templates(text: str) -> bool:
    """Return whether a text is about templates, so that what looks like a slot is quoted."""
    return _ABOUT_TEMPLATES.search(text) is not None


def _is_code(text: str, match: re.Match[str]) -> bool:
    """Return whether a placeholder stands in a line of code or of JSON, or is a tag that is closed."""
    start = text.rfind("\n", 0, match.start()) + 1
    end = text.find("\n", match.end())
    end = len(text) if end < 0 else end
    # The placeholder's own braces are not the line's.
    line = text[start : match.start()] + "x" + text[match.end() : end]
    if _CODE_LINE.search(line):
        return True
    slot = match.group()
    return slot[0] == "<" and f"</{slot[1:]}" in text


def blank_slots(text: str, *, is_system: bool, is_whole: bool = False) -> list[Slot]:
    """Return the places of a prompt that were left blank: runs of blank lines, and headings with nothing under them.

    Args:
        text: A prompt, or a part of one.
        is_system: Whether it is a system prompt, at whose end a heading has nothing under it either. A question's end
            is where the answer begins (`Summary:`).
        is_whole: Whether white space at its end is in the middle of the row's text.
    """
    if "\n" not in text and not is_system:
        return []
    return list(_blank_slots(text, is_system, is_whole))


@lru_cache(maxsize=512)
def _blank_slots(text: str, is_system: bool, is_whole: bool) -> tuple[Slot, ...]:
    """Return the blank slots of a text; remembered, since many rows have one system prompt in common."""
    words = without_code(text)
    begin = len(words) - len(words.lstrip())
    end = len(words) if is_whole else len(words.rstrip())
    found = [Slot(*match.span(), "blank-lines") for match in _BLANK_LINES.finditer(words, begin, end)]
    for match in _HEADING.finditer(words, begin, end):
        rest = words[match.end() : end]
        below = rest.lstrip()
        if (is_system and not below) or (below and _NEXT_HEADING.match(below)):
            found.append(Slot(*match.span(), "empty-heading"))
    return tuple(found)
