"""Texts that tokenizers stumble over, for hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

_TRAPS = (
    *("お嬢様", "紅茶", "でございますわ。", "the cat", "drinks", "Café", "straße", "x"),
    *(" ", "  ", "   ", "\n", "\r\n", "\t", "\u3000", "\u00a0", "\u200b", "\ufeff"),
    *("🍵", "👩‍👩‍👧", "🇯🇵", "e\u0301", "か\u3099", "\u0301", "ﬁ", "㍿", "①", "ｶﾞ", "𠮷", "\x00", "\x7f", "\ufffd"),
    *("<s>", "</s>", " </s>", "<unk>", "<pad>", "<|im_end|>", "[CLS]", "<0x0A>", "▁", "Ġ", "1234.5", "...", "##ing"),
)

texts = st.lists(st.sampled_from(_TRAPS) | st.text(max_size=6), max_size=12).map("".join)
"""Japanese, emoji, combining characters, runs of white space, CRLF, special tokens spelled out, and anything else.

Text as hypothesis makes it holds no surrogates, which are no text.
"""
