"""TPL002 trimmed-content."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from finetooth.rules.contents import (
    Part,
    excerpt,
    is_rendered_here,
    parts_of,
    place_in_text,
    render_with,
    reproduction,
)
from finetooth.rules.row import Row
from finetooth.rules.rule import Because, Hit, rule

_INDENT = re.compile(r"\s*?(?:^|\n)([ \t]{2,}|\t)(?=\S)")


@rule("TPL002", "trimmed-content", severity="info")
def trimmed_content(row: Row) -> Iterator[Hit]:
    r"""Find content whose white space the chat template changes.

    ## What it does
    Looks at every message whose content begins or ends with white space, renders the conversation once more without
    that white space, and compares: where the text is the same, the template has trimmed it. White space inside the
    content (lines joined, spaces collapsed) is compared with the rendered text. White space beside think tags belongs
    to the tags and is left out.

    Causes: `outer` (info: newlines and spaces around the content), `indentation` (warning: the first line's indentation
    is lost while the others keep theirs), `inner` (warning: white space between words is another).

    ## Why it is bad
    The model learns another text than the data set holds. Around prose that is harmless, and worth knowing when the
    completion of a half-written answer is prompted. Code whose first line has lost its indentation does not run, and
    that is what the model learns to write.

    ## Example
    Content `"    x = 1\n    return x"` under a template with `message['content'] | trim`: the text holds
    `"x = 1\n    return x"`.

    ## Fix
    Take `| trim` (or `.strip()`) out of the template for the roles concerned, or put code into a fence, whose first
    line is not indented. Around prose: nothing, or trim the data.

    ## Fix safety
    Not fixed automatically: the template that a model was trained with trims at inference as well.

    ## Sources
    transformers #34462 and pull request #34253; Llama 3's template trims every content.
    """
    if row.record.messages is None:
        return
    text = row.text
    padded: list[Part] = []
    for part in parts_of(row):
        content = part.text
        if content[0].isspace() or content[-1].isspace():
            if not content.isspace():
                padded.append(part)
        elif content in text:
            continue
        hit = _inner(row, part)
        if hit is not None:
            yield hit
    if padded:
        yield from _outer(row, padded)


def _outer(row: Row, padded: list[Part]) -> Iterator[Hit]:
    """Yield what was lost of the white space around contents."""
    messages = row.record.messages or []
    rendered = render_with(row, _stripped(messages, padded))
    if rendered is None:
        return
    lost = padded
    if rendered != row.text:
        num_blanks = sum(len(part.text) - len(part.text.strip()) for part in padded)
        if len(row.text) - len(rendered) == num_blanks or not is_rendered_here(row):
            return
        lost = [part for part in padded if _is_lost(row, part)]
    indented = [part for part in lost if _loses_indentation(part.text)]
    others = [part for part in lost if part not in indented]
    if indented:
        yield _hit(row, indented, "indentation")
    if others:
        yield _hit(row, others, "outer")


def _stripped(messages: Sequence[dict[str, Any]], parts: Sequence[Part]) -> list[dict[str, Any]]:
    wanted = {part.message_index: part.text.strip() for part in parts}
    return [
        {**message, "content": wanted[index]} if index in wanted else message for index, message in enumerate(messages)
    ]


def _is_lost(row: Row, part: Part) -> bool:
    """Return whether any of a content's outer white space is not in the text, the others left as they are."""
    rendered = render_with(row, _stripped(row.record.messages or [], [part]))
    return rendered is not None and len(row.text) - len(rendered) < len(part.text) - len(part.text.strip())


def _loses_indentation(content: str) -> bool:
    """Return whether a content of several lines begins with an indented line, as code does."""
    return _INDENT.match(content) is not None and re.search(r"\n[ \t]+\S", content.strip()) is not None


def _hit(row: Row, parts: list[Part], cause: str) -> Hit:
    part = parts[0]
    core = part.text.strip()
    lead = len(part.text) - len(part.text.lstrip())
    place = place_in_text(row, part, lead, lead + len(core))
    before, after = part.text[:lead], part.text[lead + len(core) :]
    template = row.facts.template
    return Hit(
        "rules_tpl.trimmed_indentation" if cause == "indentation" else "rules_tpl.trimmed",
        {"role": part.role, "before": repr(before), "after": repr(after)},
        help="rules_tpl.trimmed_help",
        because=Because(
            code=cause,
            key="rules_tpl.trimmed_cause",
            values={"template": template.name if template else "", "filters": ", ".join(_trimmers(row)) or "-"},
            evidence={
                "message_index": part.message_index,
                "role": part.role,
                "before": before,
                "after": after,
                "content": excerpt(core),
                "messages": [one.message_index for one in parts],
                "filters": _trimmers(row),
            },
        ),
        start=place[0] if place else None,
        end=place[1] if place else None,
        severity="warning" if cause == "indentation" else "info",
        reproduction=_reproduction(row, part),
    )


def _trimmers(row: Row) -> list[str]:
    """Return what in the template's source takes white space away."""
    known: list[str] | None = row.facts.__dict__.get("_trimmers")
    if known is None:
        source = row.facts.template.source if row.facts.template else ""
        found = re.findall(r"\|\s*trim\b|\.[lr]?strip\([^)]*\)", source)
        known = row.facts.__dict__["_trimmers"] = list(dict.fromkeys(found))
    return known


def _reproduction(row: Row, part: Part) -> tuple[str, ...]:
    if row.record.shape != "messages":
        return ()
    return reproduction(row, f"repr(row['messages'][{part.message_index}]['content'])")


def _inner(row: Row, part: Part) -> Hit | None:
    """Return a hit where a content is in the text with other white space between its words."""
    core = part.text.strip()
    if not core or core in row.text or "</think>" in core:
        return None
    words = core.split()
    pattern = r"\s*".join(re.escape(word) for word in words[:200])
    match = re.search(pattern, row.text)
    if match is None:
        return None
    theirs = match.group()
    at = next((i for i, (a, b) in enumerate(zip(core, theirs, strict=False)) if a != b), len(theirs))
    if at >= len(theirs) and len(words) > 200:
        return None  # the part that was compared is the same
    held, shown = core[max(0, at - 12) : at + 12], theirs[max(0, at - 12) : at + 12]
    return Hit(
        "rules_tpl.changed_inside",
        {"role": part.role, "held": repr(held), "shown": repr(shown)},
        help="rules_tpl.trimmed_help",
        because=Because(
            code="inner",
            key="rules_tpl.changed_inside_cause",
            values={"template": row.facts.template.name if row.facts.template else ""},
            evidence={"message_index": part.message_index, "role": part.role, "held": held, "shown": shown},
        ),
        start=match.start() + at,
        end=min(match.start() + at + 12, match.end()),
        severity="warning",
        reproduction=_reproduction(row, part),
    )
