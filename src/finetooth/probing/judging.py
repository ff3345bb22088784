"""What is wrong with an answer, from its tokens and its text alone."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from finetooth.probing.prompts import Prompt
from finetooth.rules.endings import Prediction
from finetooth.tokenizer import Tokenizer

First = Literal["nothing", "newline", "role-mark"]
"""What is odd about a beginning: no text at all, a line break, or a mark of the template where words are due."""

_NGRAM = 4
_REPEATS = 0.5
"""The share of n-grams that stood before, above which an answer repeats itself."""
_ECHO = 6
"""Characters below which a question may well stand in an answer by chance."""
_MARKS = re.compile(
    r"\s*(\[/?INST\]|<</?SYS>>|<\|[a-z_]+\|>|###|(user|assistant|system|ユーザー|アシスタント)\s*[:：])", re.IGNORECASE
)
TERMINATORS = ("</s>", "<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>", "<|endoftext|>", "<|end_of_text|>")
"""What ends a turn in well-known forms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer, judged."""

    prompt: Prompt
    ids: list[int]
    """The tokens that were generated, a stop token at their end among them."""
    text: str
    """What a user reads: special tokens left out, as most software does."""
    shown: str
    """The same with special tokens in `⟨⟩`, told apart from the same letters as ordinary text."""
    stopped: bool
    """Whether a token of the stop set ended it."""
    leaked: str | None
    """The literal terminator that stands in the text as ordinary letters."""
    passed_over: str | None
    """A terminator that was written as a token and is not in the stop set, so that nothing stopped there."""
    echoed: bool
    """Whether it begins with the question."""
    repeats: bool
    first: First | None
    style: tuple[bool, ...] = ()
    """For each pattern of a style, whether it matches."""

    @property
    def outcome(self) -> Prediction:
        """How it ended, in the words of a prediction from labels."""
        if self.leaked is not None:
            return "shows-literal"
        return "stops" if self.stopped else "runs-on"

    @property
    def runaway(self) -> bool:
        """Whether it went on to the limit."""
        return not self.stopped


def judge(
    prompt: Prompt,
    ids: Sequence[int],
    tokenizer: Tokenizer,
    stop_ids: Collection[int],
    *,
    style: Sequence[re.Pattern[str]] = (),
    terminators: Sequence[str] | None = None,
) -> Answer:
    """Return an answer with what is to be said of it.

    Args:
        prompt: What was asked.
        ids: The tokens that were generated, a stop token at their end among them.
        tokenizer: The model's.
        stop_ids: The ids that end an answer.
        style: Patterns of a style, looked for in the text.
        terminators: The literals that end a turn; `None` takes those of the tokenizer.
    """
    stopped = bool(ids) and ids[-1] in stop_ids
    text = str(tokenizer.backend.decode([one for one in ids if not tokenizer.is_special(one)]))
    terminators = terminators_of(tokenizer) if terminators is None else terminators
    passed = [one for one in (ids[:-1] if stopped else ids) if tokenizer.is_special(one)]
    written = [tokenizer.added_tokens[one].content for one in passed]
    return Answer(
        prompt=prompt,
        ids=list(ids),
        text=text,
        shown=shown(ids, tokenizer),
        stopped=stopped,
        leaked=next((literal for literal in terminators if literal in text), None),
        passed_over=next((literal for literal in written if literal in terminators), None),
        echoed=len(prompt.question) >= _ECHO and text.lstrip().startswith(prompt.question),
        repeats=repetition(ids) > _REPEATS,
        first=first_oddity(text),
        style=tuple(pattern.search(text.strip()) is not None for pattern in style),
    )


def terminators_of(tokenizer: Tokenizer) -> tuple[str, ...]:
    """Return the literals that end a turn, the longest first: of the stop set, and the usual ones that are tokens."""
    known = {token.content for token in tokenizer.added_tokens.values()}
    literals = {*tokenizer.stops.literals, *(literal for literal in TERMINATORS if literal in known)}
    return tuple(sorted(literals, key=lambda literal: (-len(literal), literal)))


def shown(ids: Sequence[int], tokenizer: Tokenizer) -> str:
    """Return the text of ids, special tokens in `⟨⟩`."""
    parts: list[str] = []
    plain: list[int] = []
    for one in [*ids, None]:
        if one is not None and not tokenizer.is_special(one):
            plain.append(one)
            continue
        if plain:
            parts.append(str(tokenizer.backend.decode(plain)))
            plain = []
        if one is not None:
            parts.append(f"⟨{tokenizer.added_tokens[one].content}⟩")
    return "".join(parts)


def repetition(ids: Sequence[int]) -> float:
    """Return the share of n-grams of tokens that stood before; 0 for what is too short to tell."""
    grams = [tuple(ids[start : start + _NGRAM]) for start in range(len(ids) - _NGRAM + 1)]
    return 1 - len(set(grams)) / len(grams) if len(grams) >= 2 * _NGRAM else 0.0


def first_oddity(text: str) -> First | None:
    """Return what is odd about the beginning of an answer."""
    if not text.strip():
        return "nothing"
    if text.lstrip(" ").startswith(("\n", "\r")):
        return "newline"
    return "role-mark" if _MARKS.match(text) else None
