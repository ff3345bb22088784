"""Tokens grouped under the characters that they stand for: what every view is drawn from.

Offsets do not partition a text: the bytes of one kanji share a range, a `▁` may share the first character of the
word after it, and a token that no character stands for has none. Groups do: they follow each other without overlap
over the whole text, and every token is in exactly one of them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from finetooth.types import IGNORE_INDEX, Encoded, Pieces, Side, Span
from finetooth.view.pieces import readable_piece
from finetooth.view.visible import visible

Supervision = Literal["all", "none", "some"]

REPEATS_FOLDED = 4
"""From this many equal tokens without text in a row (padding), they are one group."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A range of characters with the tokens that stand for it, neither of which can be cut finer.

    A group without characters is a token that the tokenizer or the trainer added (a BOS, padding). A group without
    tokens is text that no token stands for, such as what the normalizer dropped.
    """

    start: int
    end: int
    first_token: int
    end_token: int
    supervised: Supervision
    """Whether all, none or only some of its tokens are supervised."""
    role: str | None
    """The role of the span that most of the characters are in; `None` for scaffolding."""
    special: bool
    """Whether a token of it is matched as a whole (`<s>`, `<|im_end|>`)."""
    shown: str
    """Its characters made visible, or the pieces of a group without characters."""

    @property
    def num_tokens(self) -> int:
        """Return the number of its tokens."""
        return self.end_token - self.first_token

    @property
    def has_text(self) -> bool:
        """Return whether it holds characters."""
        return self.end > self.start


def group_tokens(side: Side) -> list[Group]:
    """Group the tokens of a side under the characters that they stand for.

    Returns:
        Groups in the order of the text and of the tokens at once. Their ranges join without gap or overlap from 0 to
        the end of the text, and so do their token ranges.
    """
    encoded = side.encoded
    roles = _Roles(encoded.spans)
    groups: list[Group] = []
    for start, end, first_token, end_token in _fold_repeats(encoded, _partition(encoded, side.pieces)):
        ids = encoded.input_ids[first_token:end_token]
        if end > start:
            shown = visible(encoded.text[start:end])
        elif len(ids) >= REPEATS_FOLDED:
            shown = f"{visible(readable_piece(side.pieces, ids[0]))}×{len(ids)}"
        else:
            shown = "".join(visible(readable_piece(side.pieces, token_id)) for token_id in ids)
        groups.append(
            Group(
                start=start,
                end=end,
                first_token=first_token,
                end_token=end_token,
                supervised=_supervision(encoded.labels[first_token:end_token]),
                role=roles.of(start, end),
                special=any(map(side.pieces.is_special, set(ids))),
                shown=shown,
            )
        )
    return groups


def _supervision(labels: Sequence[int]) -> Supervision:
    num_supervised = sum(label != IGNORE_INDEX for label in labels)
    if num_supervised == 0:
        return "none"
    return "all" if num_supervised == len(labels) else "some"


_Cut = tuple[int, int, int, int]
"""start, end, first_token, end_token."""


def _partition(encoded: Encoded, pieces: Pieces) -> list[_Cut]:
    """Merge ranges that overlap, and put a cut without tokens wherever no token stands for the text."""
    merged: list[_Cut] = []
    for token, (start, end) in enumerate(_ranges(encoded, pieces)):
        reached = merged[-1][1] if merged else 0
        if start == end:
            # The tokenizers library gives (0, 0) to what a post-processor or padding adds, at the end as well:
            # the place of such a token is where the tokens before it have got to.
            start = end = max(start, reached)
        first_token = token
        while merged and merged[-1][1] > start:
            earlier_start, earlier_end, first_token, _ = merged.pop()
            start, end = min(start, earlier_start), max(end, earlier_end)
        merged.append((start, end, first_token, token + 1))
    cuts: list[_Cut] = []
    reached = 0
    for cut in merged:
        if cut[0] > reached:
            cuts.append((reached, cut[0], cut[2], cut[2]))
        cuts.append(cut)
        reached = cut[1]
    if reached < len(encoded.text):
        cuts.append((reached, len(encoded.text), len(encoded.input_ids), len(encoded.input_ids)))
    return cuts


def _ranges(encoded: Encoded, pieces: Pieces) -> Iterator[tuple[int, int]]:
    """Yield the offsets, held within the text, with the spaces given back that a tokenizer trimmed off.

    Byte-level post-processors with `trim_offsets` (Llama 3, RoBERTa) leave the space of `Ġworld` out of its offsets,
    and give `Ġ` alone an empty range. The space belongs to the token all the same.
    """
    text = encoded.text
    num_chars = len(text)
    reached = 0
    leading_spaces: dict[int, int] = {}
    for token_id, (start, end) in zip(encoded.input_ids, encoded.offsets, strict=True):
        start = min(max(start, 0), num_chars)
        end = min(max(end, start), num_chars)
        if start > reached and text[start - 1] == " ":
            if token_id not in leading_spaces:
                piece = pieces.piece_bytes(token_id) or b""
                leading_spaces[token_id] = len(piece) - len(piece.lstrip(b" "))
            trimmed = min(leading_spaces[token_id], start - reached)
            while trimmed and text[start - 1] == " ":
                start -= 1
                trimmed -= 1
        reached = max(reached, end)
        yield start, end


def _fold_repeats(encoded: Encoded, cuts: list[_Cut]) -> Iterator[_Cut]:
    """Yield the cuts, runs of equal tokens without text (padding) as one."""
    index = 0
    while index < len(cuts):
        start, end, first_token, end_token = cuts[index]
        after = index + 1
        if start == end:
            key = encoded.input_ids[first_token], encoded.labels[first_token]
            while after < len(cuts) and cuts[after][:2] == (start, end):
                token = cuts[after][2]
                if (encoded.input_ids[token], encoded.labels[token]) != key:
                    break
                after += 1
            if after - index >= REPEATS_FOLDED:
                yield start, end, first_token, cuts[after - 1][3]
                index = after
                continue
            after = index + 1
        yield start, end, first_token, end_token
        index = after


class _Roles:
    """The roles of a text, by character."""

    def __init__(self, spans: Sequence[Span]) -> None:
        self._spans = sorted(spans, key=lambda span: span.start)
        self._starts = [span.start for span in self._spans]

    def of(self, start: int, end: int) -> str | None:
        """Return the role that holds most of a range; of an empty range, the role around its place."""
        index = max(bisect_right(self._starts, start) - 1, 0)
        best, most = None, 0
        end = max(end, start + 1)
        for span in self._spans[index:]:
            if span.start >= end:
                break
            overlap = min(end, span.end) - max(start, span.start)
            if overlap > most:
                best, most = span.role, overlap
        return best
