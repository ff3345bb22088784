"""`passthrough`: one model's tensors as they are, for layers that are stacked."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from finetooth.merging.methods.method import Parameter, Values, merge_method
from finetooth.merging.methods.stacked import Stacked

SCALE = Parameter(name="scale", default=1.0, per_model=True)


@merge_method("passthrough", parameters=(SCALE,), base="unused", num_models=(1, 1))
def passthrough(tensor: Stacked, values: Values) -> Iterator[Tensor]:
    """Take the one model's tensor, times `scale`: scale * x.

    Kim et al., "SOLAR 10.7B: scaling large language models with simple yet effective depth up-scaling", 2023
    (arXiv:2312.15166), stacks layers so.
    """
    for chunk in tensor.chunks(shows_nan=True):
        yield chunk.blend(values["scale"])
