"""Tokenizers: loading them as the trainer will, their pieces, their files, and exact character ranges."""

from finetooth.tokenizer.files import SPECIAL_TOKEN_KEYS, TokenizerFiles, locate
from finetooth.tokenizer.load import from_transformers, load_tokenizer
from finetooth.tokenizer.tokenizer import Tokenizer

__all__ = ["SPECIAL_TOKEN_KEYS", "Tokenizer", "TokenizerFiles", "from_transformers", "load_tokenizer", "locate"]
