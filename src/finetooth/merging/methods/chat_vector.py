"""`chat_vector`: what a chat model has beyond its base, on top of another model of the same base."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from finetooth.merging.methods.method import Parameter, Values, merge_method
from finetooth.merging.methods.stacked import Stacked

WEIGHT = Parameter(name="weight", default=1.0, per_model=True)


@merge_method("chat_vector", parameters=(WEIGHT,), num_models=(2, 2))
def chat_vector(tensor: Stacked, values: Values) -> Iterator[Tensor]:
    """Teach the first model, the target, what the second, the chat model, can.

        target + (chat - base),  that is  base + w_1 (target - base) + w_2 (chat - base) with both weights 1

    The target may be one trained on further Japanese text, say. Where it has a vocabulary of its own, its embeddings
    and its head stay as they are: `weight: [{filter: embed_tokens, value: 0}, {filter: lm_head, value: 0}, {value: 1}]`
    for the chat model.

    Huang et al., "Chat vector: a simple approach to equip LLMs with instruction following and model alignment in new
    languages", 2023 (arXiv:2310.04799).
    """
    for chunk in tensor.chunks():
        yield chunk.blend_deltas(values["weight"])
