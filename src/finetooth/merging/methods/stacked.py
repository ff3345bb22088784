"""`Stacked`: one tensor of every model, in chunks; `Chunk`: a stretch of it, as fp32.

Shape suffixes: M models without the base, N elements of a chunk, R rows, C columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from finetooth.merging.methods.draws import Draws

BLOCK = 4096
"""Elements that are summed in fp32 before fp64 takes over; chunks are whole numbers of blocks, so that no result
depends on how a tensor was cut."""


SAMPLE_STRETCH = 512
"""Elements of a sample that stand side by side."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of numbers of one length, and each of them: to cut out a row takes as long as to add up a short one."""

    whole_RN: Tensor
    rows: tuple[Tensor, ...]
    _heads: dict[int, Table] = field(default_factory=dict)

    @classmethod
    def of(cls, whole_RN: Tensor) -> Table:
        """Return a matrix and its rows."""
        return cls(whole_RN, whole_RN.unbind())

    def head(self, num_rows: int) -> Table:
        """Return the first rows: the same object each time."""
        if num_rows not in self._heads:
            self._heads[num_rows] = Table(self.whole_RN[:num_rows], self.rows[:num_rows])
        return self._heads[num_rows]


class Stacked(Protocol):
    """One tensor of every model. What `chunks` and `rows` yield is overwritten by the next chunk."""

    @property
    def name(self) -> str:
        """The name of the tensor in the merged model."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the tensor, the same in all models."""

    @property
    def num_models(self) -> int:
        """The number of models without the base."""

    def chunks(self, *, shows_nan: bool = False) -> Iterator[Chunk]:
        """Yield all of the tensor from its first element to its last; it may be asked for again.

        Args:
            shows_nan: Whether a value that is no number makes what the method computes no number either: such chunks
                are not looked at. What is merged is; for anything else the method asks for `look`.
        """

    def look(self) -> None:
        """Refuse the tensor if there are values in it that are no numbers: what was computed from it is none."""

    def rows(self) -> Iterator[Chunk]:
        """Yield the same, each chunk a whole number of rows (of the last dimension)."""

    def bases(self) -> Iterator[Tensor]:
        """Yield the base alone in chunks, where there is one: the second pass of a method that kept all else."""

    def sample(self) -> Chunk | None:
        """Return stretches of `SAMPLE_STRETCH` elements from all over the tensor, one after the other.

        `None` where going through all of it costs no more. The same tensor has the same sample.
        """

    def draws(self, model_index: int) -> Draws:
        """Return the random numbers of a model, one for each element of the tensor."""

    def room(self, num_rows: int) -> Tensor | None:
        """Return memory to keep so many rows of the tensor's numbers in from one pass to the next, as fp32.

        It holds whatever stood in it. `None` where that would be more than a merge may hold: another pass over the
        files costs time alone.
        """


@dataclass(slots=True)
class Chunk:
    """A stretch of a tensor, of all models. A method may write into what it is handed.

    Chunks of one length have their tensors, as Python's objects, in common: what is made of one is good for the next.
    """

    models: Table
    base_N: Tensor | None
    start: int
    """The place of the first element in the flattened tensor."""
    scratch_N: Tensor
    """Memory to compute in, so that none has to be asked for."""
    _is_relative: bool = False

    @property
    def deltas(self) -> Table:
        """The task vectors: what each model has beyond the base; the models themselves where there is none.

        They take the place of the models in memory.
        """
        if not self._is_relative and self.base_N is not None:
            self.models.whole_RN.sub_(self.base_N)
        self._is_relative = True
        return self.models

    def blend(self, weights: Sequence[float]) -> Tensor:
        """Return the weighted sum of the models."""
        return weighted_sum(self.models.rows, weights)

    def blend_deltas(self, weights: Sequence[float], factor: float = 1.0) -> Tensor:
        """Return the base plus the weighted sum of the task vectors, times a factor."""
        return self.add_base(weighted_sum(self.deltas.rows, weights), factor)

    def add_base(self, merged_N: Tensor, factor: float = 1.0) -> Tensor:
        """Return a merged task vector, times a factor, on top of the base where there is one."""
        if self.base_N is not None:
            return self.base_N.add_(merged_N, alpha=factor)
        return merged_N if factor == 1.0 else merged_N.mul_(factor)


def weighted_sum(rows: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Return the sum of the rows, each times its weight; it overwrites the first row."""
    total_N, *others = rows
    if weights[0] != 1.0:
        total_N.mul_(weights[0])
    for values_N, weight in zip(others, weights[1:], strict=True):
        if weight != 0.0:
            total_N.add_(values_N, alpha=weight)
    return total_N
