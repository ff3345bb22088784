"""Where a BOS comes from: the file whose post-processor adds it, and the template that spells it."""

from __future__ import annotations

import json
from dataclasses import dataclass

from finetooth.rules.facts import SetupFacts
from finetooth.template import ChatTemplate


@dataclass(frozen=True, slots=True, kw_only=True)
class Bos:
    """The beginning-of-sequence token of a set-up, and who puts it in front of a text."""

    token: str
    token_id: int
    declared: bool
    """Whether a file names it `bos_token`; otherwise it is what the tokenizer adds in front."""
    added: bool
    """Whether the tokenizer adds it to a text that is encoded with special tokens."""
    adder: str
    """The file, or the class, that decides whether it is added."""
    post_processor: str
    """The kind of post-processor that the tokenizer has, empty where it has none."""
    spelled: bool
    """Whether the chat template in force begins with it."""
    own_spelled: bool
    """Whether the tokenizer's own chat template begins with it."""


def bos_of(facts: SetupFacts) -> Bos | None:
    """Return the BOS of a set-up, worked out once; `None` where there is none, which is healthy for many families."""
    if "_bos" not in facts.__dict__:
        facts.__dict__["_bos"] = _bos(facts)
    known: Bos | None = facts.__dict__["_bos"]
    return known


def _bos(facts: SetupFacts) -> Bos | None:
    tokenizer = facts.tokenizer
    token, token_id = tokenizer.bos_token or None, tokenizer.token_id("bos_token")
    declared = token is not None and token_id is not None
    if not declared:
        if not facts.prefix_ids:
            return None
        token_id = facts.prefix_ids[0]
        token = tokenizer.piece(token_id)
    assert token is not None
    assert token_id is not None
    processor = tokenizer.backend.post_processor
    own = tokenizer.chat_template()
    return Bos(
        token=token,
        token_id=token_id,
        declared=declared,
        added=token_id in facts.prefix_ids,
        adder=_adder(facts),
        post_processor="" if processor is None else str(json.loads(processor.__getstate__()).get("type", "")),
        spelled=_spells(facts.template, token),
        own_spelled=_spells(own, token),
    )


def _spells(template: ChatTemplate | None, token: str) -> bool:
    return template is not None and template.user_header.lstrip().startswith(token)


def _adder(facts: SetupFacts) -> str:
    """Return the file whose post-processor is in force, or the class that builds its own."""
    from finetooth.tokenizer.load import GENERIC_CLASSES

    files, tokenizer = facts.files, facts.tokenizer
    if files is not None and (tokenizer.loader == "tokenizers" or tokenizer.tokenizer_class in GENERIC_CLASSES):
        return str(files.tokenizer_json)
    if files is not None and "add_bos_token" in files.tokenizer_config:
        return str(files.directory / "tokenizer_config.json")
    return tokenizer.tokenizer_class
