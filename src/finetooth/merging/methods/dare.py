"""`dare_linear`, `dare_ties`: task vectors of which a random share is kept, and scaled up for the rest."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from finetooth.merging.methods.method import (
    DENSITY,
    INT8_MASK,
    LAMBDA,
    NORMALIZE,
    RESCALE,
    WEIGHT,
    Values,
    merge_method,
)
from finetooth.merging.methods.stacked import Stacked
from finetooth.merging.methods.taskvectors import combine

PARAMETERS = (WEIGHT, DENSITY, NORMALIZE, LAMBDA, RESCALE, INT8_MASK)


@merge_method("dare_linear", parameters=PARAMETERS, random=True)
def dare_linear(tensor: Stacked, values: Values) -> Iterator[Tensor]:
    """Drop at random and rescale.

        d_m = b (x_m - base) / density,   b is 1 with probability `density`, else 0 (not divided where `rescale` is
        false) merged = base + lambda * sum_m w_m d_m

    mergekit divides by the share of the tensor's magnitude that was kept in the event, whose expectation is `density`;
    the two differ by the noise of the draw.

    Yu et al., "Language models are Super Mario: absorbing abilities from homologous models as a free lunch", 2023
    (arXiv:2311.03099).
    """
    yield from _dare(tensor, values, consensus=False)


@merge_method("dare_ties", parameters=PARAMETERS, random=True)
def dare_ties(tensor: Stacked, values: Values) -> Iterator[Tensor]:
    """Drop at random and rescale as `dare_linear` does, and agree on signs as `ties` does.

    It is not normalized unless asked.

    Yu et al., 2023 (arXiv:2311.03099); Yadav et al., 2023 (arXiv:2306.01708).
    """
    yield from _dare(tensor, values, consensus=True)


def _dare(tensor: Stacked, values: Values, *, consensus: bool) -> Iterator[Tensor]:
    draws = [tensor.draws(index) for index in range(tensor.num_models)]
    scales = [1.0 / density if values["rescale"] and density > 0.0 else 1.0 for density in values["density"]]
    for chunk in tensor.chunks(shows_nan=all(values["weight"]) and not consensus):
        for delta_N, drawn, density in zip(chunk.deltas.rows, draws, values["density"], strict=True):
            drawn.keep(delta_N, chunk.start, density)
        yield combine(chunk, values, consensus=consensus, scales=scales)
