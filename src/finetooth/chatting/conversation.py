"""`Conversation`: questions and answers, each answer a stream.

    conversation = Conversation(load_speaker("runs/first"))
    for piece in conversation.ask("こんにちは"):
        print(piece.text, end="")
    conversation.turns[-1].end          # "stop"

A stream that is closed before its end is an interrupted answer; what was written until then is kept.
"""

from __future__ import annotations

import secrets
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING

from finetooth.chatting.prompting import TurnPrompt, turn_prompt
from finetooth.chatting.settings import Settings
from finetooth.chatting.speaker import Speaker
from finetooth.chatting.streaming import Piece, TextStream
from finetooth.chatting.turn import End, Turn
from finetooth.errors import ConfigError, DataError, FinetoothError
from finetooth.messages import say
from finetooth.probing.judging import judge
from finetooth.probing.prompts import Prompt
from finetooth.types import Message

if TYPE_CHECKING:
    from finetooth.personas.lookup import FoundFact
    from finetooth.personas.prompt import PersonaPrompt

_ROOM = 4
"""An answer has room for at least this part of the context, or for all that it may have, before turns are dropped."""


@dataclass(slots=True)
class _Answering:
    """An answer on its way."""

    prompt: TurnPrompt
    num_dropped: int
    max_tokens: int
    seed: int
    ids: list[int]


