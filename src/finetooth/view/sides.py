"""What the views of several sides share: which sides hold one text, their short names, and what is cut short."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from finetooth.messages import say
from finetooth.types import Encoded, Side
from finetooth.view.columns import Column, Region, find_regions
from finetooth.view.paint import shorten_middle
from finetooth.view.summary import summarize
from finetooth.view.visible import cells, harmless

KEPT = 80
"""Characters kept on either side of a cut; a stretch that no side supervises is cut from five times as many on."""

NAME_CELLS = 30
"""Cells that the short name of a side takes at most."""

MODEL_CELLS = 5
"""Cells below which a model is not shortened but left out of a name: its number tells it."""

NARROW = 60
"""Width below which sides are named by their numbers alone: the text needs the cells."""

_SEPARATORS = "/-_ "

REGIONS_LISTED = 6
"""Differences listed above a record; the rest are counted."""


def sides_by_text(sides: Sequence[Side]) -> list[list[int]]:
    """Return the numbers of the sides, those that hold the same text together."""
    texts: dict[str, list[int]] = {}
    for index, side in enumerate(sides):
        texts.setdefault(side.encoded.text, []).append(index)
    return list(texts.values())


def short_names(sides: Sequence[Side], *, width: int) -> list[str]:
    """Return a short name for each side: its number, and what tells it from the others where there is room.

    A way of making labels is told whole or not at all: `1 llama fineto…` helps nobody. A model gives way to it.

    Args:
        sides: The sides of one record.
        width: The cells of a line; a name takes at most three in ten of them. One side alone gets no name.
    """
    if len(sides) < 2:
        return [""] * len(sides)
    numbers = [str(index + 1) for index in range(len(sides))]
    if width < NARROW:
        return numbers
    models, whole = _told_apart([side.encoded for side in sides])
    room = min(width * 3 // 10, NAME_CELLS) - cells(numbers[-1]) - 1 - max(map(cells, whole))
    if room < 0:
        return numbers
    if any(whole):
        room -= 1
    shortened = [shorten_middle(model, width=room) for model in models]
    if len(set(shortened)) < len(set(models)):
        common = common_start(models)
        shortened = [shorten_middle(f"…{model[common:]}", width=room) for model in models]
    if shortened != models and room < MODEL_CELLS:
        shortened = [""] * len(models)
    parts = zip(numbers, shortened, whole, strict=True)
    return [" ".join(part for part in each if part) for each in parts]


def _told_apart(encodeds: Sequence[Encoded]) -> tuple[list[str], list[str]]:
    """Return by side what tells it from the others: of its model, and its way of making labels (or its loader)."""
    models = [harmless(encoded.model) for encoded in encodeds]
    ways = [harmless(encoded.labels_way) for encoded in encodeds]
    whole = ways if len(set(ways)) > 1 else [""] * len(ways)
    if len(set(zip(models, ways, strict=True))) < len(encodeds):
        # One model, one way: what is left is what read the files.
        loaders = [encoded.loader for encoded in encodeds]
        if len(set(loaders)) > 1:
            whole = [f"{way} {loader}".strip() for way, loader in zip(whole, loaders, strict=True)]
    return (_without_common_ends(models) if len(set(models)) > 1 else [""] * len(models)), whole


def common_start(texts: Sequence[str]) -> int:
    """Return how many characters all texts begin with alike."""
    one, other = min(texts), max(texts)
    for position, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return position
    return min(len(one), len(other))


def _without_common_ends(names: Sequence[str]) -> list[str]:
    """Return names without the words that all of them begin with, and those that all of them end with.

    Words end at separators: of `llama2-pad-is-eos` and `llama2-pad-is-unk` are left `eos` and `unk`.
    """
    start = max(names[0][: common_start(names)].rfind(separator) for separator in _SEPARATORS) + 1
    names = [name[start:] for name in names]
    length = common_start([name[::-1] for name in names])
    tail = names[0][len(names[0]) - length :]
    end = next((len(tail) - place for place, char in enumerate(tail) if char in _SEPARATORS), 0)
    # `chat` beside `chat-v2-chat`: what one is altogether, the other may only end with.
    return [name[: len(name) - end] for name in names] if all(len(name) > end for name in names) else list(names)


def remarks(side: Side) -> list[str]:
    """Return what a reader has to know before the labels of a side mislead."""
    encoded = side.encoded
    told = []
    if encoded.dropped is not None:
        told.append(say("view.dropped", reason=harmless(encoded.dropped)))
    num_foreign = summarize(side).num_foreign
    if num_foreign:
        told.append(say("view.foreign_labels", num_labels=f"{num_foreign:,}"))
    return told + [say("view.note", note=harmless(note)) for note in encoded.notes]


def list_regions(regions: Sequence[Region]) -> str:
    """Say how many differences there are, and where the first of them lie."""
    if not regions:
        return say("view.no_difference")
    named = [name_region(region) for region in regions[:REGIONS_LISTED]]
    if len(regions) > REGIONS_LISTED:
        named.append(say("view.more", num_more=f"{len(regions) - REGIONS_LISTED:,}"))
    return say("view.differences", num_regions=f"{len(regions):,}", regions=" · ".join(named))


def name_region(region: Region) -> str:
    """Say where a difference lies, and in what."""
    kinds = say("view.comma").join(say(f"view.{kind}") for kind in sorted(region.kinds))
    return say("view.region", start=region.start, end=region.end, kinds=kinds)


def stretches(columns: Sequence[Column], *, kept: int | None) -> Iterator[tuple[int, int, bool]]:
    """Yield ranges of columns, each with whether it is left out: the middles of long stretches nobody supervises.

    Args:
        columns: The columns of a text.
        kept: How many characters stay on either side of what is left out; `None` leaves nothing out.
    """
    shown_from = index = 0
    while index < len(columns):
        end = index
        while end < len(columns) and not columns[end].supervised:
            end += 1
        if kept is not None and end > index and columns[end - 1].end - columns[index].start > 5 * kept:
            left, right = columns[index].start + kept, columns[end - 1].end - kept
            first = next(i for i in range(index, end) if columns[i].end >= left) + 1
            last = next((i for i in range(first, end) if columns[i].end > right), end)
            if last > first:
                yield shown_from, first, False
                yield first, last, True
                shown_from = last
        index = max(end, index + 1)
    if shown_from < len(columns):
        yield shown_from, len(columns), False


def elision(columns: Sequence[Column]) -> str:
    """Say what a stretch holds that is left out."""
    counts = [
        f"{sum(group.num_tokens for column in columns for group in column.rows[side]):,}"
        for side in range(len(columns[0].rows))
    ]
    num_tokens = counts[0] if len(set(counts)) == 1 else " / ".join(counts)
    num_chars = f"{columns[-1].end - columns[0].start:,}"
    num_regions = len(find_regions(columns))
    if num_regions:
        return say("view.elided_differing", num_chars=num_chars, num_tokens=num_tokens, num_regions=f"{num_regions:,}")
    return say("view.elided", num_chars=num_chars, num_tokens=num_tokens)
