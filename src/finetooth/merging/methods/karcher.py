"""`karcher`: the mean of models on the sphere, which has the least sum of squared angles to them."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from finetooth.merging.methods.method import Parameter, Values, merge_method
from finetooth.merging.methods.spheres import as_floats, length_of, lengths, products, unit_weights
from finetooth.merging.methods.stacked import Stacked

MAX_ITER = Parameter(name="max_iter", default=10, low=0)
TOL = Parameter(name="tol", default=1e-5, low=0.0)


@merge_method("karcher", parameters=(MAX_ITER, TOL), base="member", num_models=(2, None))
def karcher(tensor: Stacked, values: Values) -> Iterator[Tensor]:
    """Average directions along the sphere, and lengths as numbers; all models count alike.

        mu_0 = the normalized mean of u_m = x_m / |x_m|
        v    = mean of a_m / sin(a_m) (u_m - cos(a_m) mu),   cos(a_m) = <u_m, mu>
        mu  := cos|v| mu + sin|v| v / |v|,   until |v| < `tol`, `max_iter` times at most
        merged = mu * mean of |x_m|

    Every mu is a weighted sum of the models, so the iteration runs on M weights and the products of the models, not on
    tensors. Karcher, "Riemannian center of mass and mollifier smoothing", 1977.
    """
    found = products(tensor)
    weights = mean_direction(found, int(values["max_iter"]), float(values["tol"]))
    blend = as_floats(weights * lengths(found).mean())
    for chunk in tensor.chunks():
        yield chunk.blend(blend)


def mean_direction(found: Tensor, max_iter: int, tol: float) -> Tensor:
    """Return the weights of the models in their mean direction, `[M]` in fp64.

    Args:
        found: The products of all pairs of models, `[M, M]`.
        max_iter: How often it is improved at most.
        tol: The step in radians below which it is good.
    """
    units_MM = torch.diag(unit_weights(found))
    num_models = len(found)
    mean_M = units_MM.sum(0) / num_models
    length = length_of(mean_M, found)
    if length == 0.0:
        return mean_M
    mean_M = mean_M / length
    for _ in range(max_iter):
        cosines = (units_MM @ found @ mean_M).clamp(-1, 1)
        step_M = torch.zeros_like(mean_M)
        for unit_M, cosine in zip(units_MM, cosines.tolist(), strict=True):
            angle = math.acos(cosine)
            if angle > 1e-6:
                step_M += angle / math.sin(angle) / num_models * (unit_M - cosine * mean_M)
        size = length_of(step_M, found)
        if size < tol:
            break
        mean_M = math.cos(size) * mean_M + math.sin(size) / size * step_M
    return mean_M
