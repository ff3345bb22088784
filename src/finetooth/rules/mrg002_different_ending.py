"""MRG002: models that end their answers in different ways are merged, or one that does not end them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from finetooth.errors import FinetoothError
from finetooth.rules.facts import SetupFacts
from finetooth.rules.literals import broken_contexts
from finetooth.rules.measured import measured
from finetooth.rules.merge_facts import MergeFacts, MergeInput
from finetooth.rules.rule import Because, Hit, NotRun, merge_rule
from finetooth.types import Severity

_CONVERSATION = (
    {"role": "user", "content": "こんにちは。"},
    {"role": "assistant", "content": "Good day."},
    {"role": "user", "content": "Who are you?"},
)


@merge_rule("MRG002", "different-ending", severity="warning")
def different_ending(facts: MergeFacts) -> Iterator[Hit | NotRun]:
    """Find models of a merge that end their answers differently, or that do not end them.

    ## What it does
    Compares every model with the one whose files the merged model gets, and asks each for its own ending. The causes:

    - `eos`: the tokenizers name different EOS tokens.
    - `stop-set`: a model stops at tokens at which the merged model will not stop; information where it is the other way
      round.
    - `template`: a conversation is rendered to different texts, or the merged model gets no chat template.
    - `pad`: different padding tokens, for information: merging does not use them, further training does.
    - `splits-eos`: a tokenizer cuts its own EOS token into pieces where text stands before it. A model that was trained
      with it has most likely learned to write the letters of `</s>`.
    - `measured`: the run that a model comes from (`DIR/model`) has seen it leak its terminator or not stop, in
      probe.json; without one, its labels teach no stop, by findings.json.

    ## Why it is bad
    The habit of stopping is a weight like any other, and is averaged like any other. A merge of a model that stops with
    one that writes `</s>` as text does now the one and now the other. And a merged model gets the files of one model
    alone: where its stop set lacks the token that the others learned, they all run on.

    ## Example
    A tokenizer whose `</s>` has `normalized: true`, merged with one that is right; two ChatML models merged onto a base
    whose EOS is `<|endoftext|>`, and whose generation_config.json the merged model gets.

    ## Fix
    `tokenizer_source` names the model whose ending is right; `chat_template: auto` takes the template of most models; a
    model that leaks is best trained again with labels that stop (`finetooth check` finds why). `finetooth probe` says
    afterwards how the merged model ends.

    ## Fix safety
    None is automatic: which ending is right is a choice.

    ## Sources
    mergekit #328 is the nearest thread; transformers #23833 for `normalized`. The limits on rates are judgement.
    """
    owner = facts.owner
    for model in facts.others:
        if owner.setup is None or model.setup is None:
            lacking = owner if owner.setup is None else model
            yield NotRun("rules_mrg.no_tokenizer", {"model": lacking.name, "reason": lacking.why_no_setup})
            continue
        yield from _special(facts, model, owner.setup, model.setup)
        yield from _stops(facts, model, owner.setup, model.setup)
        yield from _template(facts, model, owner.setup, model.setup)
    for model in dict.fromkeys((owner, *facts.models)):
        if model.setup is not None:
            yield from _splits(facts, model, model.setup)
    for model in facts.models:
        yield from _measured(facts, model)


def _special(facts: MergeFacts, model: MergeInput, ours: SetupFacts, theirs: SetupFacts) -> Iterator[Hit]:
    kinds: tuple[tuple[str, str, Severity | None], ...] = (("eos", "eos_token", None), ("pad", "pad_token", "info"))
    for cause, key, severity in kinds:
        own, other = ours.tokenizer.special_tokens.get(key), theirs.tokenizer.special_tokens.get(key)
        # A model without the token has nothing that could be lost.
        if other is not None and other != own:
            values = {"token": other, "file": theirs.file_of(key), "owner_token": own or "-", "key": key}
            evidence = {model.name: other, facts.owner.name: own, "file": values["file"]}
            yield _differs(facts, model, cause, values, evidence, severity)


def _stops(facts: MergeFacts, model: MergeInput, ours: SetupFacts, theirs: SetupFacts) -> Iterator[Hit]:
    own, other = _stop_pieces(ours), _stop_pieces(theirs)
    lost, gained = sorted(other - own), sorted(own - other)
    if lost or (gained and other):
        severity: Severity | None = None if lost else "info"
        values = {
            "lost": " ".join(lost) or "-",
            "stops": " ".join(sorted(other)),
            "owner_stops": " ".join(sorted(own)) or "-",
        }
        evidence = {model.name: sorted(other), facts.owner.name: sorted(own), "lost": lost}
        yield _differs(facts, model, "stop-set", values, evidence, severity)


def _stop_pieces(setup: SetupFacts) -> set[str]:
    # By their texts: the vocabulary may hold the pattern of a token that is normalized.
    texts = {index: token.content for index, token in setup.tokenizer.added_tokens.items()}
    return {texts.get(index) or setup.tokenizer.piece(index) for index in setup.stop_ids}


def _template(facts: MergeFacts, model: MergeInput, ours: SetupFacts, theirs: SetupFacts) -> Iterator[Hit]:
    if theirs.template is None or facts.chat_template is not None:
        return  # a template that the configuration names is chosen with open eyes
    own, other = _rendered(ours), _rendered(theirs)
    if own is not None and own == other:
        return
    values = {"rendered": _brief(other), "owner_rendered": _brief(own)}
    key = "rules_mrg.ending_no_template" if own is None else None
    yield _differs(facts, model, "template", values, {model.name: other, facts.owner.name: own}, None, key=key)


def _rendered(setup: SetupFacts) -> str | None:
    if setup.template is None:
        return None
    try:
        return setup.template.render([dict(turn) for turn in _CONVERSATION], add_generation_prompt=True)
    except FinetoothError:
        return setup.template.source  # it cannot be rendered; what it is can be compared all the same


def _brief(text: str | None) -> str:
    one_line = (text or "").replace("\n", "\\n")
    return one_line if len(one_line) <= 60 else f"{one_line[:59]}…"


def _splits(facts: MergeFacts, model: MergeInput, setup: SetupFacts) -> Iterator[Hit]:
    literal = setup.tokenizer.eos_token
    if not literal or setup.tokenizer.eos_id is None or setup.tokenizer.backend.encode_special_tokens:
        return
    broken = broken_contexts(setup, literal)
    if not broken:
        return
    before = next((context for context in broken if context == "。"), broken[0])
    ids = setup.ids_in_context(before, literal)
    values: dict[str, Any] = {
        "token": literal,
        "before": before,
        "ids": ids,
        "file": setup.file_of("added_tokens_decoder"),
        "whole": ", ".join(_whole(facts, model)) or "-",
    }
    yield _hit(
        model,
        "rules_mrg.ending_split",
        "splits-eos",
        values,
        {
            "token": literal,
            "token_id": setup.tokenizer.eos_id,
            "previous_character": before,
            "ids": ids,
            "pieces": setup.pieces(ids),
            "normalized": literal in setup.normalized,
            "normalizer": setup.normalizer_name,
            "contexts": list(broken),
            "tokenizer_class": setup.tokenizer.tokenizer_class,
            "unchecked": setup.tokenizer.unchecked,
            "whole_in": _whole(facts, model),
        },
        help="rules_mrg.ending_split_help",
        where=values["file"],
        reproduction=setup.reproduction(f"{before}{literal}"),
    )


def _whole(facts: MergeFacts, split: MergeInput) -> list[str]:
    """Return the models whose tokenizer keeps its EOS token whole."""
    found = []
    for model in dict.fromkeys((facts.owner, *facts.models)):
        token = model.setup.tokenizer.eos_token if model.setup is not None else None
        if model is not split and model.setup is not None and token and not broken_contexts(model.setup, token):
            found.append(model.name)
    return found


def _measured(facts: MergeFacts, model: MergeInput) -> Iterator[Hit]:
    seen = measured(model.run) if model.run is not None else None
    if seen is None or seen.is_healthy:
        return
    healthy = [
        one.name for one in facts.models if one.run is not None and (own := measured(one.run)) and own.is_healthy
    ]
    values = {
        "file": seen.file,
        "stop": f"{seen.stop_rate:.0%}",
        "leak": f"{seen.leak_rate:.0%}",
        "num": seen.num_prompts or 0,
        "healthy": ", ".join(healthy) or "-",
    }
    yield _hit(
        model,
        "rules_mrg.ending_leaks" if seen.leak_rate > 0 else "rules_mrg.ending_runs_on",
        "measured",
        values,
        {
            "file": seen.file,
            "num_prompts": seen.num_prompts,
            "stop_rate": seen.stop_rate,
            "leak_rate": seen.leak_rate,
            "healthy": healthy,
        },
        key="rules_mrg.ending_measured" if seen.num_prompts is not None else "rules_mrg.ending_predicted",
        help="rules_mrg.ending_measured_help",
        where=seen.file,
    )


def _differs(
    facts: MergeFacts,
    model: MergeInput,
    cause: str,
    values: dict[str, Any],
    evidence: dict[str, Any],
    severity: Severity | None,
    *,
    key: str | None = None,
) -> Hit:
    word = cause.replace("-", "_")
    return _hit(
        model,
        f"rules_mrg.ending_{word}",
        cause,
        {"owner": facts.owner.name, **values},
        evidence,
        key=key or f"rules_mrg.ending_{word}_because",
        help=f"rules_mrg.ending_{'template' if cause == 'template' else 'differs'}_help",
        severity=severity,
        where=str(model.directory),
    )


def _hit(
    model: MergeInput,
    message: str,
    cause: str,
    values: dict[str, Any],
    evidence: dict[str, Any],
    *,
    key: str | None = None,
    help: str,
    severity: Severity | None = None,
    where: str,
    reproduction: tuple[str, ...] = (),
) -> Hit:
    values = {"model": model.name, **values}
    return Hit(
        message,
        values=values,
        help=help,
        because=Because(
            code=cause, key=key or f"{message}_because", values=values, evidence={"model": model.name, **evidence}
        ),
        severity=severity,
        where=where,
        reproduction=reproduction,
    )