class Conversation:
    """A conversation with one model.

    Args:
        speaker: The model.
        system: The system message.
        persona: Writes the system message, and adds facts to each question, as it does in training rows.
        settings: How answers are made.

    Raises:
        ConfigError: A system message and a persona are given.
    """

    def __init__(
        self,
        speaker: Speaker,
        *,
        system: str | None = None,
        persona: PersonaPrompt | None = None,
        settings: Settings | None = None,
    ) -> None:
        if system is not None and persona is not None:
            raise ConfigError(say("chatting.system_and_persona"), where="--system", help=say("chatting.persona_help"))
        self.speaker = speaker
        self.persona = persona
        self.settings = settings or Settings()
        self.turns: list[Turn] = []
        self._system = system
        self._first_kept = 0
        self._stop = Event()
        self._seed = self.settings.seed if self.settings.seed is not None else secrets.randbits(31)

    @property
    def system(self) -> str | None:
        """The system message, whoever wrote it."""
        return self._system if self.persona is None else str(self.persona.system_message["content"])

    def begin(self, system: str | None = None) -> None:
        """Begin anew, with another system message where one is given.

        Raises:
            ConfigError: The persona writes the system message.
        """
        if system is not None:
            if self.persona is not None:
                raise ConfigError(say("chatting.persona_writes"), help=say("chatting.persona_help"))
            self._system = system or None
        self.turns.clear()
        self._first_kept = 0

    def facts(self, text: str) -> tuple[FoundFact, ...]:
        """Return the facts that the persona gives to a text, best first."""
        return self.persona.facts(text) if self.persona is not None else ()

    def interrupt(self) -> None:
        """End the answer on its way after the token that is being made."""
        self._stop.set()

    def ask(self, text: str) -> Iterator[Piece]:
        """Yield the answer to a text piece by piece; at the end it is the last of `turns`.

        Raises:
            FinetoothError: The text does not fit the context, the template refuses it, or the model fails.
        """
        prompt, first = self._fitting(text)
        room = self._room(prompt)
        self._first_kept = first
        self._stop.clear()
        seed = (self._seed + len(self.turns)) % 2**63
        limit = self.settings.max_new_tokens
        max_tokens = limit if room is None else min(limit, room)
        answering = _Answering(prompt=prompt, num_dropped=first, max_tokens=max_tokens, seed=seed, ids=[])
        stream = TextStream(self.speaker.tokenizer, self.speaker.terminators)
        is_whole = False
        try:
            with closing(self._ids(answering)) as ids:
                for token_id in ids:
                    answering.ids.append(token_id)
                    yield from stream.push(token_id)
            is_whole = not self._stop.is_set()
            yield from stream.finish()
        except (GeneratorExit, KeyboardInterrupt):
            self.turns.append(self._turn(text, answering, is_whole=is_whole))
            raise
        self.turns.append(self._turn(text, answering, is_whole=is_whole))

    def _ids(self, answering: _Answering) -> Generator[int, None, None]:
        from finetooth.chatting.answering import answer

        try:
            yield from answer(
                self.speaker.model,
                answering.prompt.ids,
                max_tokens=answering.max_tokens,
                settings=self.settings,
                seed=answering.seed,
                stop=self._stop,
            )
        except RuntimeError as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
            raise FinetoothError(say("chatting.failed", reason=reason), where=self.speaker.name) from error

    def _fitting(self, text: str) -> tuple[TurnPrompt, int]:
        """Return the prompt with as many of the turns as fit, and the first of these."""
        context = self.speaker.context
        wanted = 0 if context is None else min(self.settings.max_new_tokens, max(context // _ROOM, 1))
        for first in range(self._first_kept, len(self.turns) + 1):
            prompt = self._prompt(text, first)
            if context is None or len(prompt.ids) + wanted <= context:
                return prompt, first
        # Nothing is left to drop: the answer gets what there is.
        if self._room(prompt) == 0:
            raise DataError(
                say("chatting.too_long", tokens=f"{len(prompt.ids):,}", context=f"{context:,}"),
                help=say("chatting.too_long_help"),
            )
        return prompt, first

    def _prompt(self, text: str, first: int) -> TurnPrompt:
        turns: list[Message] = []
        for turn in self.turns[first:]:
            turns.append({"role": "user", "content": turn.question})
            turns.append({"role": "assistant", "content": turn.text})
        return turn_prompt(self.speaker, turns, text, system=self._system, persona=self.persona)

    def _room(self, prompt: TurnPrompt) -> int | None:
        context = self.speaker.context
        return None if context is None else max(context - len(prompt.ids), 0)

    def _turn(self, question: str, answering: _Answering, *, is_whole: bool) -> Turn:
        speaker, prompt, ids = self.speaker, answering.prompt, answering.ids
        stopped = bool(ids) and ids[-1] in speaker.stop_ids
        end: End = "stop"
        if not stopped:
            end = "context" if len(ids) < self.settings.max_new_tokens else "limit"
            if not is_whole and len(ids) < answering.max_tokens:
                end = "interrupted"
        asked = Prompt(record=len(self.turns), where=speaker.name, input_ids=list(prompt.ids), question=question)
        return Turn(
            question=question,
            prompt=prompt,
            answer=judge(asked, ids, speaker.tokenizer, speaker.stop_ids, terminators=speaker.terminators),
            text=self._as_history(prompt, ids[:-1] if stopped else ids, stopped=stopped),
            end=end,
            max_tokens=answering.max_tokens,
            stop_file=speaker.stop_file(ids[-1]) if stopped else None,
            num_dropped=answering.num_dropped,
            seed=None if self.settings.is_greedy else answering.seed,
        )

    def _as_history(self, prompt: TurnPrompt, ids: list[int], *, stopped: bool) -> str:
        """Return an answer as the content of a message: without what the template adds to one by itself.

        Special tokens and leaked terminators stand in it as they were written, so that the next prompt holds them.
        """
        # Decoders take a space off the first token of a text: the prompt's last token goes before it.
        decode = self.speaker.tokenizer.backend.decode
        last = list(prompt.ids[-1:])
        before = str(decode(last, skip_special_tokens=False))
        text = str(decode([*last, *ids], skip_special_tokens=False))
        text = text[len(before) :] if text.startswith(before) else str(decode(ids, skip_special_tokens=False))
        lead, tail = self.speaker.blanks
        text = text.removeprefix(lead)
        return text.removesuffix(tail) if stopped else text
