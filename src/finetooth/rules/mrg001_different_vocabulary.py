"""MRG001: models whose tokens, ids or embedding rows do not stand for the same are merged row by row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from finetooth.rules.merge_facts import MergeFacts, MergeInput
from finetooth.rules.rule import Because, Hit, NotRun, merge_rule
from finetooth.types import Severity

_SHOWN = 5
"""Tokens that are named in evidence."""


@merge_rule("MRG001", "different-vocabulary", severity="error")
def different_vocabulary(facts: MergeFacts) -> Iterator[Hit | NotRun]:
    """Find models of a merge that disagree in tokens, ids or rows of embeddings.

    ## What it does
    Compares every model with the one whose tokenizer the merged model gets: all tokens with their ids, added tokens
    among them, and the rows of the embeddings, which are often more than the tokens. The causes:

    - `other-ids`: both know a token, and give it different ids.
    - `other-tokens`: one knows tokens that the other does not. A warning where no id stands for two tokens.
    - `rows-differ`: the embeddings have different numbers of rows, and tokens stand in those that one lacks.
    - `padding-rows`: the same, and the further rows belong to no token.

    An error where the configuration chooses no tokenizer, information where it does: rows are then put into the order
    of one vocabulary before they are merged.

    ## Why it is bad
    Row 32000 is averaged with row 32000, whatever they stand for. `<|im_end|>` of one model and `<pad>` of another
    become one vector that is neither, and the merged model does not stop, or writes noise around its turns.

    ## Example
    A model whose tokenizer got `<|im_start|>` and `<|im_end|>` as 32000 and 32001, merged with one that has `<pad>` at
    32000. Qwen2 has 151,936 rows for 151,665 tokens; a fine-tune that was resized to its tokenizer has 151,665.

    ## Fix
    `tokenizer_source: union`, which gives every token one row and takes each model's own; or `base`, or one model.

    ## Fix safety
    None is automatic: which tokens the merged model is to have is a choice.

    ## Sources
    mergekit #328 (sizes that differ); LLaMA-Factory embedding.py and #3125 (151665 and 151936); open-instruct #190;
    Chinese-LLaMA-Alpaca #737.
    """
    owner = facts.owner
    if not facts.others:
        return
    if not owner.vocabulary:
        yield NotRun("rules_mrg.no_tokenizer", {"model": owner.name, "reason": owner.why_no_setup})
    for other in facts.others:
        if owner.vocabulary and not other.vocabulary:
            yield NotRun("rules_mrg.no_tokenizer", {"model": other.name, "reason": other.why_no_setup})
        if owner.vocabulary and other.vocabulary:
            yield from _tokens(facts, other)
        yield from _rows(facts, other)


def _tokens(facts: MergeFacts, other: MergeInput) -> Iterator[Hit]:
    mine, theirs = facts.owner.vocabulary, other.vocabulary
    moved = [token for token, index in theirs.items() if mine.get(token, index) != index]
    if moved:
        shown = sorted(moved, key=lambda token: theirs[token])[:_SHOWN]
        first = shown[0]
        yield _hit(
            facts,
            other,
            "other-ids",
            values={"num": len(moved), "token": first, "theirs": theirs[first], "ours": mine[first]},
            evidence={
                "tokens": len(moved),
                "first": [[token, theirs[token], mine[token]] for token in shown],
                "vocabulary": [len(theirs), len(mine)],
            },
        )
    added = sorted((token for token in theirs if token not in mine), key=lambda token: theirs[token])
    lost = sorted((token for token in mine if token not in theirs), key=lambda token: mine[token])
    if added or lost:
        held = set(mine.values()) if added else set()
        clash = [token for token in added if theirs[token] in held]
        yield _hit(
            facts,
            other,
            "other-tokens",
            values={
                "added": len(added),
                "lost": len(lost),
                "token": (added or lost)[0],
                "token_id": theirs[added[0]] if added else mine[lost[0]],
                "holder": other.name if added else facts.owner.name,
            },
            evidence={
                "only_there": len(added),
                "only_in_the_tokenizer": len(lost),
                "first": [[token, theirs[token]] for token in added[:_SHOWN]],
                "first_lacking": [[token, mine[token]] for token in lost[:_SHOWN]],
                "ids_of_two_tokens": len(clash),
            },
            # Tokens behind all others, in rows that are padding elsewhere, are lost; nothing is mixed up.
            severity="warning" if not clash else None,
        )


def _rows(facts: MergeFacts, other: MergeInput) -> Iterator[Hit]:
    ours, theirs = facts.owner.num_rows, other.num_rows
    if ours is None or theirs is None or ours == theirs:
        return
    ids = [index for model in (facts.owner, other) for index in model.vocabulary.values()]
    last = max(ids, default=None)
    is_padding = last is not None and last < min(ours, theirs)
    yield _hit(
        facts,
        other,
        "padding-rows" if is_padding else "rows-differ",
        values={"rows": theirs, "our_rows": ours, "last": "-" if last is None else last},
        evidence={"rows": theirs, "rows_of_the_tokenizer_s_model": ours, "last_id": last},
    )


def _hit(
    facts: MergeFacts,
    other: MergeInput,
    cause: str,
    *,
    values: dict[str, Any],
    evidence: dict[str, Any],
    severity: Severity | None = None,
) -> Hit:
    is_settled = facts.tokenizer is not None
    values = {"model": other.name, "owner": facts.owner.name, "tokenizer": facts.tokenizer, **values}
    paths = [str(one.directory / "tokenizer.json") for one in (facts.owner, other)]
    return Hit(
        f"rules_mrg.vocabulary_{'settled' if is_settled else 'differs'}",
        values=values,
        help=None if is_settled else "rules_mrg.vocabulary_help",
        because=Because(
            code=cause,
            key=f"rules_mrg.vocabulary_{cause.replace('-', '_')}",
            values=values,
            evidence={"models": [facts.owner.name, other.name], **evidence},
        ),
        severity="info" if is_settled else severity,
        where=str(other.directory),
        reproduction=()
        if "rows" in evidence
        else (
            f"from tokenizers import Tokenizer; a, b = map(Tokenizer.from_file, {paths!r})",
            f"print(a.token_to_id({values['token']!r}), b.token_to_id({values['token']!r}))",
        ),
    )
