"""`linear`: the weighted mean of models."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from finetooth.merging.methods.method import INT8_MASK, WEIGHT, Parameter, Values, merge_method
from finetooth.merging.methods.stacked import Stacked
from finetooth.merging.methods.taskvectors import shares


@merge_method("linear", parameters=(WEIGHT, Parameter(name="normalize", default=True), INT8_MASK), base="member")
def linear(tensor: Stacked, values: Values) -> Iterator[Tensor]:
    """Average the models.

        sum_m w_m x_m,   divided by sum_m w_m unless `normalize` is false

    Wortsman et al., "Model soups: averaging weights of multiple fine-tuned models improves accuracy without increasing
    inference time", 2022 (arXiv:2203.05482).
    """
    weights = shares(values["weight"]) if values["normalize"] else values["weight"]
    for chunk in tensor.chunks(shows_nan=all(weights)):
        yield chunk.blend(weights)
