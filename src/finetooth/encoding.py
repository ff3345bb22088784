"""From a text with spans to ids with labels: one encoding of the whole text, labelled by overlap.

A token is supervised when its character range overlaps a supervised span. Ranges repeat and overlap (the bytes of one
kanji share a range; a `▁` may share the first character of the next word), so nothing here assumes that they partition
the text. A prompt and a completion are never encoded apart and joined: tokens that merge across would differ from
what inference sees.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from operator import itemgetter

from finetooth.tokenizer import Tokenizer
from finetooth.types import IGNORE_INDEX, Rendered, Span

Offsets = list[tuple[int, int]]


class TokenRanges:
    """The character ranges of a text's tokens, to look up which tokens overlap some characters.

    Where starts and ends do not fall, as in every usual tokenizer's encodings, a look-up is two bisections.
    """

    def __init__(self, offsets: Offsets) -> None:
        self.offsets = offsets
        self._starts: list[int] = [*map(itemgetter(0), offsets)]
        self._ends: list[int] = [*map(itemgetter(1), offsets)]
        self._sorted = self._starts == sorted(self._starts) and self._ends == sorted(self._ends)

    def overlapping(self, start: int, end: int) -> list[int]:
        """Return the positions of the tokens that overlap `[start, end)`; a token without text overlaps nothing."""
        if self._sorted:
            candidates = range(bisect_right(self._ends, start), bisect_left(self._starts, end))
        else:
            candidates = range(len(self.offsets))
        starts, ends = self._starts, self._ends
        return [i for i in candidates if starts[i] < end and ends[i] > start and ends[i] > starts[i]]

    def first_after(self, start: int) -> int:
        """Return the first token that holds a character at `start` or after it, or the number of tokens."""
        if self._sorted:
            first = bisect_right(self._ends, start)
            while first < len(self._ends) and self._ends[first] <= self._starts[first]:
                first += 1
            return first
        ranges = enumerate(self.offsets)
        return next((i for i, (s, e) in ranges if e > start and e > s), len(self.offsets))


def labels_by_overlap(input_ids: Sequence[int], offsets: Offsets, spans: Sequence[Span]) -> list[int]:
    """Label each token that overlaps a supervised span with its own id, and every other with `IGNORE_INDEX`.

    Args:
        input_ids: The ids of a text.
        offsets: Their half-open character ranges, in any order, possibly overlapping or empty.
        spans: Spans of the same text, sorted, not overlapping.
    """
    labels = [IGNORE_INDEX] * len(input_ids)
    supervised = [(span.start, span.end) for span in spans if span.supervised and span.end > span.start]
    if supervised:
        ranges = TokenRanges(offsets)
        for start, end in supervised:
            for index in ranges.overlapping(start, end):
                labels[index] = input_ids[index]
    return labels


def tokens_in(offsets: Offsets, start: int, end: int) -> Sequence[int]:
    """Return the positions of the tokens whose range overlaps `[start, end)`."""
    return TokenRanges(offsets).overlapping(start, end)


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
            if one.append_eos or one.add_special_tokens:
                _end(tokenizer, one, input_ids, labels, offsets)
            results[index] = (input_ids, labels, offsets)
    return [result for result in results if result is not None]


def _end(tokenizer: Tokenizer, rendered: Rendered, input_ids: list[int], labels: list[int], offsets: Offsets) -> None:
    """Supervise the end-of-sequence id as the text's end is; where the ids do not end in it, append it if asked to."""
    eos = tokenizer.eos_id
    learned = any(span.supervised and span.end == len(rendered.text) for span in rendered.spans)
    if eos is None:
        return
    if input_ids and input_ids[-1] == eos:
        # The tokenizer's post-processor, or the text itself, ends it; a token without text is in no span.
        if learned:
            labels[-1] = eos
        return
    if not rendered.append_eos:
        return
    end = len(rendered.text)
    input_ids.append(eos)
    labels.append(eos if learned else IGNORE_INDEX)
    offsets.append((end, end))
