"""`breadcrumbs`, `breadcrumbs_ties`: task vectors without their largest and their smallest elements."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from finetooth.merging.methods.method import (
    DENSITY,
    INT8_MASK,
    LAMBDA,
    NORMALIZE,
    WEIGHT,
    Parameter,
    Values,
    merge_method,
)
from finetooth.merging.methods.stacked import Stacked
from finetooth.merging.methods.taskvectors import merge_between, num_elements

GAMMA = Parameter(name="gamma", default=0.01, per_model=True, low=0.0, high=1.0)
RESCALE = Parameter(name="rescale", default=False)
PARAMETERS = (WEIGHT, DENSITY, GAMMA, NORMALIZE, LAMBDA, RESCALE, INT8_MASK)


@merge_method("breadcrumbs", parameters=PARAMETERS)
def breadcrumbs(tensor: Stacked, values: Values) -> Iterator[Tensor]:
    """Drop outliers and noise, and add up.

        of the n elements of x_m - base, by magnitude: int(gamma * n) of the largest are dropped, the next
        int(density * n) kept, and the rest dropped; where that is more than n, fewer of the largest are dropped
        merged = base + lambda * sum_m w_m d_m

    `gamma` is beta in the paper, and `density` is 1 - beta - gamma of the paper.

    Davari and Belilovsky, "Model breadcrumbs: scaling multi-task model merging with sparse masks", 2023
    (arXiv:2312.06795).
    """
    yield from merge_between(tensor, values, _ranks(num_elements(tensor), values), consensus=False)


@merge_method("breadcrumbs_ties", parameters=PARAMETERS)
def breadcrumbs_ties(tensor: Stacked, values: Values) -> Iterator[Tensor]:
    """Drop outliers and noise as `breadcrumbs` does, and agree on signs as `ties` does (not normalized unless asked).

    Davari and Belilovsky, 2023 (arXiv:2312.06795); Yadav et al., 2023 (arXiv:2306.01708).
    """
    yield from merge_between(tensor, values, _ranks(num_elements(tensor), values), consensus=True)


def _ranks(size: int, values: Values) -> list[tuple[int, int]]:
    found = []
    for density, gamma in zip(values["density"], values["gamma"], strict=True):
        kept = int(density * size)
        dropped = min(int(gamma * size), size - kept)
        found.append((dropped, dropped + kept))
    return found
