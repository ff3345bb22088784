"""`multislerp`: a mean of any number of models on the sphere."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from finetooth.merging.methods.method import WEIGHT, Parameter, Values, merge_method
from finetooth.merging.methods.spheres import as_floats, length_of, lengths, products, unit_weights
from finetooth.merging.methods.stacked import Stacked
from finetooth.merging.methods.taskvectors import shares

NORMALIZE_WEIGHTS = Parameter(name="normalize_weights", default=True)
EPS = Parameter(name="eps", default=1e-8, low=0.0)


@merge_method("multislerp", parameters=(WEIGHT, NORMALIZE_WEIGHTS, EPS), base="optional", num_models=(2, None))
def multislerp(tensor: Stacked, values: Values) -> Iterator[Tensor]:
    """Take the direction of the weighted mean of unit vectors, with the weighted mean of lengths.

        u_m = x_m / |x_m|,   merged = (sum_m w_m |x_m|) (sum_m w_m u_m) / |sum_m w_m u_m|

    of the models, or with a base of the task vectors. mergekit, whose method this is, projects the u_m onto the tangent
    space at that mean and sums them there; but the mean's own tangential part is zero, so the sum is, and the point to
    which it leads back is the mean. (Its results are these to rounding.)
    """
    weights = shares(values["weight"]) if values["normalize_weights"] else values["weight"]
    found = products(tensor)
    of_units = unit_weights(found) * found.new_tensor(weights)
    length = length_of(of_units, found)
    mean_length = float(lengths(found) @ found.new_tensor(weights))
    blend = as_floats(of_units * (mean_length / length)) if length > values["eps"] else weights
    for chunk in tensor.chunks():
        yield chunk.blend_deltas(blend)
