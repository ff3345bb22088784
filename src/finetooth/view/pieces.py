"""Vocabulary strings as a reader can read them."""

from __future__ import annotations

from finetooth.types import Pieces

_SPELLINGS = {" ": "Ġ", "\n": "Ċ", "\t": "ĉ", "\r": "č"}
"""How byte-level vocabularies (GPT-2 and those after it) spell white space."""


def readable_piece(pieces: Pieces, token_id: int) -> str:
    """Return the vocabulary's string for an id, the letters of a byte-level one decoded.

    Byte-level vocabularies spell every byte above 127 as some Latin letter, so that ` 世界` reads `Ġä¸ĸçķĮ`. It comes
    back as `Ġ世界`, and a part of a character as its bytes, `<0xE3><0x81>`, as byte fallback spells them. All other
    pieces come back as they are.
    """
    piece = pieces.piece(token_id)
    if not any("\u00a1" <= char <= "\u0143" for char in piece):
        return piece
    raw = pieces.piece_bytes(token_id)
    if raw is None or raw == piece.encode("utf-8", "surrogatepass"):
        return piece
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return "".join(f"<0x{byte:02X}>" for byte in raw)
    return "".join(_SPELLINGS.get(char, char) for char in text)
