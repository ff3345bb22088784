"""What a conversation prints on: a terminal, or a pipe that gets a clean transcript."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from finetooth.chatting.conversation import Conversation
from finetooth.chatting.explaining import ending
from finetooth.chatting.flow import Flow, Stretch, folded, lines_of
from finetooth.chatting.streaming import Piece
from finetooth.errors import FinetoothError
from finetooth.messages import say
from finetooth.view.paint import Styled, paint, shorten_middle
from finetooth.view.visible import cells, harmless

WIDE = 80
"""Cells from which two answers stand side by side."""
_NARROWEST = 20
_GAP = " │ "
_STYLES = {"text": "", "special": "special", "literal": "meant"}
"""How the pieces of an answer are painted."""


@dataclass(slots=True, kw_only=True)
class Screen:
    """Stdout, with what is known of it."""

    color: bool
    is_terminal: bool
    """Whether text is folded to the width and progress is shown; a pipe gets answers as they are."""

    @property
    def width(self) -> int:
        """The cells of a line, asked each time: windows change."""
        return max(shutil.get_terminal_size((WIDE, 24)).columns, _NARROWEST)

    def write(self, stretches: Iterable[Stretch]) -> None:
        """Print stretches at once, and nothing after them."""
        for text, style in stretches:
            lines = text.split("\n")
            painted = [paint([(line, style)], color=True) if style and self.color else line for line in lines]
            sys.stdout.write("\n".join(painted))
        sys.stdout.flush()

    def print(self, lines: Iterable[Styled]) -> None:
        """Print lines."""
        for line in lines:
            sys.stdout.write(paint(line, color=self.color) + "\n")
        sys.stdout.flush()

    def welcome(self, conversations: Sequence[Conversation]) -> None:
        """Print who answers, and how to get help."""
        for conversation in conversations:
            speaker = conversation.speaker
            stops = ", ".join(f"{speaker.tokenizer.piece(one)} ({one})" for one in sorted(speaker.stop_ids)) or say(
                "chatting.nothing"
            )
            about = say("chatting.welcome", stops=stops, template=Path(speaker.template.name).name)
            self.head(conversation)
            self.print([*folded([(harmless(about), "quiet")], width=self.width)])
        self.print([*folded([(say("chatting.welcome_help"), "quiet")], width=self.width), []])

    def head(self, conversation: Conversation) -> None:
        """Print whose words follow."""
        self.print([[(self._name(conversation, self.width), "heading")]])

    def complain(self, lines: Iterable[Styled]) -> None:
        """Print lines on stderr, after what stands on stdout."""
        sys.stdout.flush()
        for line in lines:
            sys.stderr.write(paint(line, color=self.color and sys.stderr.isatty()) + "\n")
        sys.stderr.flush()

    def answer(self, conversation: Conversation, pieces: Iterator[Piece]) -> None:
        """Print an answer as it comes, and how it ended."""
        flow = Flow(self.width if self.is_terminal else None)
        at_start = True
        try:
            for piece in pieces:
                stretches = flow.push(piece.text, _STYLES[piece.kind])
                at_start = at_start and not stretches
                self.write(stretches)
        except FinetoothError:
            self.write([] if at_start else [("\n", "")])
            raise
        rest = flow.finish()
        self.write([*rest, ("\n", "")] if rest or not at_start else [(say("chatting.no_words"), "quiet"), ("\n", "")])
        self.print(ending(conversation.turns[-1], width=self.width))

    def answers(self, conversations: list[Conversation], question: str) -> None:
        """Print the answers of two models: in two columns where there is room, else one below the other."""
        if self.width < WIDE:
            for conversation in conversations:
                self.head(conversation)
                self.answer(conversation, conversation.ask(question))
            return
        width = (self.width - cells(_GAP)) // 2
        first, second = conversations
        left = [[(self._name(first, width), "heading")], *self._unseen(first, question, width)]
        self._row(left[0], [(self._name(second, width), "heading")], width)
        # The second answer streams line by line beside the first, which is known.
        flow, done = Flow(width), 1
        begun: list[Stretch] = []
        for piece in second.ask(question):
            *lines, last = lines_of([*begun, *flow.push(piece.text, _STYLES[piece.kind])])
            for line in lines:
                self._row(left[done] if done < len(left) else [], line, width)
                done += 1
            begun = last
        right = [*lines_of([*begun, *flow.finish()]), *ending(second.turns[-1], width=width)]
        for number in range(max(len(left) - done, len(right))):
            one = left[done + number] if done + number < len(left) else []
            self._row(one, right[number] if number < len(right) else [], width)

    def _unseen(self, conversation: Conversation, question: str, width: int) -> list[Styled]:
        """Return an answer as lines; meanwhile its length is told."""
        flow = Flow(width)
        stretches: list[Stretch] = []
        with self._counting(conversation) as count:
            for number, piece in enumerate(conversation.ask(question), 1):
                stretches += flow.push(piece.text, _STYLES[piece.kind])
                count(number)
        return [*lines_of([*stretches, *flow.finish()]), *ending(conversation.turns[-1], width=width)]

    @contextmanager
    def _counting(self, conversation: Conversation) -> Iterator[Callable[[int], None]]:
        counter = Counter(shorten_middle(harmless(conversation.speaker.name), width=self.width // 2))
        shows = self.is_terminal and sys.stderr.isatty()
        try:
            yield counter if shows else _silent
        finally:
            if shows:
                counter.clear()

    def _row(self, left: Styled, right: Styled, width: int) -> None:
        used = sum(cells(text) for text, _ in left)
        self.print([[*left, (" " * (width - used), ""), (_GAP, "quiet"), *right]])

    def _name(self, conversation: Conversation, width: int) -> str:
        return shorten_middle(harmless(conversation.speaker.name), width=width)


@dataclass(slots=True)
class Counter:
    """A line on stderr that counts the pieces of an answer nobody sees yet."""

    name: str

    def __call__(self, count: int) -> None:
        """Show the count."""
        sys.stderr.write(f"\r\x1b[K{say('chatting.counting', name=self.name, count=f'{count:,}')}")
        sys.stderr.flush()

    def clear(self) -> None:
        """Take the line away."""
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()


def _silent(count: int) -> None:
    """Count for nobody."""


@contextmanager
def no_echo() -> Iterator[None]:
    """Keep the terminal from showing keys meanwhile: `^C`, and what is typed ahead, would stand in the answer."""
    try:
        import termios
    except ImportError:  # Windows
        yield
        return
    try:
        before = termios.tcgetattr(sys.stdin.fileno())
    except (OSError, ValueError, termios.error):  # no terminal
        yield
        return
    silent = list(before)
    silent[3] &= ~termios.ECHO
    termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, silent)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, before)
