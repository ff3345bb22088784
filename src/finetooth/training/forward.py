"""One forward pass over a batch: from ids to the hidden states that predict something, and from those to the loss.

Shapes: B rows, T tokens, D hidden size, V vocabulary, N targets.

Only hidden states that predict a target reach the LM head. The model's own forward runs, in whatever wrapper it stands
(DistributedDataParallel, peft, autocast); a hook before the head picks the hidden states out. Whatever the model does
to logits behind the head (soft caps, scales) is done to those.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from finetooth.loss import Targets, observed_loss
from finetooth.packing import Pack, Padded
from finetooth.packing.mask import MaskMaker

Inputs = dict[str, Any]


def inputs_of(batch: Pack | Padded, masks: MaskMaker | None, device: torch.device | str) -> Inputs:
    """Return what a model takes for a batch.

    Args:
        batch: The batch; the hidden states are [1, T, D] of a pack and [B, T, D] of padded rows.
        masks: How the model takes the masks of packs; padded rows need none.
        device: Where the tensors are to be.
    """
    if isinstance(batch, Padded):
        ids_BT = torch.zeros(len(batch.rows), batch.width, dtype=torch.long)
        mask_BT = torch.zeros_like(ids_BT)
        for place, ids in enumerate(batch.rows):
            ids_BT[place, : len(ids)] = torch.tensor(ids)
            mask_BT[place, : len(ids)] = 1
        return {"input_ids": ids_BT.to(device), "attention_mask": mask_BT.to(device), "use_cache": False}
    assert masks is not None, "packs need masks"
    filled = [0] * masks.num_missing(batch)
    return {
        "input_ids": torch.tensor([[*batch.input_ids, *filled]], device=device),
        "position_ids": torch.tensor([[*batch.positions, *filled]], device=device),
        "attention_mask": masks.make(batch, device=device),
        "use_cache": False,
    }


class Head:
    """A model's LM head, and how the loss may use it.

    Args:
        model: The model without its distributed wrapper.
        is_plain: Whether logits are what the head gives, and nothing is done to them after it: then they are computed
            in chunks. `find` tries it.
    """

    def __init__(self, model: Any, *, is_plain: bool) -> None:
        self.module: nn.Module = model.get_output_embeddings()
        self.is_plain = is_plain

    @classmethod
    def find(cls, model: Any, inputs: Mapping[str, Any]) -> Head:
        """Run a model once, and see whether its logits are what its head gives."""
        given: list[Tensor] = []
        module: nn.Module = model.get_output_embeddings()
        handle = module.register_forward_hook(lambda module, args, output: given.append(output))
        try:
            with torch.no_grad():
                logits = model(**inputs).logits
        finally:
            handle.remove()
        is_plain = len(given) == 1 and given[0].shape == logits.shape and torch.equal(given[0].float(), logits.float())
        return cls(model, is_plain=is_plain)

    def loss(
        self,
        model: Any,
        inputs: Mapping[str, Any],
        targets: Targets,
        *,
        stop_ids: Tensor | None,
        num_items: int,
        label_smoothing: float,
        chunk_size: int | None = 1024,
    ) -> tuple[Tensor, Tensor]:
        """Return the loss of a batch and its sums, as `finetooth.loss.observed_loss` does.

        Args:
            model: The model in its distributed wrapper, where it has one.
            inputs: Of `inputs_of`.
            targets: Of the same batch.
            stop_ids: As there.
            num_items: As there.
            label_smoothing: As there.
            chunk_size: As there, for plain heads.
        """
        picked: list[Tensor] = []

        def pick(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
            hidden_BTD = args[0]
            picked.append(hidden_BTD.reshape(-1, hidden_BTD.shape[-1])[targets.source_N])
            # A plain head is called again, in chunks; here it gets nothing, and the graph reaches it all the same.
            return (picked[0][None, :0] if self.is_plain else picked[0][None], *args[1:])

        handle = self.module.register_forward_pre_hook(pick)
        try:
            logits = model(**inputs).logits
        finally:
            handle.remove()
        options: dict[str, Any] = {
            "stop_ids": stop_ids,
            "num_items": num_items,
            "label_smoothing": label_smoothing,
        }
        if not picked:  # the head's weights are used without its module: all logits are there
            return observed_loss(logits, nn.Identity(), targets, chunk_size=None, **options)
        if not self.is_plain:
            return observed_loss(logits, nn.Identity(), targets.in_order(), chunk_size=None, **options)
        loss, sums_K = observed_loss(picked[0], self.module, targets.in_order(), chunk_size=chunk_size, **options)
        # Of no rows, so exactly 0: parameters that the wrapper counts on are reached by the graph of its own output.
        return loss + logits.sum().to(loss.dtype), sums_K
