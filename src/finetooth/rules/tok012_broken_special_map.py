"""TOK012: special tokens that are empty, missing, one where two are due, or ids without a token."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from finetooth.rules.bos import bos_of
from finetooth.rules.facts import SetupFacts
from finetooth.rules.rule import Because, Hit, setup_rule
from finetooth.tokenizer.files import SPECIAL_TOKEN_KEYS
from finetooth.tokenizer.pieces import vocabulary_string
from finetooth.types import Severity

_RARE = "\U00013000"
"""An Egyptian hieroglyph: no small vocabulary has it, so a tokenizer without byte fallback gives its unknown token."""

_BOS_IS_EOS_BY_DESIGN = frozenset({"opt"})
"""Model types that were trained with their EOS in front (OPT, Zhang et al. 2022: every text begins with `</s>`)."""


@setup_rule("TOK012", "broken-special-map", severity="warning")
def broken_special_map(facts: SetupFacts) -> Iterator[Hit]:
    """Find special tokens that are declared in a way that cannot work.

    ## What it does
    Reads tokenizer_config.json, special_tokens_map.json, config.json and generation_config.json, and finds: a special
    token that is the empty text; no EOS at all, so that nothing says where inference stops; a BOS that is the EOS and
    is really put in front of texts; an unknown token that is the EOS and stands for characters in text; and ids that no
    token of the vocabulary has. GPT-2's one token for all, never put in front, is by design, and so is a model without
    BOS.

    ## Why it is bad
    Trainers append and mask by these names and ids. An empty EOS appends nothing; one with an id that is not there
    never matches; a BOS that is the EOS teaches that a text begins where it ends.

    ## Example
    `"eos_token": ""` in special_tokens_map.json, as in mirrors of Llama from 2023.

    ## Fix
    Write the model's real tokens into tokenizer_config.json, and their ids into config.json and generation_config.json.

    ## Fix safety
    None is offered: which token is the right one is known from the model's own release alone.

    ## Sources
    FastChat #1290; Chinese-Vicuna #59; Axolotl skips ids that are 0 or absent when it aligns them.
    """
    yield from _empty(facts)
    yield from _missing_eos(facts)
    yield from _bos_is_eos(facts)
    yield from _unknown_is_eos(facts)
    yield from _ids_without_token(facts)


def _hit(
    facts: SetupFacts,
    cause: str,
    values: Mapping[str, Any],
    evidence: Mapping[str, Any],
    severity: Severity | None = None,
    folded_under: str | None = None,
) -> Hit:
    return Hit(
        f"rules_tok.special_map_{cause.replace('-', '_')}",
        values=values,
        help=f"rules_tok.special_map_{cause.replace('-', '_')}_help",
        because=Because(
            code=cause,
            key=f"rules_tok.special_map_{cause.replace('-', '_')}_because",
            values=values,
            evidence={**evidence, "file": values["file"]},
        ),
        severity=severity,
        folded_under=folded_under,
        where=str(values["file"]),
        reproduction=_reproduction(facts, str(values["file"]), str(values.get("key", "eos_token"))),
    )


def _reproduction(facts: SetupFacts, file: str, key: str) -> tuple[str, ...]:
    if facts.files is None or not file.endswith(".json"):
        return ()
    return (f"import json; f = json.load(open({file!r}))", f"print(repr(f.get({key!r})))")


def _empty(facts: SetupFacts) -> Iterator[Hit]:
    declared: dict[str, str] = {}
    if facts.files is not None:
        # special_tokens_map.json counts where tokenizer_config.json has no added_tokens_decoder; what is empty there
        # is broken either way, since other software reads it.
        for name in ("special_tokens_map.json", "tokenizer_config.json"):
            for key, value in facts.files.json(name).items():
                text = value.get("content") if isinstance(value, Mapping) else value
                if key in SPECIAL_TOKEN_KEYS and text == "":
                    declared[key] = str(facts.files.directory / name)
    for key, text in facts.tokenizer.special_tokens.items():
        if text == "" and key in SPECIAL_TOKEN_KEYS:
            declared.setdefault(key, facts.file_of(key))
    for key, file in declared.items():
        values = {"key": key, "file": file}
        yield _hit(facts, "empty", values, {"key": key, "value": ""}, "error" if key == "eos_token" else None)


def _missing_eos(facts: SetupFacts) -> Iterator[Hit]:
    if facts.tokenizer.eos_token is not None or facts.stop_ids:
        return
    file = str(facts.files.directory / "tokenizer_config.json") if facts.files is not None else facts.tokenizer.name
    evidence = {"special_tokens": dict(facts.tokenizer.special_tokens), "stop_ids": []}
    yield _hit(facts, "no-eos", {"file": file}, evidence, folded_under="LAB003")


def _bos_is_eos(facts: SetupFacts) -> Iterator[Hit]:
    bos = bos_of(facts)
    if bos is None or not bos.declared or bos.token_id != facts.tokenizer.eos_id or not (bos.added or bos.spelled):
        return
    by_design = facts.files is not None and facts.files.model_config.get("model_type") in _BOS_IS_EOS_BY_DESIGN
    template = facts.template
    adder = bos.adder if bos.added else template.name if template is not None else ""
    values = {"token": bos.token, "token_id": bos.token_id, "file": facts.file_of("bos_token"), "adder": adder}
    evidence = {
        "bos_token": bos.token,
        "eos_token": facts.tokenizer.eos_token,
        "token_id": bos.token_id,
        "tokenizer_adds": bos.added,
        "template_spells": bos.spelled,
    }
    yield _hit(facts, "bos-is-eos", values, evidence, "info" if by_design else None)


def _unknown_is_eos(facts: SetupFacts) -> Iterator[Hit]:
    tokenizer = facts.tokenizer
    if tokenizer.eos_id is None or tokenizer.token_id("unk_token") != tokenizer.eos_id:
        return
    ids = tokenizer.encode([_RARE], add_special_tokens=False)[0].ids
    if tokenizer.eos_id not in ids:
        return  # nothing ever becomes the unknown token (byte-level vocabularies, GPT-2)
    values = {"token": tokenizer.eos_token, "token_id": tokenizer.eos_id, "file": facts.file_of("unk_token")}
    yield _hit(facts, "unknown-is-eos", values, {"text": _RARE, "ids": ids, "eos_token_id": tokenizer.eos_id})


def _ids_without_token(facts: SetupFacts) -> Iterator[Hit]:
    backend = facts.tokenizer.backend
    named: list[tuple[str, str, Any]] = []
    for key, text in facts.tokenizer.special_tokens.items():
        if text and backend.token_to_id(text) is None:
            values = {"key": key, "token": text, "file": facts.file_of(key)}
            yield _hit(facts, "token-without-id", values, {"key": key, "token": text})
    if facts.files is None:
        return
    for name, config in (
        ("generation_config.json", facts.files.generation_config),
        ("config.json", facts.files.model_config),
    ):
        for key in ("bos_token_id", "eos_token_id", "pad_token_id"):
            value = config.get(key)
            for token_id in value if isinstance(value, list) else [value]:
                # A negative padding id says that there is none (Llama 1).
                if isinstance(token_id, int) and not (token_id < 0 and key == "pad_token_id"):
                    named.append((name, key, token_id))
    size = backend.get_vocab_size(with_added_tokens=True)
    for name, key, token_id in named:
        if vocabulary_string(backend, token_id) is not None:
            continue
        found = {"key": key, "token_id": token_id, "file": str(facts.files.directory / name), "size": size}
        yield _hit(facts, "id-without-token", found, {"key": key, "token_id": token_id, "vocabulary_size": size})
