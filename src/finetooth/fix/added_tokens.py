"""Edit: special tokens are matched as they are spelled.

An added token with `normalized: true` is searched for in the normalized text by its own text normalized: where the
normalizer puts a `▁` in front, `</s>` becomes `▁</s>`, and after `。` it is cut into pieces. The remedy is the flag
`normalized: false`, in every file that declares the token with flags, and `single_word: false` where a special token is
kept from matching inside a word (transformers #23833, "normalization=False should be used"; #23818).

Safe: the token keeps its id and its text. Where a space stood before the token and was swallowed by the pattern, it
becomes a token of its own, as in Llama 2's own tokenizer.

Source of the files that declare flags, and of which one wins: `finetooth.tokenizer.declared`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from finetooth.fix.edits import Edit, Left, Outcome
from finetooth.fix.jsontext import Step, set_values
from finetooth.fix.modelcopy import ModelCopy
from finetooth.fix.workbench import Workbench
from finetooth.messages import say
from finetooth.rules.facts import SetupFacts
from finetooth.rules.literals import CONTROL, broken_contexts, emitted_by_template

CODES = ("TOK003", "LAB001")
_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


def repair_added_tokens(bench: Workbench) -> Iterator[Outcome]:
    """Set the flags of special tokens so that each is found after every character."""
    if not bench.wants(*CODES):
        return
    facts = bench.facts()
    # A pattern that is found wherever the token stands, though it is not its text, does no harm.
    patterns = [
        literal for literal in facts.normalized if _is_control(facts, literal) and broken_contexts(facts, literal)
    ]
    words = [
        token.content
        for token in facts.tokenizer.added_tokens.values()
        if token.single_word and _is_control(facts, token.content) and broken_contexts(facts, token.content)
    ]
    literals = list(dict.fromkeys((*patterns, *words)))
    if not literals:
        return
    with bench.trial() as trial:
        flags = {
            literal: [name for name, tokens in (("normalized", patterns), ("single_word", words)) if literal in tokens]
            for literal in literals
        }
        files = _clear_flags(bench.copy, flags)
        bench.changed()
        after = bench.facts()
        mended = [literal for literal in literals if not broken_contexts(after, literal)]
        unchanged = [literal for literal in patterns if literal in after.normalized]
        if files and not unchanged:
            trial.keep()
    if files and not unchanged:
        yield Edit(
            name="added-token-flags",
            codes=CODES,
            text=say(
                "fix.token_flags",
                tokens=" ".join(literals),
                flags=", ".join(f"{flag}: false" for flag in _flags_of(patterns, words)),
                files=", ".join(sorted(files)),
            ),
        )
    for literal in literals:
        if literal not in mended:
            yield _left(after, literal)


def _flags_of(patterns: list[str], words: list[str]) -> list[str]:
    return [flag for flag, tokens in (("normalized", patterns), ("single_word", words)) if tokens]


def _is_control(facts: SetupFacts, literal: str) -> bool:
    """Return whether a token is one of control; words that a user has added are to follow the normalizer."""
    token = facts.tokenizer.added_tokens[facts.special_ids[literal]]
    return (
        token.special
        or literal in facts.stops.literals
        or literal in facts.tokenizer.special_tokens.values()
        or CONTROL.fullmatch(literal) is not None
        or literal in emitted_by_template(facts)
    )


def _clear_flags(copy: ModelCopy, flags: Mapping[str, Sequence[str]]) -> set[str]:
    """Set flags of tokens to false wherever a file declares a token with flags, and return the files that changed."""
    changed = set()
    for name in _FILES:
        text = copy.read(name)
        if text is None:
            continue
        changes = {}
        for path, declared in declarations(name, json.loads(text)):
            for flag in flags.get(declared["content"], ()):
                # What is left out is false, but for `normalized` of a token that is not special.
                if declared.get(flag, flag == "normalized" and not declared.get("special", False)):
                    changes[*path, flag] = False
        if changes and copy.write(name, set_values(text, changes)):
            changed.add(name)
    return changed


def declarations(name: str, content: Any) -> Iterator[tuple[Sequence[Step], dict[str, Any]]]:
    """Yield the path and content of every object that declares a token with its flags in a file."""

    def of_list(path: list[Step], values: Any) -> Iterator[tuple[list[Step], Any]]:
        if isinstance(values, list):
            yield from (([*path, index], value) for index, value in enumerate(values))

    candidates: list[tuple[list[Step], Any]] = []
    if name == "tokenizer.json":
        candidates += of_list(["added_tokens"], content.get("added_tokens"))
    else:
        decoder = content.get("added_tokens_decoder")
        if isinstance(decoder, dict):
            candidates += [(["added_tokens_decoder", index], value) for index, value in decoder.items()]
        candidates += [([key], value) for key, value in content.items() if key.endswith("_token")]
        for key in ("extra_special_tokens", "additional_special_tokens"):
            candidates += of_list([key], content.get(key))
    for path, value in candidates:
        if isinstance(value, dict) and "content" in value:
            yield path, value


def _left(facts: SetupFacts, literal: str) -> Left:
    """Say what else keeps a token from being found."""
    contexts = " ".join(repr(before) for before in broken_contexts(facts, literal))
    token = facts.tokenizer.added_tokens[facts.special_ids[literal]]
    if facts.tokenizer.backend.encode_special_tokens and token.special:
        return Left(codes=CODES, text=say("fix.still_split_flag", token=literal), help=say("fix.still_split_flag_help"))
    if literal in facts.normalized:
        return Left(
            codes=CODES,
            text=say("fix.still_normalized", token=literal, tokenizer_class=facts.tokenizer.tokenizer_class),
            help=say("fix.still_normalized_help", token=literal),
        )
    overlapping = [
        other
        for other in facts.special_ids
        if other != literal and (other.endswith(literal[:1]) or literal in other or other[-1:] in literal)
    ]
    return Left(
        codes=CODES,
        text=say("fix.still_split", token=literal, contexts=contexts, others=" ".join(overlapping[:3]) or "-"),
    )
