"""What methods on the sphere share: the products of all pairs of models, and weights that follow from them.

Models as vectors x_1 .. x_M, or their task vectors, span a small space. Every point on an arc between them, and every
mean on the sphere, is a weighted sum of them whose weights depend on their products <x_i, x_j> alone: one pass over a
tensor finds the products, some arithmetic in fp64 the weights, and a second pass the sum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from finetooth.merging.methods.stacked import BLOCK, Chunk, Stacked

Along = Literal["tensor", "row", "column"]
"""What is taken as one vector: all of a tensor, each of its rows, or each of its columns."""

ROW_BLOCK = 16
"""Rows of which columns are summed in fp32 before fp64 takes over."""


def products(tensor: Stacked, along: Along = "tensor", *, afterwards: Callable[[Chunk], None] | None = None) -> Tensor:
    """Return the products of all pairs of models, of their task vectors where there is a base.

    Args:
        tensor: The tensor.
        along: What is a vector.
        afterwards: Along a whole tensor, is handed each chunk when its products are known, and may write into it.

    Returns:
        `[M, M]` in fp64, `[M, M, R]` for rows, `[M, M, C]` for columns.
    """
    if along == "row":
        return torch.cat([_pairs(_as_rows(tensor, chunk)) for chunk in tensor.rows()], dim=-1)
    if along == "column":
        sums: Tensor | float = 0.0
        for chunk in tensor.rows():
            for rows_MRC in torch.split(_as_rows(tensor, chunk), ROW_BLOCK, dim=1):
                sums = sums + _pairs(rows_MRC.transpose(1, 2))
        assert isinstance(sums, Tensor)
        return sums
    whole = _of_whole(tensor, afterwards)
    if not torch.isfinite(whole).all():
        tensor.look()
    return whole


def _of_whole(tensor: Stacked, afterwards: Callable[[Chunk], None] | None) -> Tensor:
    """Return the products along a whole tensor: those of its blocks, added up at the end."""
    found: list[Tensor] = []
    seen_MN: Tensor | None = None
    blocks: list[Tensor] = []
    for chunk in tensor.chunks(shows_nan=True):
        if chunk.deltas.whole_RN is not seen_MN:
            seen_MN = chunk.deltas.whole_RN
            blocks = list(_blocks(seen_MN))
        found += map(_pairs, blocks)
        if afterwards is not None:
            afterwards(chunk)
    return torch.cat(found, dim=-1).sum(-1)


def _blocks(values_MN: Tensor) -> Iterator[Tensor]:
    """Yield the values in blocks that are summed in fp32, `[M, B, K]`, and what is left over."""
    count = values_MN.shape[1]
    whole = count // BLOCK * BLOCK
    if whole:
        yield values_MN[:, :whole].view(len(values_MN), -1, BLOCK)
    if whole < count:
        yield values_MN[:, None, whole:]


def arc(products_MM: Tensor, t: float, straight_above: float = 1.0) -> Tensor:
    """Return the weights of the point at `t` on the arc from the first to the second of two vectors.

        sin((1 - t) a) / sin(a),  sin(t a) / sin(a),  where a is the angle between them

    Args:
        products_MM: Products as `products` returns them.
        t: 0 is the first vector, 1 the second.
        straight_above: The cosine from which the chord is taken for the arc, whose weights would be 0 / 0 at last.

    Returns:
        `[2]` in fp64, `[2, R]` for rows, `[2, C]` for columns.
    """
    norms = products_MM.diagonal().movedim(-1, 0).clamp(min=0).sqrt()
    is_straight = (norms[0] * norms[1]) == 0
    cosine = products_MM[0, 1] / torch.where(is_straight, 1.0, norms[0] * norms[1])
    angle = cosine.clamp(-1, 1).acos()
    is_straight = is_straight | (angle.sin() < 1e-8) | (cosine.abs() > straight_above)
    sine = torch.where(is_straight, 1.0, angle.sin())
    chord = torch.ones_like(angle)
    return torch.stack(
        [
            torch.where(is_straight, (1 - t) * chord, ((1 - t) * angle).sin() / sine),
            torch.where(is_straight, t * chord, (t * angle).sin() / sine),
        ]
    )


def unit_weights(products_MM: Tensor) -> Tensor:
    """Return what each vector is multiplied by to have the length 1; 0 where it has none."""
    lengths = products_MM.diagonal().clamp(min=0).sqrt()
    return torch.where(lengths > 0, 1 / torch.where(lengths > 0, lengths, 1.0), 0.0)


def lengths(products_MM: Tensor) -> Tensor:
    """Return the length of each vector."""
    return products_MM.diagonal().clamp(min=0).sqrt()


def length_of(weights_M: Tensor, products_MM: Tensor) -> float:
    """Return the length of a weighted sum of the vectors."""
    return float((weights_M @ products_MM @ weights_M).clamp(min=0).sqrt())


def blend_along(tensor: Stacked, chunk: Chunk, weights: Tensor, along: Along) -> Tensor:
    """Return the weighted sum of a chunk's task vectors on top of its base, with weights for each row or column."""
    rows_MRC = _as_rows(tensor, chunk)
    weights = weights.to(torch.float32)
    if along == "row":
        first = chunk.start // rows_MRC.shape[2]
        weights = weights[:, first : first + rows_MRC.shape[1], None]
    else:
        weights = weights[:, None, :]
    rows_MRC.mul_(weights)
    merged_RC = rows_MRC[0]
    for row_RC in rows_MRC[1:]:
        merged_RC.add_(row_RC)
    return chunk.add_base(merged_RC.flatten())


def as_floats(weights_M: Tensor) -> Sequence[float]:
    """Return weights as plain numbers."""
    return [float(weight) for weight in weights_M]


def _as_rows(tensor: Stacked, chunk: Chunk) -> Tensor:
    return chunk.deltas.whole_RN.view(tensor.num_models, -1, tensor.shape[-1])


def _pairs(values_MBK: Tensor) -> Tensor:
    """Return the products of all pairs, summed over the last dimension: `[M, M, B]` in fp64."""
    if values_MBK.device.type == "cpu" and values_MBK.stride(-1) == 1:
        # Dot by dot is twice as fast as small matrix products are; all of a stretch before the next (what `order` asks
        # for), so that it is still in the cache next to the core.
        values_BMK = values_MBK.numpy().transpose(1, 0, 2)
        found_BMM = np.vecdot(values_BMK[:, :, None], values_BMK[:, None, :], order="C")
        return torch.from_numpy(found_BMM).permute(1, 2, 0).to(torch.float64)
    # A product of small matrices for each stretch reads the models once, where pairs one by one read them M times.
    return torch.bmm(values_MBK.transpose(0, 1), values_MBK.permute(1, 2, 0)).permute(1, 2, 0).to(torch.float64)
