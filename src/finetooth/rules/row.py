"""`Row`: one encoded record, and what rules ask of it, each worked out once and when first asked."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from finetooth.encoding import TokenRanges
from finetooth.rules.facts import SetupFacts
from finetooth.template import ASSISTANT_ROLES, CONTROL_LITERAL
from finetooth.types import IGNORE_INDEX, Encoded, Record, Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A turn that the model has to write: from the end of the inference prompt to the end of its stop literal."""

    start: int
    end: int
    message_index: int | None
    first_token: int
    """The first token that overlaps it; equal to `end_token` where none does (cut away)."""
    end_token: int
    terminator: str | None
    """The stop literal at its end, as text; `None` where there is none in the text."""
    is_last: bool


class Row:
    """One record in one set-up."""

    def __init__(self, facts: SetupFacts, record: Record, encoded: Encoded) -> None:
        self.facts = facts
        self.record = record
        self.encoded = encoded

    @property
    def text(self) -> str:
        """The text that was encoded."""
        return self.encoded.text

    @property
    def input_ids(self) -> list[int]:
        """The ids."""
        return self.encoded.input_ids

    @property
    def labels(self) -> list[int]:
        """The labels."""
        return self.encoded.labels

    @property
    def offsets(self) -> list[tuple[int, int]]:
        """The half-open character ranges of the tokens; they repeat, overlap, and may be empty."""
        return self.encoded.offsets

    @property
    def spans(self) -> tuple[Span, ...]:
        """The spans of the text, and whose they are."""
        return self.encoded.spans

    @cached_property
    def supervised(self) -> list[int]:
        """The positions of the supervised tokens."""
        return [index for index, label in enumerate(self.encoded.labels) if label != IGNORE_INDEX]

    @cached_property
    def roles_are_known(self) -> bool:
        """Whether the spans say whose the text is."""
        return any(span.role != "unknown" for span in self.encoded.spans)

    @cached_property
    def ranges(self) -> TokenRanges:
        """The character ranges, to look tokens up by characters."""
        return TokenRanges(self.encoded.offsets)

    def tokens_in(self, start: int, end: int) -> tuple[int, int]:
        """Return the half-open range of tokens that overlap some characters; empty, in its place, where none does."""
        found = self.ranges.overlapping(start, end)
        if found:
            return found[0], found[-1] + 1
        first = self.ranges.first_after(start)
        return first, first

    def characters_of(self, first_token: int, end_token: int) -> tuple[int, int]:
        """Return the half-open characters of a range of tokens."""
        ranges = self.offsets[first_token:end_token]
        return (min(s for s, _ in ranges), max(e for _, e in ranges)) if ranges else (0, 0)

    @cached_property
    def answers(self) -> list[Answer]:
        """The turns that the model has to write, in their order; only those that are to be learned."""
        turns: list[tuple[int, int, int | None]] = []
        for span in self.spans:
            if not span.supervised or span.role not in ASSISTANT_ROLES:
                continue
            if turns and turns[-1][1] == span.start and turns[-1][2] == span.message_index:
                turns[-1] = (turns[-1][0], span.end, span.message_index)
            else:
                turns.append((span.start, span.end, span.message_index))
        return [
            Answer(
                start=start,
                end=end,
                message_index=message_index,
                first_token=(tokens := self.tokens_in(start, end))[0],
                end_token=tokens[1],
                terminator=self._terminator(start, end),
                is_last=number == len(turns) - 1,
            )
            for number, (start, end, message_index) in enumerate(turns)
        ]

    def _terminator(self, start: int, end: int) -> str | None:
        text = self.text
        stops = self.facts.stops
        for literal in (*stops.literals, *stops.specials):
            if text.endswith(literal, start, end):
                return literal
        near = CONTROL_LITERAL.finditer(text, max(start, end - 48), end)
        return next((match.group() for match in near if match.end() == end), None)

    def view(self, first_token: int, end_token: int, *, context: int = 4) -> str:
        """Return the tokens of a range with some before and after, a line: `… ▁で|す|。| [</ 829|s 29879|> 29958]`.

        Tokens of the range are in brackets with their ids; a supervised token has a `*`.
        """
        piece = self.facts.tokenizer.piece

        def shown(index: int, *, with_id: bool) -> str:
            text = piece(self.input_ids[index]).replace("\n", "↵").replace(" ", "·")
            star = "*" if self.labels[index] != IGNORE_INDEX else ""
            return f"{text}{star} {self.input_ids[index]}" if with_id else f"{text}{star}"

        length = len(self.input_ids)
        before = [shown(i, with_id=False) for i in range(max(0, first_token - context), min(first_token, length))]
        inside = [shown(i, with_id=True) for i in range(first_token, min(end_token, length))]
        after = [shown(i, with_id=False) for i in range(end_token, min(end_token + context, length))]
        if len(inside) > 12:
            inside = [*inside[:6], "…", *inside[-5:]]
        parts = [*before, f"[{' | '.join(inside)}]", *after]
        left = "… " if first_token > context else ""
        right = " …" if end_token + context < length else ""
        return f"{left}{' | '.join(parts)}{right}"
