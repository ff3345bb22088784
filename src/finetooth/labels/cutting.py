"""Cut rows at a length, as trainers do."""

from __future__ import annotations

from finetooth.labels.setup import Setup

Columns = tuple[list[int], list[int], list[tuple[int, int]]]


def cut(
    setup: Setup, max_length: int | None, input_ids: list[int], labels: list[int], offsets: list[tuple[int, int]]
) -> Columns:
    """Return the parallel lists cut to `max_length` tokens, from the end that the set-up keeps."""
    if max_length is None or len(input_ids) <= max_length:
        return input_ids, labels, offsets
    kept = slice(None, max_length) if setup.labels.truncation_mode == "keep_start" else slice(-max_length, None)
    return input_ids[kept], labels[kept], offsets[kept]
