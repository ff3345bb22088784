"""The rows that finetooth does not read, each refused by the name of what it is, with the way out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from finetooth.config import DataConfig
from finetooth.errors import DataError
from finetooth.messages import say
from finetooth.records.wording import closest, listed
from finetooth.types import SHAPES, Shape

Row = Mapping[str, Any]

MEDIA_COLUMNS = frozenset(
    {"image", "images", "pixel_values", "image_grid_thw", "audio", "audios", "input_features", "video", "videos"}
)
PREFERENCE_COLUMNS = (
    "chosen",
    "rejected",
    "chosen_input_ids",
    "rejected_input_ids",
    "chosen_messages",
    "rejected_messages",
    "kto_tag",
)
_SYNONYMS = {
    "prompt": ("question", "query", "instruction", "input", "user", "source"),
    "completion": ("answer", "response", "output", "target", "assistant", "reply"),
}


def required_columns(shape: Shape, config: DataConfig) -> tuple[str, ...]:
    """Return the columns without which a row is not of a shape."""
    return {
        "encoded": ("input_ids",),
        "prompt-completion": ("prompt", "completion"),
        "messages": ("messages",),
        "conversations": ("conversations",),
        "alpaca": ("instruction", "output"),
        "text": (config.text_field,),
    }[shape]


def missing_columns(row: Row, shape: Shape, config: DataConfig) -> list[str]:
    """Return the columns of a shape that a row lacks."""
    missing = [name for name in required_columns(shape, config) if row.get(name) is None]
    if missing == ["completion"] and row.get("response") is not None:
        return []
    return missing


def refuse_media(row: Row, where: str) -> None:
    """Raise where a column holds images, sound or video."""
    if MEDIA_COLUMNS.isdisjoint(row):
        return
    for name in sorted(MEDIA_COLUMNS & row.keys()):
        value = row[name]
        # An empty list is a text row of a data set that has images elsewhere.
        if value is None or (isinstance(value, str | list | Mapping) and not value):
            continue
        raise DataError(
            say("records.media_column", name=name),
            where=where,
            help=_jq(f"del(.{name})", where),
        )


def refuse_preference(row: Row, where: str) -> None:
    """Raise where a row holds a preference: a better and a worse answer, or an answer and a verdict."""
    held = [name for name in PREFERENCE_COLUMNS if row.get(name) is not None]
    if row.get("completion") is not None and isinstance(row.get("label"), bool):
        held += ["completion", "label"]
    elif row.get("completions") is not None and isinstance(row.get("labels"), list):
        held += ["completions", "labels"]
    if held:
        raise DataError(say("records.preference", columns=listed(held)), where=where, help=_answer_kept(row, where))


def _answer_kept(row: Row, where: str) -> str:
    """Return a remedy that keeps the better answer of a preference row."""
    if row.get("messages") is not None:
        return "--set data.shape=messages"
    chosen = row.get("chosen")
    if row.get("conversations") is not None and isinstance(chosen, Mapping):
        return _jq("{conversations: (.conversations + [.chosen])}", where)
    if isinstance(chosen, str) and row.get("instruction") is not None:
        return _jq("{instruction, input, output: .chosen}", where)
    if (
        chosen is not None
        and row.get("prompt") is not None
        and isinstance(chosen, str) == isinstance(row["prompt"], str)
    ):
        return _jq("{prompt, completion: .chosen}", where)
    if isinstance(chosen, list):
        return _jq("{messages: .chosen}", where)
    if isinstance(chosen, str):
        return _jq("{text: .chosen}", where)
    if isinstance(row.get("label"), bool):
        return _jq("select(.label) | {prompt, completion}", where)
    if isinstance(row.get("kto_tag"), bool):
        return _jq("select(.kto_tag) | del(.kto_tag)", where)
    return say("records.skip_rows")


def _jq(program: str, where: str) -> str:
    """Return a command that rewrites the file of a record as JSONL."""
    place = re.fullmatch(r"(.+\.(?:jsonl|ndjson|json))(?::\d+|\[\d+\])", where)
    file = place[1] if place is not None else "data.jsonl"
    each = ".[] | " if where.endswith("]") and place is not None else ""
    return f"jq -c '{each}{program}' {file} > sft.jsonl"


def shapeless(row: Row, where: str, config: DataConfig) -> DataError:
    """Return the error for a row whose columns fit no shape."""
    present = [name for name, value in row.items() if value is not None]
    if not present:
        return DataError(say("records.empty_row"), where=where, help=say("records.fill_or_skip"))
    for shape in SHAPES:
        missing = missing_columns(row, shape, config)
        if len(missing) < len(required_columns(shape, config)):
            return incomplete(row, shape, missing, where, config)
    shapes = " | ".join(" + ".join(f"`{name}`" for name in required_columns(shape, config)) for shape in SHAPES)
    return DataError(
        say("records.no_shape", columns=listed(present), shapes=shapes),
        where=where,
        help=_renaming(row, present, config),
    )


def incomplete(row: Row, shape: Shape, missing: list[str], where: str, config: DataConfig) -> DataError:
    """Return the error for a row that lacks columns of its shape."""
    present = [name for name, value in row.items() if value is not None]
    shapes = say("records.comma").join(SHAPES)
    what = say(
        "records.missing_column", shape=shape, missing=listed(missing), columns=listed(present) or "-", shapes=shapes
    )
    taken = set(required_columns(shape, config))
    best = closest(missing[0], (name for name in present if name not in taken))
    if best is None:
        best = next((name for name in _SYNONYMS.get(missing[0], ()) if name in present and name not in taken), None)
    if best is not None:
        remedy = say("records.rename_column", found=best, due=missing[0])
    elif config.shape != "auto":
        remedy = "--set data.shape=auto"
    else:
        remedy = say("records.fill_or_skip")
    return DataError(what, where=where, help=remedy)


def _renaming(row: Row, present: list[str], config: DataConfig) -> str:
    known = {name for shape in SHAPES for name in required_columns(shape, config)}
    for name in present:
        best = closest(name, known)
        if best is not None:
            return say("records.rename_column", found=name, due=best)
    pair = [next((name for name in names if name in present), None) for names in _SYNONYMS.values()]
    if None not in pair:
        return say("records.rename_columns", prompt=pair[0], completion=pair[1])
    strings = [name for name in present if isinstance(row[name], str)]
    if len(strings) == 1:
        return f"--set data.text_field={strings[0]}"
    return say("records.rename_any")


def mixed(prompt: Any, completion: Any, name: str, where: str) -> DataError:
    """Return the error for a prompt and a completion of which one alone is a list of messages."""
    if isinstance(prompt, str):
        program = 'prompt |= [{role: "user", content: .}]'
    else:
        program = f'{name} |= [{{role: "assistant", content: .}}]'
    return DataError(
        say(
            "records.mixed",
            string="prompt" if isinstance(prompt, str) else name,
            list=name if isinstance(prompt, str) else "prompt",
        ),
        where=where,
        help=_jq(f".{program}", where),
    )


def tools_twice(where: str) -> DataError:
    """Return the error for tools in their column and among the parts of a message."""
    return DataError(
        say("records.twice", what="tools", first="tools", second="content"),
        where=where,
        help=say("records.twice_help", name="tools"),
    )
