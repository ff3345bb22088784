"""Labels as transformers' `DataCollatorForLanguageModeling(mlm=False)` makes them: every id but the padding id.

Source: transformers 5.23, data/data_collator.py, `torch_call`: labels are a copy of the ids, and -100 wherever the id
is the padding id, by id and not by position; so a `pad_token` that is the EOS masks the EOS as well.
The text is encoded with special tokens, as `tokenizer(text)` does; conversations are rendered first, which spells the
template's own special tokens: a template and a tokenizer that both add a BOS give two.
"""

from __future__ import annotations

from collections.abc import Sequence

from finetooth.labels.cutting import cut
from finetooth.labels.setup import Labeller, Setup
from finetooth.labels.texts import encode_texts, rendered_texts
from finetooth.types import IGNORE_INDEX, Encoded, Record


def labeller(setup: Setup, *, roles: bool = True) -> Labeller:
    """Return what labels records as the collator does."""
    pad_id = setup.tokenizer.pad_id
    max_length = setup.max_length()

    def label(records: Sequence[Record]) -> list[Encoded]:
        rendered = rendered_texts(setup, records, roles=roles)
        results = []
        for record, one, encoding in zip(records, rendered, encode_texts(setup, records, rendered), strict=True):
            input_ids, offsets = encoding.ids, encoding.offsets
            labels = [IGNORE_INDEX if token_id == pad_id else token_id for token_id in input_ids]
            whole = len(input_ids)
            input_ids, labels, offsets = cut(setup, max_length, input_ids, labels, offsets)
            results.append(
                setup.encoded(
                    record,
                    text=one.text,
                    input_ids=input_ids,
                    labels=labels,
                    offsets=offsets,
                    spans=one.spans,
                    num_cut=whole - len(input_ids),
                )
            )
        return results

    return label
