"""From a text with spans to ids with labels: one encoding of the whole text, labelled by overlap.

A token is supervised when its character range overlaps a supervised span. Ranges repeat and overlap (the bytes of one
kanji share a range; a `▁` may share the first character of the next word), so nothing here assumes that they partition
the text. A prompt and a completion are never encoded apart and joined: tokens that merge across would differ from
what inference sees.
"""

from __future__ import annotations

from collections.abc import Sequence

from finetooth.tokenizer import Tokenizer
from finetooth.types import IGNORE_INDEX, Rendered, Span

Offsets = list[tuple[int, int]]


def labels_by_overlap(input_ids: Sequence[int], offsets: Offsets, spans: Sequence[Span]) -> list[int]:
    """Label each token that overlaps a supervised span with its own id, and every other with `IGNORE_INDEX`.

    Args:
        input_ids: The ids of a text.
        offsets: Their half-open character ranges, in any order, possibly overlapping or empty.
        spans: Spans of the same text, sorted, not overlapping.
    """
    labels = [IGNORE_INDEX] * len(input_ids)
    supervised = [(span.start, span.end) for span in spans if span.supervised and span.end > span.start]
    for start, end in supervised:
        for index in tokens_in(offsets, start, end):
            labels[index] = input_ids[index]
    return labels


def tokens_in(offsets: Offsets, start: int, end: int) -> Sequence[int]:
    """Return the positions of the tokens whose range overlaps `[start, end)`."""
    return [index for index, (first, last) in enumerate(offsets) if first < end and last > start and last > first]


def encode_rendered(tokenizer: Tokenizer, rendered: Sequence[Rendered]) -> list[tuple[list[int], list[int], Offsets]]:
    """Encode texts and label them.

    Returns:
        For each text its ids, labels and character ranges. An end-of-sequence id that was appended has an empty range
        at the end of the text.
    """
    results: list[tuple[list[int], list[int], Offsets] | None] = [None] * len(rendered)
    for add_special_tokens in (False, True):
        chosen = [i for i, one in enumerate(rendered) if one.add_special_tokens is add_special_tokens]
        encodings = tokenizer.encode([rendered[i].text for i in chosen], add_special_tokens=add_special_tokens)
        for index, encoding in zip(chosen, encodings, strict=True):
            one = rendered[index]
            input_ids, offsets = encoding.ids, encoding.offsets
            labels = labels_by_overlap(input_ids, offsets, one.spans)
            if one.append_eos:
                _end(tokenizer, one, input_ids, labels, offsets)
            results[index] = (input_ids, labels, offsets)
    return [result for result in results if result is not None]


def _end(tokenizer: Tokenizer, rendered: Rendered, input_ids: list[int], labels: list[int], offsets: Offsets) -> None:
    """Append the end-of-sequence id where the ids do not end in it, and supervise it as the text's end is."""
    eos = tokenizer.eos_id
    learned = any(span.supervised and span.end == len(rendered.text) for span in rendered.spans)
    if eos is None:
        return
    if input_ids and input_ids[-1] == eos:
        # The tokenizer's post-processor, or the text itself, ends it; a token without text is in no span.
        if learned:
            labels[-1] = eos
        return
    end = len(rendered.text)
    input_ids.append(eos)
    labels.append(eos if learned else IGNORE_INDEX)
    offsets.append((end, end))
