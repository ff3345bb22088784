"""Personas and tokenizers that the tests share."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from finetooth.config import Config, TokenizerConfig
from finetooth.demo import data_path, tokenizer_path
from finetooth.labels import Setup, make_setup
from finetooth.personas.reading import load_persona
from finetooth.personas.sheet import Persona
from finetooth.records import read_records
from finetooth.tokenizer import Tokenizer, load_tokenizer
from finetooth.types import Record
from tests.small_tokenizers import byte_bpe

SHEET = """\
name: Ada
system_prompt: You are Ada.
tone: [Be brief.]
length: {sentences: 1, min_characters: 5, max_characters: 40}
facts:
  pets:
    - She has a parrot called Kip.
    - {text: She is afraid of spiders., contradicted_by: ['(?i)love(s)? spiders']}
  work: She builds steam engines.
style_patterns: ['\\bindeed\\b']
"""


def sheet(folder: Path, text: str = SHEET) -> Path:
    path = folder / "persona.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def demo_persona(language: str) -> Persona:
    return load_persona(data_path(f"persona.{language}.yaml"))


def demo_records(language: str) -> list[Record]:
    return list(read_records(data_path(f"dialogues.{language}.jsonl")))


@cache
def llama2() -> Setup:
    """Return a set-up of Llama-2 form."""
    return make_setup(load_tokenizer(str(tokenizer_path("supervised"))))


@cache
def chatml() -> Setup:
    """Return a set-up of ChatML form, with a byte-level tokenizer."""
    special: dict[str, Any] = {"bos_token": None, "eos_token": "<|im_end|>", "pad_token": "<pad>"}
    given = {name: text for name, text in special.items() if text is not None}
    tokenizer = Tokenizer(name="byte-level", backend=byte_bpe(), special_tokens=given)
    return make_setup(tokenizer, Config(tokenizer=TokenizerConfig(template="chatml")))


SETUPS = {"llama2": llama2, "chatml": chatml}
