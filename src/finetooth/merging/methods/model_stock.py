"""`model_stock`: the mean of fine-tunes, drawn towards the base as far as they disagree."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from finetooth.merging.methods.method import Parameter, Values, merge_method
from finetooth.merging.methods.spheres import blend_along, products
from finetooth.merging.methods.stacked import Chunk, Stacked

FILTER_WISE = Parameter(name="filter_wise", default=False)


@merge_method("model_stock", parameters=(FILTER_WISE,), num_models=(2, None))
def model_stock(tensor: Stacked, values: Values) -> Iterator[Tensor]:
    """Go from the base towards the mean of M fine-tunes, as far as their task vectors agree.

        c = the mean cosine of pairs of x_m - base;   t = M c / (1 + (M - 1) c)
        merged = t * mean_m x_m + (1 - t) base

    c and t are those of a tensor, or with `filter_wise` of each row of a matrix.

    Jang et al., "Model stock: all we need is just a few fine-tuned models", 2024 (arXiv:2403.19522).
    """
    if values["filter_wise"] and len(tensor.shape) > 1:
        share = _share(products(tensor, "row")) / tensor.num_models
        weights = share.expand(tensor.num_models, -1)
        for chunk in tensor.rows():
            yield blend_along(tensor, chunk, weights, "row")
    elif (room_1N := tensor.room(1)) is not None:
        yield from _in_one_pass(tensor, room_1N[0])
    else:
        factor = float(_share(products(tensor)) / tensor.num_models)
        for chunk in tensor.chunks():
            yield chunk.blend_deltas([1.0] * tensor.num_models, factor)


def _in_one_pass(tensor: Stacked, sum_N: Tensor) -> Iterator[Tensor]:
    """Keep the sum of the task vectors, to which the second pass has but to add the base."""

    def keep(chunk: Chunk) -> None:
        total_N, *others, last_N = chunk.deltas.rows
        for delta_N in others:
            total_N.add_(delta_N)
        # The memory beyond the cache is written once, and not read.
        torch.add(total_N, last_N, out=sum_N[chunk.start : chunk.start + total_N.numel()])

    factor = float(_share(products(tensor, afterwards=keep)) / tensor.num_models)
    start = 0
    for base_N in tensor.bases():
        end = start + len(base_N)
        yield base_N.add_(sum_N[start:end], alpha=factor)
        start = end


def _share(found: Tensor) -> Tensor:
    """Return t, from the products of all pairs of task vectors."""
    num_models = len(found)
    lengths = found.diagonal().movedim(-1, 0).clamp(min=0).sqrt()
    total = torch.zeros_like(lengths[0])
    for i in range(num_models):
        for j in range(i):
            scale = lengths[i] * lengths[j]
            # A model that is the base itself has no direction: it agrees with none.
            total += torch.where(scale > 0, found[i, j] / torch.where(scale > 0, scale, 1.0), 0.0)
    cosine = total / (num_models * (num_models - 1) / 2)
    return num_models * cosine / (1 + (num_models - 1) * cosine)
