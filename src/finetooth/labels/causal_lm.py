"""Labels as transformers' `DataCollatorForLanguageModeling(mlm=False)` makes them: every id but the padding id.

Source: transformers 5.23, data/data_collator.py, `torch_call`: labels are a copy of the ids, and -100 wherever the id
is the padding id, by id and not by position; so a `pad_token` that is the EOS masks the EOS as well.
The text is encoded with special tokens, as `tokenizer(text)` does; conversations are rendered first, which spells the
template's own special tokens: a template and a tokenizer that both add a BOS give two.
"""

from __future__ import annotations

from finetooth.labels.setup import Labeller, Setup
from finetooth.labels.texts import collating
from finetooth.types import IGNORE_INDEX


def labeller(setup: Setup, *, roles: bool = True) -> Labeller:
    """Return what labels records as the collator does."""
    pad_id = setup.tokenizer.pad_id

    def labels_of(input_ids: list[int]) -> tuple[list[int], list[str]]:
        return [IGNORE_INDEX if token_id == pad_id else token_id for token_id in input_ids], []

    return collating(setup, labels_of, roles=roles)
