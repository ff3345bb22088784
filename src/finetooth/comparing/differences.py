"""What differs between entries: settings, versions, data, and what was asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finetooth.comparing.entry import Entry, is_number


class Unknown:
    """What an entry does not tell; equal to nothing, and no difference."""

    def __repr__(self) -> str:
        return "?"


UNKNOWN = Unknown()
_NO_SETTINGS = (
    "data.",
    "train.logging_steps",
    "train.num_samples",
    "train.sample_tokens",
    "train.probe_",
    "train.save_",
)
"""Beginnings of keys that are told elsewhere, or change nothing that is learned."""


_OTHER_LIMIT = 1.5
"""How many times another one a limit of answers is a different one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A setting in which entries differ."""

    key: str
    values: Sequence[Any]
    """One for each entry; `UNKNOWN` where it does not tell."""


def settings_that_differ(entries: Sequence[Entry]) -> list[Difference]:
    """Return the settings in which entries differ, in the order of a recipe's keys."""
    keys = dict.fromkeys(key for entry in entries for key in entry.settings)
    return _differing([key for key in keys if not key.startswith(_NO_SETTINGS)], entries, lambda entry: entry.settings)


def versions_that_differ(entries: Sequence[Entry]) -> list[Difference]:
    """Return the packages of which entries were made with other versions."""
    keys = dict.fromkeys(key for entry in entries for key in entry.versions)
    return _differing(sorted(keys), entries, lambda entry: entry.versions)


def _differing(
    keys: Sequence[str], entries: Sequence[Entry], values_of: Callable[[Entry], Mapping[str, Any]]
) -> list[Difference]:
    found = []
    for key in keys:
        values = [values_of(entry).get(key, UNKNOWN) for entry in entries]
        if len({_comparable(value) for value in values if value is not UNKNOWN}) > 1:
            found.append(Difference(key=key, values=values))
    return found


def _comparable(value: Any) -> str:
    # 5 and 5.0 are one number of epochs; a tuple and a list are one list.
    if isinstance(value, int | float) and not isinstance(value, bool):
        return repr(float(value))
    return repr(list(value)) if isinstance(value, list | tuple) else repr(value)


def groups_of_data(entries: Sequence[Entry]) -> list[list[Entry]]:
    """Return the entries by the data that they were trained on, those of which it is not known left out."""
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.data.hash is not None:
            groups.setdefault(entry.data.hash, []).append(entry)
    return list(groups.values())


def questions_of(entry: Entry) -> list[tuple[int, str]]:
    """Return what a probe asked, as far as it keeps its answers: the record, and the user's last words."""
    samples = (entry.probe or {}).get("samples") or []
    return [(int(one.get("record", -1)), str(one.get("question", ""))) for one in samples if isinstance(one, dict)]


def was_asked_otherwise(entries: Sequence[Entry]) -> bool:
    """Return whether the probes of entries asked other prompts, or cut answers at clearly other lengths."""
    asked, limits = set(), []
    for entry in entries:
        if entry.probe is not None:
            # Answers with a fault are kept beyond the first ones: those that all keep are the first.
            asked.add((entry.probe.get("num_prompts"), tuple(questions_of(entry)[:10])))
            limit = entry.probe.get("max_new_tokens")
            limits += [float(limit)] if limit is not None and is_number(limit) else []
    # The limit follows from the data's longest answer, in which another tokenizer counts a few tokens more.
    return len(asked) > 1 or max(limits, default=1.0) > _OTHER_LIMIT * min(limits, default=1.0)
