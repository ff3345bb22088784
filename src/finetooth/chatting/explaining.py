"""What `/why` and `/facts` print: lines with styles, for a width of cells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from finetooth.chatting.diagnosing import diagnose, ended, leaked_ids
from finetooth.chatting.flow import folded, readable
from finetooth.chatting.turn import Turn
from finetooth.messages import say
from finetooth.view.paint import Styled
from finetooth.view.pieces import readable_piece
from finetooth.view.visible import cells, harmless

if TYPE_CHECKING:
    from finetooth.personas.lookup import FoundFact

NEAR_END = 24
"""Tokens that are shown of a prompt and of an answer, from the end; `/why all` shows all."""
NEAR_LEAK = 6
"""Tokens that are shown before and from the beginning of a leaked terminator on."""
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
        f"{say(f'chatting.from_{origin}')} {count:,}" for origin, count in prompt.origins.items()
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
        # Folded, it could not be pasted.
        yield [("  ", ""), (harmless(diagnosis.command), "place")]


def tokens(turn: Turn, ids: Sequence[int], *, width: int, whole: bool) -> Iterator[Styled]:
    """Yield ids with their pieces: those at the end and around a leaked terminator alone, unless all are wanted."""
    tokenizer = turn.prompt.speaker.tokenizer
    leaked = frozenset() if ids is turn.prompt.ids else _leaked(turn, ids)
    first = min(leaked, default=len(ids))
    shown = {*range(max(len(ids) - NEAR_END, 0), len(ids)), *range(max(first - NEAR_LEAK, 0), first + NEAR_LEAK)}
    words: list[list[tuple[str, str]]] = []
    hidden = 0
    for index, one in enumerate(ids):
        if not (whole or index in shown):
            hidden += 1
            continue
        if hidden:
            words.append([(say("chatting.hidden", count=f"{hidden:,}"), "quiet")])
            hidden = 0
        if tokenizer.is_special(one):
            piece = (f"⟨{harmless(tokenizer.piece(one))}⟩", "special")
        else:
            piece = (f"'{harmless(readable_piece(tokenizer, one))}'", "meant" if index in leaked else "")
        words.append([(f"{one} ", "quiet"), piece])
    yield from _words(words or [[(say("chatting.nothing"), "quiet")]], width)


def _leaked(turn: Turn, ids: Sequence[int]) -> frozenset[int]:
    """Return where in an answer the ids stand that spell its literal terminator."""
    if turn.answer.leaked is None:
        return frozenset()
    spelled = tuple(leaked_ids(turn, turn.answer.leaked))
    starts = (start for start in range(len(ids)) if tuple(ids[start : start + len(spelled)]) == spelled)
    return frozenset(index for start in starts for index in range(start, start + len(spelled)))


def facts(found: Sequence[FoundFact], *, width: int) -> Iterator[Styled]:
    """Yield facts with their scores, one below the other."""
    for fact in found:
        line = [(f"{fact.score:.2f}  ", "quiet"), (harmless(fact.text), "")]
        yield from folded(line, width=width, first_indent=_INDENT, indent=_INDENT + 6)


def ending(turn: Turn, *, width: int) -> Iterator[Styled]:
    """Yield the line under an answer: how it ended, and what to ask where that is wrong."""
    text = ended(turn)
    if turn.fault is not None:
        text = say("chatting.and_why", ended=text, fault=say(f"chatting.fault_{turn.fault.replace('-', '_')}"))
    yield from folded(
        [("─ ", "quiet"), (harmless(text), "quiet" if turn.is_sound else "warning")], width=width, indent=2
    )
    if turn.num_dropped:
        note = say("chatting.dropped", count=turn.num_dropped, context=f"{turn.prompt.speaker.context or 0:,}")
        yield from folded([("─ ", "quiet"), (note, "quiet")], width=width, indent=2)


def prose(text: str, *, width: int, style: str = "", indent: int = 0) -> Iterator[Styled]:
    """Yield a text of several lines, each folded; those that begin with blanks keep them."""
    for line in readable(text).split("\n"):
        own = len(line) - len(line.lstrip(" "))
        first = min(own + indent, width // 2)
        yield from folded([(line.strip(" "), style)], width=width, first_indent=first, indent=first)


def _heading(text: str, width: int) -> Iterator[Styled]:
    yield from folded([(text, "heading")], width=width, indent=_INDENT)


def _paragraph(text: str, style: str, width: int) -> Iterator[Styled]:
    yield from folded([(harmless(text), style)], width=width, first_indent=_INDENT, indent=_INDENT)


def _words(words: Sequence[Styled], width: int) -> Iterator[Styled]:
    """Yield words, each of several styles, with two blanks between; one that no line holds is cut."""
    line: list[tuple[str, str]] = [(" " * _INDENT, "")]
    used = _INDENT
    for word in words:
        size = sum(cells(text) for text, _ in word)
        if used > _INDENT and used + 2 + size > width:
            yield line
            line, used = [(" " * _INDENT, "")], _INDENT
        if used + size > width:
            *before, last = folded(word, width=width, first_indent=_INDENT, indent=_INDENT)
            yield from before
            line, used = last, sum(cells(text) for text, _ in last)
            continue
        gap = 2 if used > _INDENT else 0
        line += [(" " * gap, ""), *word]
        used += gap + size
    yield line
