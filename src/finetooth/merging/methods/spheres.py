"""What methods on the sphere share: the products of all pairs of models, and weights that follow from them.

Models as vectors x_1 .. x_M, or their task vectors, span a small space. Every point on an arc between them, and every
mean on the sphere, is a weighted sum of them whose weights depend on their products <x_i, x_j> alone: one pass over a
tensor finds the products, some arithmetic in fp64 the weights, and a second pass the sum.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    sums: Tensor | float = 0.0
    if along == "column":
        for chunk in tensor.rows():
            for rows_MRC in torch.split(_as_rows(tensor, chunk), ROW_BLOCK, dim=1):
                sums = sums + _pairs(rows_MRC.transpose(1, 2))
    else:
        for chunk in tensor.chunks(shows_nan=True):
            values_MN = chunk.deltas_MN
            whole = values_MN.shape[1] // BLOCK * BLOCK
            parts_MN = [values_MN] if whole == values_MN.shape[1] else [values_MN[:, :whole], values_MN[:, whole:]]
            for part_MN in (part_MN for part_MN in parts_MN if part_MN.shape[1]):
                blocks_MBK = part_MN.reshape(len(part_MN), -1, min(BLOCK, part_MN.shape[1]))
                sums = _added(sums, _pairs(blocks_MBK))
            if afterwards is not None:
                afterwards(chunk)
    assert isinstance(sums, Tensor)
    if along == "tensor" and not torch.isfinite(sums).all():
        tensor.look()
    return sums


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
    return chunk.deltas_MN.view(tensor.num_models, -1, tensor.shape[-1])


def _added(sums_MM: Tensor | float, blocks_MMB: Tensor) -> Tensor:
    """Return a sum with more added to it one after the other: fp64 rounds as well, and chunks must not show."""
    blocks_MMB[..., 0].add_(sums_MM)
    return blocks_MMB.cumsum(-1)[..., -1]


def _pairs(values_MBK: Tensor) -> Tensor:
    """Return the products of all pairs, summed over the last dimension: `[M, M, B]` in fp64."""
    if values_MBK.device.type == "cpu" and values_MBK.stride(-1) == 1:
        # From the cache, dot by dot is twice as fast as small matrix products are.
        values = values_MBK.numpy()
        found = np.empty((len(values), len(values), values.shape[1]))
        for i, first_BK in enumerate(values):
            for j, second_BK in enumerate(values[: i + 1]):
                found[i, j] = found[j, i] = np.vecdot(first_BK, second_BK)
        return torch.from_numpy(found)
    # A product of small matrices for each stretch reads the models once, where pairs one by one read them M times.
    return torch.bmm(values_MBK.transpose(0, 1), values_MBK.permute(1, 2, 0)).permute(1, 2, 0).to(torch.float64)
