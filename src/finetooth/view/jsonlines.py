"""One JSON object for one record as one model sees it: the lines of `inspect --format json`."""

from __future__ import annotations

from typing import Any

from finetooth.types import Encoded


def to_json(encoded: Encoded) -> dict[str, Any]:
    """Return the object of one line, keys in the order of the contract.

    A text may hold a lone surrogate: dump it with `ensure_ascii` (the default), or UTF-8 refuses it.
    """
    return {
        "record": encoded.record_index,
        "where": encoded.where,
        "model": encoded.model,
        "loader": encoded.loader,
        "labels_way": encoded.labels_way,
        "text": encoded.text,
        "input_ids": list(encoded.input_ids),
        "labels": list(encoded.labels),
        "offsets": [list(offset) for offset in encoded.offsets],
        "spans": [
            {
                "start": span.start,
                "end": span.end,
                "role": span.role,
                "message_index": span.message_index,
                "supervised": span.supervised,
            }
            for span in encoded.spans
        ],
        "dropped": encoded.dropped,
    }
