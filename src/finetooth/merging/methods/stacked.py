"""`Stacked`: one tensor of every model, in chunks; `Chunk`: a stretch of it, as fp32.

Shape suffixes: M models without the base, N elements of a chunk, R rows, C columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from torch import Tensor

from finetooth.merging.methods.draws import Draws

BLOCK = 4096
"""Elements that are summed in fp32 before fp64 takes over; chunks are whole numbers of blocks, so that no result
depends on how a tensor was cut."""


SAMPLE_STRETCH = 512
"""Elements of a sample that stand side by side."""


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


@dataclass(slots=False)
class Chunk:
    """A stretch of a tensor, of all models. A method may write into what it is handed."""

    models_MN: Tensor
    base_N: Tensor | None
    start: int
    """The place of the first element in the flattened tensor."""
    scratch_N: Tensor
    """Memory to compute in, so that none has to be asked for."""

    @cached_property
    def deltas_MN(self) -> Tensor:
        """The task vectors: what each model has beyond the base; the models themselves where there is none.

        They take the place of the models in memory.
        """
        return self.models_MN if self.base_N is None else self.models_MN.sub_(self.base_N)

    def blend(self, weights: Sequence[float]) -> Tensor:
        """Return the weighted sum of the models."""
        return weighted_sum(self.models_MN, weights)

    def blend_deltas(self, weights: Sequence[float], factor: float = 1.0) -> Tensor:
        """Return the base plus the weighted sum of the task vectors, times a factor."""
        return self.add_base(weighted_sum(self.deltas_MN, weights), factor)

    def add_base(self, merged_N: Tensor, factor: float = 1.0) -> Tensor:
        """Return a merged task vector, times a factor, on top of the base where there is one."""
        if self.base_N is not None:
            return self.base_N.add_(merged_N, alpha=factor)
        return merged_N if factor == 1.0 else merged_N.mul_(factor)


def weighted_sum(values_MN: Tensor, weights: Sequence[float]) -> Tensor:
    """Return the sum of the rows, each times its weight; it overwrites the first row."""
    total_N, *others = values_MN.unbind()
    if weights[0] != 1.0:
        total_N.mul_(weights[0])
    for values_N, weight in zip(others, weights[1:], strict=True):
        if weight != 0.0:
            total_N.add_(values_N, alpha=weight)
    return total_N
