"""Characters as a reader can see them, and the terminal cells that they take.

Data is untrusted: it may hold escape sequences, bidirectional controls, lone surrogates. Nothing of the kind leaves
this module; each becomes a glyph or a code point in mathematical angle brackets, which data hardly ever holds.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

SPACE = "·"
NEWLINE = "↵"
TAB = "→"
WIDE_SPACE = "□"

_GLYPHS = {" ": SPACE, "\n": NEWLINE, "\t": TAB, "\u3000": WIDE_SPACE, "\x7f": "\u2421"}

# Letters by their category that nevertheless leave no ink: fillers, and the selectors that change how the
# character before them is drawn (and, on some terminals, how wide).
_INKLESS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0") | {chr(code) for code in range(0xFE00, 0xFE10)}

# Characters that a terminal may fuse with their neighbour, so that no width function agrees with every terminal:
# skin tones and the letters of flags. On a grid they stand as code points; a browser can draw them.
_FUSING = frozenset(chr(code) for code in (*range(0x1F3FB, 0x1F400), *range(0x1F1E6, 0x1F200)))

_HIDDEN_CATEGORIES = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"))


@lru_cache(maxsize=8192)
def visible_char(char: str, *, grid: bool = False) -> str:
    """Return what stands for one character: itself, a glyph, or its code point in brackets.

    Args:
        char: One character.
        grid: Whether the result must take a width that every terminal agrees on.
    """
    if char in _GLYPHS:
        return _GLYPHS[char]
    if char < " ":
        return chr(0x2400 + ord(char))  # the control pictures: ␀ to ␟
    if unicodedata.category(char) in _HIDDEN_CATEGORIES or char in _INKLESS or (grid and char in _FUSING):
        return f"⟨U+{ord(char):04X}⟩"
    return char


def visible(text: str, *, grid: bool = False) -> str:
    """Return a text with its white space and its control, format and private characters made visible."""
    return "".join(visible_char(char, grid=grid) for char in text)


def harmless(text: str) -> str:
    """Return a text for prose (names, pieces, notes): as `visible`, but plain spaces stay plain."""
    return "".join(char if char == " " else visible_char(char, grid=True) for char in text)


@lru_cache(maxsize=8192)
def char_cells(char: str) -> int:
    """Return the terminal cells of one visible character: 0, 1 or 2.

    Ambiguous characters count one cell, as in every terminal that is not told otherwise. The standard library's
    table is enough here: what it cannot know (joined emoji) never gets this far, and importing rich costs more
    than all of the view.
    """
    # U+1160 to U+11FF are the vowels and finals of Hangul, drawn into the syllable before them.
    if unicodedata.category(char) in ("Mn", "Me") or "\u1160" <= char <= "\u11ff":
        return 0
    return 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1


def cells(text: str) -> int:
    """Return the terminal cells that a visible text takes."""
    return sum(map(char_cells, text))
