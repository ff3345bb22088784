"""The encoded rows of a training set, held flat in memory: 8 bytes a token, whatever their number."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import overload

from finetooth.fingerprint import LabelHash
from finetooth.types import IGNORE_INDEX, Encoded


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRow:
    """One row: what packing takes, with its place."""

    index: int
    """Its number among the rows that are trained on."""
    where: str
    """`path:line`, which errors print."""
    input_ids: list[int]
    labels: list[int]


@dataclass(slots=True)
class EncodedRows(Sequence[TrainRow]):
    """Rows by number; a `TrainRow` is made when one is asked for."""

    input_ids: array[int] = field(default_factory=lambda: array("i"))
    labels: array[int] = field(default_factory=lambda: array("i"))
    ends: array[int] = field(default_factory=lambda: array("q"))
    """Where each row ends in the two arrays."""
    places: list[str] = field(default_factory=list)
    record_indices: array[int] = field(default_factory=lambda: array("q"))
    """The number of each row's record in the data as read."""

    def append(self, encoded: Encoded) -> None:
        """Add a row."""
        self.input_ids.extend(encoded.input_ids)
        self.labels.extend(encoded.labels)
        self.ends.append(len(self.input_ids))
        self.places.append(encoded.where)
        self.record_indices.append(encoded.record_index)

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, index: int) -> TrainRow: ...
    @overload
    def __getitem__(self, index: slice) -> list[TrainRow]: ...
    def __getitem__(self, index: int | slice) -> TrainRow | list[TrainRow]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        if index < 0:
            index += len(self)
        start, end = self.ends[index - 1] if index else 0, self.ends[index]
        return TrainRow(
            index=index,
            where=self.places[index],
            input_ids=self.input_ids[start:end].tolist(),
            labels=self.labels[start:end].tolist(),
        )

    def _bounds(self) -> Iterator[tuple[int, int]]:
        start = 0
        for end in self.ends:
            yield start, end
            start = end

    def num_supervised(self) -> int:
        """Return the supervised tokens of all rows; a first token, which nothing predicts, is none."""
        firsts = sum(end > start and self.labels[start] != IGNORE_INDEX for start, end in self._bounds())
        return len(self.labels) - self.labels.count(IGNORE_INDEX) - firsts

    def num_idle(self) -> int:
        """Return the rows that teach nothing."""
        return sum(
            self.labels[start + 1 : end].count(IGNORE_INDEX) == max(0, end - start - 1) for start, end in self._bounds()
        )

    def largest_id(self) -> int:
        """Return the largest id or label, -1 where there is none."""
        return max(max(self.input_ids, default=-1), max(self.labels, default=-1))

    def longest(self) -> int:
        """Return the number of tokens of the longest row."""
        return max((end - start for start, end in self._bounds()), default=0)

    def take(self, indices: Iterable[int]) -> EncodedRows:
        """Return some rows, numbered anew."""
        taken = EncodedRows()
        for index in indices:
            start, end = self.ends[index - 1] if index else 0, self.ends[index]
            taken.input_ids.extend(self.input_ids[start:end])
            taken.labels.extend(self.labels[start:end])
            taken.ends.append(len(taken.input_ids))
            taken.places.append(self.places[index])
            taken.record_indices.append(self.record_indices[index])
        return taken


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """Rows, and what was left out of them."""

    rows: EncodedRows
    num_dropped: int
    """Rows that the way of making labels drops."""
    label_hash: str
    """Of all ids and labels; see `finetooth.fingerprint.LabelHash`."""


def collect(encodeds: Iterable[Encoded]) -> Collected:
    """Take in rows as they are encoded."""
    rows, dropped, total = EncodedRows(), 0, LabelHash()
    for encoded in encodeds:
        if encoded.dropped is not None:
            dropped += 1
            continue
        rows.append(encoded)
        total.add(encoded)
    return Collected(rows=rows, num_dropped=dropped, label_hash=total.hexdigest())
