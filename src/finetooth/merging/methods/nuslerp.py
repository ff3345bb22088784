"""`nuslerp`: slerp with weights, of models or of task vectors, of whole tensors or of their rows or columns."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from finetooth.merging.methods.method import WEIGHT, Parameter, Values, merge_method
from finetooth.merging.methods.spheres import Along, arc, as_floats, blend_along, products
from finetooth.merging.methods.stacked import Stacked

FLATTEN = Parameter(name="nuslerp_flatten", default=True)
ROW_WISE = Parameter(name="nuslerp_row_wise", default=False)


@merge_method("nuslerp", parameters=(WEIGHT, FLATTEN, ROW_WISE), base="optional", num_models=(2, 2))
def nuslerp(tensor: Stacked, values: Values) -> Iterator[Tensor]:
    """Go from the first model to the second along the arc, to t = w_2 / (w_1 + w_2).

    With a base, the arc is that between the task vectors, and is added to the base. With `nuslerp_flatten: false` the
    vectors are those along the last dimension of a matrix, or with `nuslerp_row_wise: true` those along its first. No
    chord is taken, however small the angle is.

    The name and the options are mergekit's; what its options do was found by running it. See `slerp` for the formula.
    """
    first, second = values["weight"]
    total = first + second
    t = second / total if abs(total) > 1e-8 else 0.5
    along: Along = "tensor"
    if not values["nuslerp_flatten"] and len(tensor.shape) > 1:
        along = "column" if values["nuslerp_row_wise"] else "row"
    weights = arc(products(tensor, along), t)
    if along == "tensor":
        for chunk in tensor.chunks():
            yield chunk.blend_deltas(as_floats(weights))
    else:
        for chunk in tensor.rows():
            yield blend_along(tensor, chunk, weights, along)
