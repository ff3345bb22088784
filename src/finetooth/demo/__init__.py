"""The example data of the package, and where it lies.

Two characters, each with a sheet of facts and dialogues that keep to it, and three tokenizers trained on those
dialogues: one vocabulary, and three ways of ending an answer, of which one is learnt as it should be.

    from finetooth.demo import DIALOGUES, data_path, tokenizer_path

    dialogues = data_path(DIALOGUES["ja"])
    broken = tokenizer_path("split")
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType

TOKENIZERS = ("split", "masked", "supervised")
"""The tokenizers, from the worst to the right one: `</s>` is cut into pieces; it is whole, and masked as the pad; it
is whole and stays a label. Directories of tokenizers/ in the data, made by scripts/make_demo_tokenizers.py."""

DIALOGUES: Mapping[str, str] = MappingProxyType({"ja": "dialogues.ja.jsonl", "en": "dialogues.en.jsonl"})
"""The dialogues by language: rows of `messages`, under one system prompt."""

PERSONAS: Mapping[str, str] = MappingProxyType({"ja": "persona.ja.yaml", "en": "persona.en.yaml"})
"""The sheets of the characters by language: facts, tone, length of an answer, regular expressions of the style."""

EXAMPLE = "example.jsonl"
"""One row of `text`, special tokens spelt in it, as many training sets hold them."""

EXAMPLE_MESSAGES = "example.messages.jsonl"
"""The same row as `messages`."""


def data_path(name: str) -> Path:
    """Return the path of a file or folder of the example data.

    Raises:
        FileNotFoundError: The package has no such data.
    """
    path = Path(str(files(__name__).joinpath("data", *name.split("/"))))
    if not path.exists():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    return path


def tokenizer_path(name: str) -> Path:
    """Return the Hugging Face directory of one of `TOKENIZERS`."""
    return data_path(f"tokenizers/{name}")
