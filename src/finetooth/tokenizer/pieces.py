"""The bytes of text that each id of a vocabulary stands for."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

import tokenizers

_BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>\Z")


@cache
def byte_level_alphabet() -> dict[str, int]:
    """Return the byte that each character of a byte-level vocabulary stands for.

    GPT-2's table (Radford et al. 2019, encoder.py): printable Latin-1 stands for itself, the others for U+0100 on.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {chr(byte): byte for byte in printable}
    others = (byte for byte in range(256) if byte not in set(printable))
    return table | {chr(0x100 + number): byte for number, byte in enumerate(others)}


def vocabulary_string(backend: tokenizers.Tokenizer, token_id: int) -> str | None:
    """Return the vocabulary's string for an id; `None` for any number that is no id of it, such as -100."""
    # The library counts in 32 bits without a sign, and raises OverflowError for any other number.
    piece: str | None = backend.id_to_token(token_id) if 0 <= token_id < 1 << 32 else None
    return piece


def components(backend: tokenizers.Tokenizer) -> dict[str, Any]:
    """Return a tokenizer's JSON without its vocabulary's content: normalizer, pre-tokenizer, decoder and so on."""
    whole: dict[str, Any] = json.loads(backend.to_str())
    model = whole.get("model") or {}
    whole["model"] = {key: value for key, value in model.items() if key not in ("vocab", "merges")}
    return whole


def kinds(component: Any) -> set[str]:
    """Return the `type` of a component and of all that it is made of."""
    found: set[str] = set()
    if isinstance(component, dict):
        if isinstance(component.get("type"), str):
            found.add(component["type"])
        for value in component.values():
            found |= kinds(value)
    elif isinstance(component, list):
        for value in component:
            found |= kinds(value)
    return found


class PieceBytes(dict[int, bytes | None]):
    """Look up the bytes of text that an id stands for.

    Known for byte-level vocabularies and for those that write a space as `▁`, with or without byte fallback; unknown
    (`None`) for others, such as WordPiece, whose pieces do not tell where spaces were.
    """

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        super().__init__()
        self._backend = backend
        parts = components(backend)
        types = kinds([parts.get(name) for name in ("normalizer", "pre_tokenizer", "decoder")])
        self.byte_level = "ByteLevel" in types
        self.space_mark = not self.byte_level and (
            "Metaspace" in types
            or "▁" in json.dumps([parts.get("normalizer"), parts.get("decoder")], ensure_ascii=False)
        )
        self._added = {index: token.content for index, token in backend.get_added_tokens_decoder().items()}
        unknown = parts["model"].get("unk_token")
        self._unknown = backend.token_to_id(unknown) if isinstance(unknown, str) else parts["model"].get("unk_id")

    def __missing__(self, token_id: int) -> bytes | None:
        found = self[token_id] = self._find(token_id)
        return found

    def _find(self, token_id: int) -> bytes | None:
        if token_id == self._unknown:
            return None
        if token_id in self._added:
            added = self._added[token_id]
            # Gemma adds `▁▁` and longer, which come from spaces by way of the model and not as added tokens.
            return (added.replace("▁", " ") if self.space_mark else added).encode()
        piece = vocabulary_string(self._backend, token_id)
        if piece is None:
            return None
        if self.byte_level:
            alphabet = byte_level_alphabet()
            return bytes(alphabet[character] for character in piece) if all(c in alphabet for c in piece) else None
        if not self.space_mark:
            return None
        match = _BYTE_PIECE.match(piece)
        return bytes([int(match[1], 16)]) if match else piece.replace("▁", " ").encode("utf-8", "surrogatepass")
