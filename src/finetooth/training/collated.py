"""The rows of a data set as a trainer's own collator labels them, one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from finetooth.errors import TrainingError
from finetooth.messages import say
from finetooth.packing import Row
from finetooth.training.rows import TrainRow

_COLUMNS = ("input_ids", "labels", "attention_mask", "completion_mask", "assistant_masks", "token_type_ids")
"""The columns of a row that collators of text read."""


class CollatedRows(Sequence[Row]):
    """The rows of a data set, as a collator labels them, one by one."""

    def __init__(self, dataset: Any, collator: Callable[[list[Any]], Mapping[str, Any]]) -> None:
        self._dataset = dataset
        self._collator = collator

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: Any) -> Any:
        example = self._dataset[index]
        if isinstance(example, Mapping):
            example = {name: example[name] for name in _COLUMNS if name in example}
        batch = self._collator([example])
        missing = [name for name in ("input_ids", "labels") if batch.get(name) is None]
        where = f"train_dataset[{index}]"
        if missing:
            raise TrainingError(
                say("training.no_column", name=missing[0], columns=", ".join(batch)),
                where=where,
                help="data_collator=finetooth.CompletionOnlyCollator(...)",
            )
        ids, labels = (_flat(batch[name]) for name in ("input_ids", "labels"))
        if batch.get("attention_mask") is not None and len(mask := _flat(batch["attention_mask"])) == len(ids):
            kept = [place for place, seen in enumerate(mask) if seen]
            ids, labels = [ids[place] for place in kept], [labels[place] for place in kept]
        return TrainRow(index=index, where=where, input_ids=ids, labels=labels)


def _flat(values: Any) -> list[int]:
    rows = values.tolist() if hasattr(values, "tolist") else list(values)
    return rows[0] if rows and isinstance(rows[0], list) else rows
