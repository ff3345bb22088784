"""What `/why` and `/facts` print: lines with styles, for a width of cells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from finetooth.chatting.diagnosing import diagnose, ended
from finetooth.chatting.flow import readable
from finetooth.chatting.turn import Turn
from finetooth.messages import say
from finetooth.view.paint import JOINT, Styled, fold
from finetooth.view.pieces import readable_piece
from finetooth.view.visible import cells, harmless

if TYPE_CHECKING:
    from finetooth.personas.lookup import FoundFact

NEAR_END = 24
"""Tokens that are shown of a prompt and of an answer, from the end; `/why all` shows all."""
_INDENT = 2


def why(turn: Turn, *, width: int, whole: bool = False) -> Iterator[Styled]:
    """Yield why an answer is what it is: its prompt, its facts, its ids, and its end.

    Args:
        turn: The question and the answer.
        width: The cells that no line exceeds.
        whole: Whether all tokens are shown.
    """
    prompt = turn.prompt
    parts = say("chatting.comma").join(
        f"{say(f'chatting.from_{origin}')} {count:,}".replace(" ", JOINT) for origin, count in prompt.origins.items()
    )
    yield from _heading(say("chatting.prompt_head", count=f"{len(prompt.ids):,}", parts=parts), width)
    if turn.num_dropped:
        note = say("chatting.dropped", count=turn.num_dropped, context=f"{prompt.speaker.context or 0:,}")
        yield from _paragraph(note, "warning", width)
    yield from tokens(turn, prompt.ids, width=width, whole=whole)
    if prompt.facts:
        yield from _heading(say("chatting.facts_head"), width)
        yield from facts(prompt.facts, width=width)
    made = say("chatting.greedy")
    if turn.seed is not None:
        made = say("chatting.drawn", seed=turn.seed)
    yield from _heading(say("chatting.answer_head", count=f"{len(turn.ids):,}", made=made), width)
    yield from tokens(turn, turn.ids, width=width, whole=whole)
    yield from _heading(say("chatting.end_head"), width)
    yield from _paragraph(ended(turn), "good" if turn.is_sound else "warning", width)
    diagnosis = diagnose(turn)
    if diagnosis is None:
        return
    yield from _paragraph(diagnosis.cause, "", width)
    for found in diagnosis.found:
        yield from _paragraph(found, "", width)
    if diagnosis.command is not None:
        yield from _paragraph(diagnosis.command, "place", width)


def tokens(turn: Turn, ids: Sequence[int], *, width: int, whole: bool) -> Iterator[Styled]:
    """Yield ids with their pieces, those at the end alone unless the whole is wanted."""
    tokenizer = turn.prompt.speaker.tokenizer
    hidden = 0 if whole or len(ids) <= NEAR_END + 2 else len(ids) - NEAR_END
    line: list[tuple[str, str]] = []
    if hidden:
        line += [(say("chatting.hidden", count=f"{hidden:,}").replace(" ", JOINT), "quiet"), ("  ", "")]
    for one in ids[hidden:]:
        line.append((f"{one}{JOINT}", "quiet"))
        if tokenizer.is_special(one):
            line.append((f"⟨{harmless(tokenizer.piece(one))}⟩", "special"))
        else:
            piece = harmless(readable_piece(tokenizer, one)).replace(" ", JOINT)
            line.append((f"'{piece}'", "meant" if piece in turn.prompt.speaker.terminators else ""))
        line.append(("  ", ""))
    yield from _words(line[:-1] or [(say("chatting.nothing"), "quiet")], width)


def facts(found: Sequence[FoundFact], *, width: int) -> Iterator[Styled]:
    """Yield facts with their scores, one below the other."""
    for fact in found:
        line = [(f"{fact.score:.2f}{JOINT}{JOINT}", "quiet"), (harmless(fact.text), "")]
        yield from fold(line, width=width, first_indent=_INDENT, indent=_INDENT + 6)


def ending(turn: Turn, *, width: int) -> Iterator[Styled]:
    """Yield the line under an answer: how it ended, and what to ask where that is wrong."""
    text = ended(turn)
    if turn.fault is not None:
        text = say("chatting.and_why", ended=text, fault=say(f"chatting.fault_{turn.fault.replace('-', '_')}"))
    yield from fold([(f"─{JOINT}", "quiet"), (harmless(text), "quiet" if turn.is_sound else "warning")], width=width)
    if turn.num_dropped:
        note = say("chatting.dropped", count=turn.num_dropped, context=f"{turn.prompt.speaker.context or 0:,}")
        yield from fold([(f"─{JOINT}", "quiet"), (note, "quiet")], width=width)


def prose(text: str, *, width: int, style: str = "", indent: int = 0) -> Iterator[Styled]:
    """Yield a text of several lines, each folded; those that begin with blanks keep them."""
    for line in readable(text).split("\n"):
        own = len(line) - len(line.lstrip(" "))
        first = min(own + indent, width // 2)
        yield from fold([(line.strip(" "), style)], width=width, first_indent=first, indent=first)


def _heading(text: str, width: int) -> Iterator[Styled]:
    yield from fold([(text, "heading")], width=width, indent=_INDENT)


def _paragraph(text: str, style: str, width: int) -> Iterator[Styled]:
    yield from fold([(harmless(text), style)], width=width, first_indent=_INDENT, indent=_INDENT)


def _words(line: Sequence[tuple[str, str]], width: int) -> Iterator[Styled]:
    """Fold a line whose words have several styles: a word is what stands between two blanks."""
    out: list[tuple[str, str]] = [(" " * _INDENT, "")]
    used = begun = _INDENT
    word: list[tuple[str, str]] = []
    for text, style in [*line, ("  ", "")]:
        if text != "  ":
            word.append((text, style))
            continue
        size = sum(cells(part) for part, _ in word)
        gap = 0 if used == begun else 2
        if used + gap + size > width and used > begun:
            yield out
            out, used, gap = [(" " * _INDENT, "")], begun, 0
        if used + size > width:
            folded = list(fold(word, width=width, first_indent=_INDENT, indent=_INDENT + 2))
            yield from folded[:-1]
            out, used = list(folded[-1]), sum(cells(part) for part, _ in folded[-1])
        else:
            out += [(" " * gap, ""), *word]
            used += gap + size
        word = []
    yield out
