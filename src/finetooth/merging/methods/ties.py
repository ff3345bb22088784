"""`ties`: trimmed task vectors, of which those that agree on a sign are averaged."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from finetooth.merging.methods.method import DENSITY, INT8_MASK, LAMBDA, WEIGHT, Parameter, Values, merge_method
from finetooth.merging.methods.stacked import Stacked
from finetooth.merging.methods.taskvectors import merge_between, num_elements

NORMALIZE = Parameter(name="normalize", default=True)
RESCALE = Parameter(name="rescale", default=False)
CONSENSUS = Parameter(name="consensus_method", default="sum", choices=("sum", "count"))


@merge_method("ties", parameters=(WEIGHT, DENSITY, NORMALIZE, LAMBDA, RESCALE, CONSENSUS, INT8_MASK))
def ties(tensor: Stacked, values: Values) -> Iterator[Tensor]:
    """Trim, elect, merge.

        d_m = the `density` of x_m - base that is largest in magnitude, per tensor: int(density * n) elements
        merged = base + lambda * the sum of w_m d_m over those that agree on a sign  (`consensus`)

    Of magnitudes equal to the smallest that is kept, those that come first in the tensor are kept (`cuts`).

    Yadav et al., "TIES-Merging: resolving interference when merging models", 2023 (arXiv:2306.01708).
    """
    size = num_elements(tensor)
    ranks = [(0, int(density * size)) for density in values["density"]]
    yield from merge_between(tensor, values, ranks, consensus=True)
