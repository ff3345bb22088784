"""What the views of several sides share: which sides hold one text, their short names, and what is cut short."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from finetooth.messages import say
from finetooth.types import Side
from finetooth.view.columns import Column, Region, find_regions
from finetooth.view.paint import shorten
from finetooth.view.summary import summarize
from finetooth.view.visible import harmless

KEPT = 80
"""Characters kept on either side of a cut; a stretch that no side supervises is cut from five times as many on."""

REGIONS_LISTED = 6
"""Differences listed above a record; the rest are counted."""


def sides_by_text(sides: Sequence[Side]) -> list[list[int]]:
    """Return the numbers of the sides, those that hold the same text together."""
    texts: dict[str, list[int]] = {}
    for index, side in enumerate(sides):
        texts.setdefault(side.encoded.text, []).append(index)
    return list(texts.values())


def short_names(sides: Sequence[Side], *, room: int) -> list[str]:
    """Return a short name for each side: its number, and what tells it from the others where there is room.

    Args:
        sides: The sides of one record.
        room: The cells that a name may take. One side alone needs no name and gets none.
    """
    if len(sides) < 2:
        return [""] * len(sides)
    numbers = [str(index + 1) for index in range(len(sides))]
    if room < 15:
        return numbers
    encodeds = [side.encoded for side in sides]
    parts = (
        [encoded.model for encoded in encodeds],
        [encoded.labels_way for encoded in encodeds],
        [encoded.loader for encoded in encodeds],
    )
    told_apart = [_without_common_start(part) for part in parts if len(set(part)) > 1]
    names = [" ".join(words) for words in zip(*told_apart, strict=True)] or [""] * len(sides)
    return [
        shorten(f"{number} {harmless(name)}".rstrip(), width=room) for number, name in zip(numbers, names, strict=True)
    ]


def common_start(texts: Sequence[str]) -> int:
    """Return how many characters all texts begin with alike."""
    one, other = min(texts), max(texts)
    for position, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return position
    return min(len(one), len(other))


def _without_common_start(names: Sequence[str]) -> list[str]:
    common = names[0][: common_start(names)]
    cut = max(common.rfind(separator) for separator in "/-_.") + 1
    return [name[cut:] for name in names]


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
    return f"{region.start}:{region.end} {', '.join(say(f'view.{kind}') for kind in sorted(region.kinds))}"


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
