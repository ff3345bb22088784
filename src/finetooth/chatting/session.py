"""A session at the prompt: what is typed is asked, and what begins with `/` is a command."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetooth.chatting.conversation import Conversation
from finetooth.chatting.explaining import facts, prose, why
from finetooth.chatting.flow import folded
from finetooth.chatting.screen import Screen, no_echo
from finetooth.chatting.transcript import save
from finetooth.config import closest
from finetooth.errors import FinetoothError
from finetooth.messages import say
from finetooth.view.visible import harmless

COMMANDS = ("/why", "/facts", "/system", "/reset", "/save", "/save!", "/help", "/quit")
PROMPT, MORE = "> ", ". "
"""Before a line, and before one that goes on with the line above."""

_HELP = (
    ("/why", "why"),
    ("/why all", "why_all"),
    ("/facts [TEXT]", "facts"),
    ("/system [TEXT]", "system"),
    ("/reset", "reset"),
    ("/save FILE", "save"),
    ("/save! FILE", "save_over"),
    ("/help", "help"),
    ("/quit", "quit"),
    ("//TEXT", "slash"),
    ("TEXT\\", "more"),
)
_TERM = 18


@dataclass(slots=True)
class Session:
    """The conversations, one a model, that hear the same questions."""

    conversations: Sequence[Conversation]
    screen: Screen
    is_interactive: bool = True
    """Whether ctrl-c ends an answer and not the program."""
    num_errors: int = field(default=0, init=False)

    def run(self, lines: Iterator[str]) -> None:
        """Take lines, one or more to a message, until there are none or `/quit` comes."""
        for line in lines:
            text = line
            while text.endswith("\\"):
                text = text[:-1] + "\n" + next(lines, "")
            if not self.take(text):
                return

    def take(self, text: str) -> bool:
        """Ask, or do what a command says; return whether the session goes on.

        An error is printed and ends nothing.
        """
        try:
            if text.startswith("/") and not text.startswith("//"):
                return self._command(text)
            text = text[1:] if text.startswith("//") else text
            if text.strip():
                self._ask(text)
        except FinetoothError as error:
            self._error(error)
        return True

    def _ask(self, text: str) -> None:
        with self._interruptible():
            if len(self.conversations) == 1:
                (conversation,) = self.conversations
                self.screen.answer(conversation, conversation.ask(text))
            else:
                self.screen.answers(list(self.conversations), text)
        self._line()

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Let ctrl-c end the answer on its way; a second one, while that is awaited, ends the program."""
        if not self.is_interactive or threading.current_thread() is not threading.main_thread():
            yield
            return
        asked: list[int] = []

        def interrupt(number: int, frame: Any) -> None:
            sizes = sum(len(conversation.turns) for conversation in self.conversations)
            if asked and asked[-1] == sizes:
                raise KeyboardInterrupt
            asked.append(sizes)
            for conversation in self.conversations:
                conversation.interrupt()

        before = signal.signal(signal.SIGINT, interrupt)
        try:
            with no_echo():
                yield
        finally:
            signal.signal(signal.SIGINT, before)

    # Commands -----------------------------------------------------------------------------------------------------

    def _command(self, text: str) -> bool:
        name, _, rest = text.partition(" ")
        rest = rest.strip()
        does: dict[str, Callable[[str], None]] = {
            "/why": self._why,
            "/facts": self._facts,
            "/system": self._system,
            "/reset": self._reset,
            "/save": lambda rest: self._save(rest, force=False),
            "/save!": lambda rest: self._save(rest, force=True),
            "/help": self._help,
        }
        if name == "/quit":
            return False
        if name not in does:
            near = closest(name, COMMANDS)
            raise FinetoothError(
                say("chatting.no_command", name=harmless(name)),
                help=say("cli.did_you_mean", name=near) if near else say("chatting.no_command_help"),
            )
        does[name](rest)
        return True

    def _why(self, rest: str) -> None:
        if rest not in ("", "all"):
            raise FinetoothError(say("chatting.bad_argument", name="/why", value=harmless(rest)), help="/why all")
        for conversation in self.conversations:
            if not conversation.turns:
                raise FinetoothError(say("chatting.nothing_said"))
            self._head(conversation)
            self.screen.print(why(conversation.turns[-1], width=self.screen.width, whole=rest == "all"))
            self._line()

    def _facts(self, rest: str) -> None:
        for conversation in self.conversations:
            if conversation.persona is None:
                raise FinetoothError(say("chatting.no_persona"), help="finetooth chat MODEL --persona persona.yaml")
            if not rest and not conversation.turns:
                raise FinetoothError(say("chatting.nothing_said"), help="/facts TEXT")
            found = conversation.facts(rest) if rest else conversation.turns[-1].prompt.facts
            self._head(conversation)
            if found:
                self.screen.print(facts(found, width=self.screen.width))
            else:
                self._told(say("chatting.no_facts"))
            self._line()

    def _system(self, rest: str) -> None:
        if rest:
            for conversation in self.conversations:
                conversation.begin(system="" if rest == '""' else rest)
            self._told(say("chatting.system_set"))
        else:
            system = self.conversations[0].system
            if system is None:
                self._told(say("chatting.no_system"))
            else:
                self.screen.print(prose(system, width=self.screen.width, indent=2))
        self._line()

    def _reset(self, rest: str) -> None:
        if rest:
            raise FinetoothError(say("chatting.bad_argument", name="/reset", value=harmless(rest)), help="/reset")
        for conversation in self.conversations:
            conversation.begin()
        self._told(say("chatting.was_reset"))
        self._line()

    def _save(self, rest: str, *, force: bool) -> None:
        if not rest:
            raise FinetoothError(say("chatting.no_file"), help="/save chat.jsonl")
        path = Path(rest).expanduser()
        save(self.conversations, path, force=force)
        self._told(say("chatting.saved", count=len(self.conversations[0].turns), path=harmless(str(path))))
        self._line()

    def _help(self, rest: str) -> None:
        for term, name in _HELP:
            lines = folded(
                [(say(f"chatting.help_{name}"), "")], width=self.screen.width, indent=_TERM, first_indent=_TERM
            )
            lines[0][0] = (f"  {term}".ljust(_TERM), "place")
            self.screen.print(lines)
        self._line()

    # Talk ---------------------------------------------------------------------------------------------------------

    def _head(self, conversation: Conversation) -> None:
        if len(self.conversations) > 1:
            self.screen.head(conversation)

    def _told(self, text: str) -> None:
        self.screen.print(folded([(text, "quiet")], width=self.screen.width))

    def _line(self) -> None:
        self.screen.print([[]])

    def _error(self, error: FinetoothError) -> None:
        self.num_errors += 1
        lines = [("error: ", "bad", error.what)]
        lines += [(" --> ", "quiet", error.where)] if error.where else []
        lines += [("help: ", "good", error.help)] if error.help else []
        for label, style, text in lines:
            self.screen.complain(folded([(label, style), (harmless(text), "")], width=self.screen.width))
        self._line()
