"""A batch as the model will see it, drawn as text: the trie of a pack, what is learned marked.

430 tokens · in 16 rows   <s> [INST] <<SYS>>↵あなたは…
12 tokens · in 1 row    こんにちは [/INST] ⟦ごきげんよう。</s>⟧
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from finetooth.messages import say
from finetooth.packing import Pack, Row, make_packs
from finetooth.tokenizer import Tokenizer
from finetooth.view.visible import cells

LEARNED = ("⟦", "⟧")
"""What stands around learned text where there is no colour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """A run of tokens without a branch in it."""

    depth: int
    """How many branches lie above it."""
    start: int
    """Half-open tokens of the pack."""
    end: int
    num_rows: int
    """The rows that it is part of."""


def branches(pack: Pack) -> list[Branch]:
    """Return the runs of a pack, in its order."""
    rows_at: dict[int, int] = {}
    for last in pack.last_indices:
        rows_at[last] = rows_at.get(last, 0) + 1
    starts = [
        token
        for token in range(pack.num_tokens)
        if token == 0
        or pack.end[token] != pack.end[token - 1]
        or pack.positions[token] != pack.positions[token - 1] + 1
    ]
    found = []
    open_ends: list[int] = []
    for start, end in zip(starts, [*starts[1:], pack.num_tokens], strict=True):
        while open_ends and open_ends[-1] <= start:
            open_ends.pop()
        inside = sum(count for last, count in rows_at.items() if start <= last < pack.end[start])
        found.append(Branch(depth=len(open_ends), start=start, end=end, num_rows=inside))
        open_ends.append(pack.end[start])
    return found


def draw(
    rows: Sequence[Row],
    tokenizer: Tokenizer,
    *,
    width: int,
    max_branches: int = 8,
    style: Callable[[str, bool], str] | None = None,
) -> Iterator[str]:
    """Yield the lines that show some rows as one pack.

    Args:
        rows: The rows of a step.
        tokenizer: Whose pieces the ids are.
        width: Cells of a line.
        max_branches: How many branches are drawn.
        style: Paints a piece of text, learned or not; `None` sets `LEARNED` around what is learned.
    """
    packs = make_packs(rows, max_tokens=max(1, sum(len(row.input_ids) for row in rows)))
    if not packs:
        yield say("training.nothing_learned")
        return
    pack = packs[0]
    learned = _learned_tokens(pack, rows)
    all_branches = branches(pack)
    heads = ["  " * one.depth + _head(one.end - one.start, one.num_rows) for one in all_branches[:max_branches]]
    gutter = max(map(len, heads))
    for head, one in zip(heads, all_branches, strict=False):
        room = max(16, width - gutter - 4)
        yield f"{head:<{gutter}}  {_text(pack, one, learned, tokenizer, room, style)}"
    if len(all_branches) > max_branches:
        yield say("training.more_branches", count=len(all_branches) - max_branches)


def _head(tokens: int, rows: int) -> str:
    if rows == 1:
        return say("training.branch_alone", tokens=tokens)
    return say("training.branch", tokens=tokens, rows=rows)


def _learned_tokens(pack: Pack, rows: Sequence[Row]) -> set[int]:
    """Return the tokens of a pack that some row learns; a last one, which predicts nothing, is not in the pack."""
    pairs = {
        (source, target)
        for source, target, weight in zip(pack.source_indices, pack.targets, pack.weights, strict=True)
        if weight
    }
    parents: dict[int, int] = {}
    path: list[int] = []
    for token, depth in enumerate(pack.positions):
        del path[depth:]
        if path:
            parents[token] = path[-1]
        path.append(token)
    return {token for token, parent in parents.items() if (parent, pack.input_ids[token]) in pairs}


def _text(
    pack: Pack,
    branch: Branch,
    learned: set[int],
    tokenizer: Tokenizer,
    room: int,
    style: Callable[[str, bool], str] | None,
) -> str:
    runs: list[tuple[bool, list[int]]] = []
    for token in range(branch.start, branch.end):
        is_learned = token in learned
        if not runs or runs[-1][0] != is_learned:
            runs.append((is_learned, []))
        runs[-1][1].append(pack.input_ids[token])
    # What follows the last token is predicted and not computed: the end of each answer stands there.
    ends = [
        target
        for source, target, weight in zip(pack.source_indices, pack.targets, pack.weights, strict=True)
        if weight and source == branch.end - 1 and branch.end == pack.end[branch.start]
    ]
    if ends:
        if not runs or not runs[-1][0]:
            runs.append((True, []))
        runs[-1][1].append(ends[0])
    return _fitted([(_readable(tokenizer, ids), is_learned) for is_learned, ids in runs], room, style)


def _readable(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    pieces = [tokenizer.piece_bytes(token_id) for token_id in ids]
    parts = [
        piece if piece is not None else tokenizer.piece(token_id).encode()
        for piece, token_id in zip(pieces, ids, strict=True)
    ]
    text = b"".join(parts).decode("utf-8", "replace")
    return "".join("↵" if character == "\n" else character if character.isprintable() else "·" for character in text)


def _fitted(parts: Sequence[tuple[str, bool]], room: int, style: Callable[[str, bool], str] | None) -> str:
    """Join parts, the middle of long ones left out, so that beginning and end can be read."""
    widths = [cells(text) for text, _ in parts]
    shown = []
    for number, (text, is_learned) in enumerate(parts):
        others = sum(width for index, width in enumerate(widths) if index != number)
        text = _shortened(text, max(room // len(parts), room - others))
        if style is not None:
            shown.append(style(text, is_learned))
        else:
            shown.append(f"{LEARNED[0]}{text}{LEARNED[1]}" if is_learned else text)
    return "".join(shown)


def _shortened(text: str, limit: int) -> str:
    """Return a text of at most so many cells, with `…` for its middle where it is longer."""
    if cells(text) <= limit:
        return text
    half = max(1, (limit - 1) // 2)
    return f"{_first(text, half)}…{_first(text[::-1], half)[::-1]}"


def _first(text: str, limit: int) -> str:
    used = 0
    for index, character in enumerate(text):
        used += cells(character)
        if used > limit:
            return text[:index]
    return text
