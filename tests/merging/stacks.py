"""A `Stacked` of tensors in memory, for methods on their own."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from finetooth.merging.methods import METHODS
from finetooth.merging.methods.draws import Draws
from finetooth.merging.methods.stacked import Chunk, Table


class InMemory:
    def __init__(
        self, models: Sequence[Tensor], base: Tensor | None, *, chunk: int, seed: int, has_room: bool = True
    ) -> None:
        self.name, self.shape, self.num_models = "tensor", tuple(models[0].shape), len(models)
        self.models_MN = torch.stack([model.flatten() for model in models])
        self.base_N = None if base is None else base.flatten()
        self.chunk, self.seed, self.has_room = chunk, seed, has_room

    def chunks(self, *, shows_nan: bool = False) -> Iterator[Chunk]:
        return self._stretches(self.chunk)

    def sample(self) -> Chunk | None:
        return None

    def look(self) -> None:
        return None

    def rows(self) -> Iterator[Chunk]:
        least = math.lcm(16 * self.shape[-1], 64)
        return self._stretches(max(self.chunk // least, 1) * least)

    def bases(self) -> Iterator[Tensor]:
        assert self.base_N is not None
        for start in range(0, len(self.base_N), self.chunk):
            yield self.base_N[start : start + self.chunk].clone()

    def draws(self, model_index: int) -> Draws:
        return Draws.of(self.seed, self.name, model_index)

    def room(self, num_rows: int) -> Tensor | None:
        return torch.full((num_rows, self.models_MN.shape[1]), torch.nan) if self.has_room else None

    def _stretches(self, size: int) -> Iterator[Chunk]:
        for start in range(0, self.models_MN.shape[1], size):
            models = Table.of(self.models_MN[:, start : start + size].clone())
            base_N = None if self.base_N is None else self.base_N[start : start + size].clone()
            yield Chunk(models, base_N, start, torch.empty(models.whole_RN.shape[1]))


def run(
    name: str,
    models: Sequence[Tensor],
    base: Tensor | None = None,
    *,
    chunk: int = 1 << 16,
    seed: int = 0,
    has_room: bool = True,
    **values: Any,
) -> Tensor:
    """Merge one tensor of several models by a method; values per model are lists, or a number for all."""
    method = METHODS[name]
    stack = list(models)
    if method.base in ("endpoint", "member") and base is not None:
        stack, base = [base, *stack], None
    filled: Mapping[str, Any] = {
        one.name: _spread(values.pop(one.name, one.default), len(stack) if one.per_model else None)
        for one in method.parameters
    }
    assert not values, f"{name} has no {list(values)}"
    stacked = InMemory(stack, base, chunk=chunk, seed=seed, has_room=has_room)
    merged = torch.cat([part.clone() for part in method.function(stacked, filled)])
    return merged.view(models[0].shape)


def _spread(value: Any, count: int | None) -> Any:
    return [value] * count if count is not None and not isinstance(value, list) else value
