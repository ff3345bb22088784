"""The two factors of a rank that come nearest to a matrix, by its singular values.

No matrix of that rank is nearer, in the Frobenius norm, than the one of the largest singular values, and its squared
distance is the sum of the squares of the others (Eckart and Young, 1936, Psychometrika 1).
"""

from __future__ import annotations

import torch
from torch import Tensor

_MORE = 8
"""Columns that are sketched beyond the rank, and times that the matrix is gone through (Halko, Martinsson and Tropp,
2011, arXiv:0909.4061, sections 4.2 and 4.5: 5 to 10 columns, a few passes)."""
_PASSES = 4

Factors = tuple[Tensor, Tensor]
"""B, `[R, K]`, and A, `[K, C]`."""


def nearest(matrix_RC: Tensor, rank: int) -> Factors:
    """Return B and A of a rank whose product is nearest to a matrix; the singular values are split between them.

    The directions are eigenvectors of M @ M.T in fp64. Squared values need twice the digits, which fp64 has to spare
    for a matrix in fp32; in about the time of an SVD in fp32, values that are near each other are parted far better.
    """
    if matrix_RC.shape[0] > matrix_RC.shape[1]:
        down_CK, up_KR = nearest(matrix_RC.T, rank)
        return up_KR.T, down_CK.T
    wide_RC = matrix_RC.double()
    _, vectors_RK = torch.linalg.eigh(wide_RC @ wide_RC.T)
    basis_RK = vectors_RK.flip(1)[:, :rank]
    projected_KC = basis_RK.T @ wide_RC  # each row is as long as its singular value
    roots = torch.linalg.vector_norm(projected_KC, dim=1).sqrt()
    down_KC = projected_KC / roots.clamp(min=torch.finfo(torch.float64).tiny)[:, None]
    return (basis_RK * roots).to(matrix_RC.dtype), down_KC.to(matrix_RC.dtype)


def sketched(matrix_RC: Tensor, rank: int, seed: int = 0) -> Factors:
    """Return nearly the same, many times faster where the rank is small: by random sketches of the matrix."""
    width = min(rank + _MORE, *matrix_RC.shape)
    generator = torch.Generator().manual_seed(seed)
    basis_RW = matrix_RC @ torch.randn((matrix_RC.shape[1], width), generator=generator)
    for _ in range(_PASSES):
        # Made orthogonal each time: powers of the matrix would lose the small directions in the rounding.
        basis_RW = matrix_RC @ torch.linalg.qr(matrix_RC.T @ torch.linalg.qr(basis_RW).Q).Q
    basis_RW = torch.linalg.qr(basis_RW).Q
    left_WK, values_K, right_KC = torch.linalg.svd(basis_RW.T @ matrix_RC, full_matrices=False)
    return _split(basis_RW @ left_WK, values_K, right_KC, rank)


def nearest_to_product(up_RK: Tensor, down_KC: Tensor, rank: int) -> Factors:
    """Return the same as `nearest` of a product, which is never made.

    With QR of both factors the singular values are those of a matrix as small as the inner rank; that is cheap enough
    for fp64, and where two values at the cut are near to each other, fp32 is not enough to part their directions.
    """
    basis_RK, inner_up = torch.linalg.qr(up_RK.double())
    basis_CK, inner_down = torch.linalg.qr(down_KC.T.double())
    left, values_K, right = torch.linalg.svd(inner_up @ inner_down.T, full_matrices=False)
    up, down = _split(basis_RK @ left, values_K, right @ basis_CK.T, rank)
    return up.float(), down.float()


def _split(left_RK: Tensor, values_K: Tensor, right_KC: Tensor, rank: int) -> Factors:
    roots = values_K[:rank].sqrt()
    return left_RK[:, :rank] * roots, roots[:, None] * right_KC[:rank]
