from __future__ import annotations

import pytest

from finetooth.types import Pieces
from finetooth.view.pieces import readable_piece
from tests import small_tokenizers


class ByteLevel:
    """A byte-level vocabulary of one piece, whose bytes are given."""

    name = "byte-level"

    def __init__(self, piece: str, raw: bytes | None) -> None:
        self._piece, self._raw = piece, raw

    def piece(self, token_id: int) -> str:
        return self._piece

    def piece_bytes(self, token_id: int) -> bytes | None:
        return self._raw

    def is_special(self, token_id: int) -> bool:
        return False


@pytest.mark.parametrize(
    ("piece", "raw", "readable"),
    [
        ("Ġä¸ĸçķĮ", " 世界".encode(), "Ġ世界"),
        ("ãģ", b"\xe3\x81", "<0xE3><0x81>"),
        ("Ġanswer", b" answer", "Ġanswer"),
        ("ĊĊ", b"\n\n", "ĊĊ"),
        ("▁Paris", b" Paris", "▁Paris"),
        ("é", "é".encode(), "é"),
        ("お", "お".encode(), "お"),
        ("<0xE3>", b"\xe3", "<0xE3>"),
        ("ãģ", None, "ãģ"),
    ],
)
def test_readable_piece(piece: str, raw: bytes | None, readable: str) -> None:
    pieces: Pieces = ByteLevel(piece, raw)
    assert readable_piece(pieces, 0) == readable


def test_a_trained_byte_level_vocabulary_reads_as_its_text() -> None:
    tokenizer = small_tokenizers.byte_bpe()
    encoding = tokenizer.encode("お嬢様は紅茶が好きですわ。")
    read = [
        readable_piece(ByteLevel(piece, tokenizer.decode([i]).encode()), i)
        for i, piece in zip(encoding.ids, encoding.tokens, strict=True)
        if "\ufffd" not in tokenizer.decode([i])
    ]
    assert "お嬢様" in "".join(read)
