r"""Find the marks before answers and questions in the text of a row, and what lies between them.

A mark is looked for as characters, so that it does not matter which tokens its characters are part of. Of the white
space at its ends, which templates and tokenizers add and drop, the text may have less:

- at its end, as much of it as the text has belongs to the mark: `"[/INST] "` is found in `[/INST] Paris` and in
  `[/INST]Paris`;
- at its beginning, places that have it go before: `"\n### Response:"` means the start of a line wherever the row has
  one so, and any place only where it has none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from finetooth.encoding import TokenRanges
from finetooth.labels.as_is import text_of
from finetooth.tokenizer import Tokenizer
from finetooth.types import IGNORE_INDEX

Characters = tuple[int, int]
"""A half-open range of characters."""

_NEAR = 12
"""Characters shown before and after what is most like a mark that was not found."""
_ALIKE = 3
"""Characters in common below which nothing is called alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """A mark, ready to be looked for."""

    text: str
    lead: str
    """The white space that it begins with."""
    trail: str
    """The white space that it ends in."""
    pattern: re.Pattern[str]

    def places(self, text: str, *, prefer_whole: bool = False) -> list[Characters]:
        """Return where the mark stands.

        Args:
            text: Where to look.
            prefer_whole: Leave out places that lack the white space at its end, where others have it.
        """
        found = list(self.pattern.finditer(text))
        found = [match for match in found if match["lead"] is not None] or found
        if prefer_whole:
            found = [match for match in found if match["trail"] == self.trail] or found
        return [match.span() for match in found]

    def near(self, text: str) -> str | None:
        """Return the part of a text that is most like the mark; `None` where nothing is."""
        core = self.text.strip() or self.text
        alike = SequenceMatcher(None, text, core, autojunk=False).find_longest_match()
        if alike.size < min(_ALIKE, len(core)):
            return None
        start = alike.a - alike.b
        return text[max(0, start - _NEAR) : start + len(core) + _NEAR]


def marker_of(tokenizer: Tokenizer, template: str | Sequence[int]) -> Marker:
    """Return the mark of a template; one that is given as ids is what these ids stand for.

    The text of a row is rebuilt from its pieces, so it is what the normalizer made of the text (lower case, NFKC), and
    has a space where the tokenizer puts one after a special token. The mark is looked for as it was given, and as its
    own ids would be rebuilt.
    """
    if isinstance(template, str):
        text = template
        (encoding,) = tokenizer.encode([template], add_special_tokens=False)
        rebuilt, _ = text_of(tokenizer, encoding.ids)
    else:
        text = rebuilt = text_of(tokenizer, template)[0]
    core = text.strip()
    if not core:
        # White space alone is taken as it is.
        return Marker(text=text, lead="", trail="", pattern=re.compile(f"(?P<lead>){re.escape(text)}(?P<trail>)"))
    lead, trail = text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :]
    if rebuilt.strip():
        # A normalizer may make other white space of it, or none. A space that the tokenizer itself begins with is not
        # the mark's.
        rebuilt_lead = rebuilt[: len(rebuilt) - len(rebuilt.lstrip())]
        lead = rebuilt_lead if lead and rebuilt_lead != f" {lead}" else lead
        trail = rebuilt[len(rebuilt.rstrip()) :]
    # The longest first: of two that begin alike the regular expression takes the first.
    cores = sorted({core, rebuilt.strip() or core}, key=len, reverse=True)
    as_much = ""
    for character in reversed(trail):
        as_much = f"(?:{re.escape(character)}{as_much})?"
    before = f"(?P<lead>{re.escape(lead)})" + ("?" if lead else "")
    pattern = re.compile(f"{before}(?:{'|'.join(map(re.escape, cores))})(?P<trail>{as_much})")
    return Marker(text=text, lead=lead, trail=trail, pattern=pattern)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What the marks of a row say is to be learned."""

    ranges: tuple[Characters, ...] = ()
    """The answers, in their order; the last one goes to the end of the row, unless a question follows it."""
    missing: Marker | None = None
    """The mark that was not found; then there are no answers."""


def answers_in(text: str, response: Marker, instruction: Marker | None) -> Answers:
    """Return the answers of a row.

    Without a mark of questions there is one: from the end of the last mark of answers on. With one, each goes from the
    end of a mark of answers to the start of the next mark of questions.
    """
    ends = [end for _, end in response.places(text, prefer_whole=instruction is None)]
    if not ends:
        return Answers(missing=response)
    if instruction is None:
        return Answers(ranges=((ends[-1], len(text)),))
    starts = [start for start, _ in instruction.places(text)]
    if not starts:
        # As the removed collator did: questions that are not found would be learned with the answers.
        return Answers(missing=instruction)
    ranges: list[Characters] = []
    for end in ends:
        if ranges and end <= ranges[-1][1]:
            continue  # quoted in an answer
        ranges.append((end, next((start for start in starts if start >= end), len(text))))
    return Answers(ranges=tuple(ranges))


def label(input_ids: Sequence[int], text: str, offsets: list[Characters], answers: Answers) -> list[int]:
    """Label the tokens of the answers with their ids, and every other with `IGNORE_INDEX`.

    A token that holds the end of a mark and the start of an answer is learned. One that holds the end of an answer and
    the start of the next mark is learned too, unless all it has of the answer is white space: the `▁` before a mark.
    """
    labels = [IGNORE_INDEX] * len(input_ids)
    ranges = TokenRanges(offsets)
    for start, end in answers.ranges:
        for index in ranges.overlapping(start, end):
            first, last = offsets[index]
            if last <= end or not text[first:end].isspace():
                labels[index] = input_ids[index]
    for index, (first, last) in enumerate(offsets):
        # An id without text, such as one beyond the vocabulary, is where its neighbours are.
        if first == last and any(start <= first < end or start <= first == len(text) for start, end in answers.ranges):
            labels[index] = input_ids[index]
    return labels
