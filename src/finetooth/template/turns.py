"""Which turns, and which parts of a turn, a fine-tune is to learn: `train_on`, and the keys that overrule it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import isnan
from operator import attrgetter, index, itemgetter
from typing import Any

from finetooth.config import TrainOn
from finetooth.errors import LabelsError
from finetooth.messages import say
from finetooth.template.chat import part_text
from finetooth.types import Message

TURN_KEYS = ("train", "weight", "loss", "loss_weight", "loss_mask")
"""Keys on a turn that say whether it is learned: Axolotl's `train`, OpenAI's `weight`, ms-swift's `loss`,
LLaMA-Factory's `loss_weight`, and `loss_mask`. True or above 0 is learned; false or 0 is not."""

DETAIL_KEY = "train_detail"
"""Axolotl's list of `{"begin_offset", "end_offset", "train"}` on a turn; both offsets are characters, the end is
inside."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of characters of a turn's content, all learned or all not."""

    text: str
    learned: bool


def turn_flag(turn: Mapping[str, Any]) -> bool | None:
    """Return what a turn's or part's own keys say: learned, not learned, or nothing.

    Raises:
        LabelsError: A key holds neither a boolean nor a number.
    """
    for key in TURN_KEYS:
        value = turn.get(key)
        if value is None:
            continue
        if isinstance(value, (bool, int, float)) and not isnan(value):
            return value > 0
        raise LabelsError(
            say("labels.turn_key", key=key, value=repr(value)[:40]), help=say("labels.turn_key_help", key=key)
        )
    return None


def learned_turns(messages: Sequence[Message], num_prompt_messages: int | None, train_on: TrainOn) -> list[bool]:
    """Return for each message whether the model is to learn it.

    Args:
        messages: The conversation.
        num_prompt_messages: How many of them are the prompt, where the row says so.
        train_on: See `finetooth.config.LabelsConfig.train_on`; a turn's own keys overrule it.
    """
    assistant = [message.get("role") in ASSISTANT_ROLES for message in messages]
    if train_on == "completion":
        start = num_prompt_messages or 0
        chosen = [turn and index >= start for index, turn in enumerate(assistant)]
    elif train_on == "last":
        last = max((index for index, turn in enumerate(assistant) if turn), default=-1)
        chosen = [index == last for index in range(len(messages))]
    elif train_on == "all":
        chosen = [True] * len(messages)
    else:
        chosen = assistant
    flags = (turn_flag(message) for message in messages)
    return [default if flag is None else flag for default, flag in zip(chosen, flags, strict=True)]


ASSISTANT_ROLES = ("assistant", "model")


def part_flag(part: Any, learned: bool) -> bool:
    """Return whether a part of a turn's content is learned, by its own keys or else as its turn is."""
    flag = turn_flag(part) if isinstance(part, Mapping) else None
    return learned if flag is None else flag


def content_pieces(message: Message, learned: bool) -> list[Piece]:
    """Return the content of a turn cut where learning begins or ends inside it.

    Content parts may carry the keys of a turn; `train_detail` cuts a string by character.
    """
    content = message.get("content")
    if isinstance(content, list):
        return _merged(Piece(part_text(part), part_flag(part, learned)) for part in content)
    if not isinstance(content, str):
        return []
    details = message.get(DETAIL_KEY)
    if not details:
        return [Piece(content, learned)]
    flags = [learned] * len(content)
    for detail in details if isinstance(details, list) else [details]:
        start, end, flag = _detail(detail, len(content))
        flags[start:end] = [flag] * (end - start)
    return [
        Piece("".join(character for character, _ in run), flag)
        for flag, run in groupby(zip(content, flags, strict=True), key=itemgetter(1))
    ]


def _detail(detail: Any, length: int) -> tuple[int, int, bool]:
    """Return an entry of `train_detail` as a half-open range and whether it is learned."""
    try:
        start, last = index(detail["begin_offset"]), index(detail["end_offset"])
        flag = turn_flag({"train": detail.get("train")})
    except (AttributeError, KeyError, TypeError) as error:
        raise LabelsError(
            say("labels.train_detail", value=repr(detail)[:60]), help=say("labels.train_detail_help")
        ) from error
    if not 0 <= start <= last < length:
        raise LabelsError(
            say("labels.train_detail_range", start=start, end=last, length=length), help=say("labels.train_detail_help")
        )
    return start, last + 1, flag is not False


def _merged(pieces: Iterable[Piece]) -> list[Piece]:
    return [
        Piece("".join(piece.text for piece in run), flag)
        for flag, run in groupby((piece for piece in pieces if piece.text), key=attrgetter("learned"))
    ]
