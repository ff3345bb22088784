"""`slerp`: the way from one model to another along the sphere."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from finetooth.merging.methods.method import Parameter, Values, merge_method
from finetooth.merging.methods.spheres import arc, as_floats, products
from finetooth.merging.methods.stacked import Stacked

STRAIGHT_ABOVE = 0.9995
"""The cosine from which a chord is taken for the arc: the number in the code that the field's tools descend from."""


@merge_method("slerp", parameters=(Parameter(name="t"),), base="endpoint", num_models=(1, 1))
def slerp(tensor: Stacked, values: Values) -> Iterator[Tensor]:
    """Go from the base model (t = 0) to the other one (t = 1) along the arc between them.

        sin((1 - t) a) / sin(a) x_0  +  sin(t a) / sin(a) x_1,   cos(a) = <x_0, x_1> / |x_0| |x_1|

    and along the chord, (1 - t) x_0 + t x_1, where |cos(a)| > 0.9995.

    Shoemake, "Animating rotation with quaternion curves", 1985.
    """
    t = values["t"]
    weights = [1.0 - t, t] if t in (0.0, 1.0) else as_floats(arc(products(tensor), t, STRAIGHT_ABOVE))
    for chunk in tensor.chunks():
        yield chunk.blend(weights)
