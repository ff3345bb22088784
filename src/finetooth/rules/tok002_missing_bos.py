"""TOK002: a row has no BOS, where the model was trained with one."""

from __future__ import annotations

from collections.abc import Iterator

from finetooth.rules.bos import Bos, bos_of
from finetooth.rules.facts import SetupFacts
from finetooth.rules.row import Row
from finetooth.rules.rule import Because, Hit, rule

_NEED_BOS = frozenset(
    {"llama", "mistral", "mixtral", "gemma", "gemma2", "gemma3", "gemma3_text", "gemma3n", "gemma3n_text"}
)
"""Model types whose tokenizers add a BOS by default: `add_bos_token` of LlamaTokenizer and GemmaTokenizer was true
until transformers 5. Others are judged by what their own files do alone."""

_NEAR = 8
"""A BOS within this many tokens of the start is there: some templates print a prefix before it."""


@rule("TOK002", "missing-bos", severity="warning")
def missing_bos(row: Row) -> Iterator[Hit]:
    """Find rows without a BOS, in set-ups whose model was trained with one.

    ## What it does
    A BOS is due where the files declare one and show that it is used: the tokenizer's post-processor adds it, the
    tokenizer's own chat template begins with it, `add_bos_token` is true, or config.json gives its id for a model type
    that is known to need it. Families without BOS (Qwen, GPT-2) are left alone. Where it is due and a row does not
    begin with it, the rule says which of those who could have put it there did not.

    Where the post-processor alone asks for it, and the model's own template renders conversations without, that is
    told for information: the model may have been trained so.

    ## Why it is bad
    A model that never saw a text without BOS gives nonsense for one: the loss starts high, and part of the training is
    spent on that. At inference the BOS is there again.

    ## Example
    A Llama 2 tokenizer with a ChatML template: the rendered text is encoded without special tokens, and ChatML does not
    spell `<s>`.

    ## Fix
    Let the chat template begin with `{{ bos_token }}`, or repair the tokenizer's post-processor.

    ## Fix safety
    None is offered: whether template or tokenizer is to add it depends on what encodes at inference. If both do, there
    are two (TOK001).

    ## Sources
    unsloth notebooks #251, unsloth #7903; lm-evaluation-harness PR #1465 (perplexity of Gemma 5.9e9 without, 3.46 with
    BOS), #2049; transformers #22794, #30947 (`add_bos_token` without effect).
    """
    due = _due(row.facts)
    if due is None or not row.input_ids:
        return
    bos, why = due
    # A row of ids may be cut from packed documents, whose BOS stand anywhere.
    if bos.token_id in (row.input_ids if row.facts.way == "as-is" else row.input_ids[:_NEAR]):
        return
    code = _cause(row, bos)
    template = row.facts.template
    values = {
        "token": bos.token,
        "file": bos.adder,
        "template": template.name if template is not None else "",
        "way": row.facts.way,
    }
    yield Hit(
        "rules_tok.missing_bos",
        values=values,
        help=f"rules_tok.missing_bos_help_{'template' if code in ('template', 'nobody') else 'tokenizer'}",
        because=Because(
            code=code,
            key=f"rules_tok.missing_bos_{code.replace('-', '_').lower()}",
            values=values,
            evidence={
                "first_ids": row.input_ids[:4],
                "pieces": row.facts.pieces(row.input_ids[:4]),
                "text": row.text[:40],
                "bos_token_id": bos.token_id,
                "due_because": why,
                "tokenizer_adds": bos.added,
                "template_spells": bos.spelled,
                "post_processor": bos.post_processor,
                "file": bos.adder,
            },
        ),
        severity="info" if _is_own_format(row, why) else None,
        first_token=0,
        end_token=1,
        folded_under="TOK003" if code == "TOK003" else None,
        reproduction=row.facts.reproduction(row.text[:24], add_special_tokens=row.record.messages is None),
    )


def _is_own_format(row: Row, why: list[str]) -> bool:
    """Return whether the model's own template leaves the BOS out, and nothing but the post-processor asks for one.

    Such a model may have been trained on conversations without (GLM-4, Phi-3): its release renders them so.
    """
    facts = row.facts
    own = facts.tokenizer.chat_template()
    return (
        why == ["post_processor"]
        and row.record.messages is not None
        and own is not None
        and facts.template is not None
        and facts.template.source == own.source
    )


def _due(facts: SetupFacts) -> tuple[Bos, list[str]] | None:
    """Return the BOS that rows are due, with what shows it; worked out once for each set-up."""
    if "_bos_due" not in facts.__dict__:
        facts.__dict__["_bos_due"] = _find_due(facts)
    known: tuple[Bos, list[str]] | None = facts.__dict__["_bos_due"]
    return known


def _find_due(facts: SetupFacts) -> tuple[Bos, list[str]] | None:
    bos = bos_of(facts)
    if bos is None or not bos.declared:
        return None
    why = []
    if bos.added:
        why.append("post_processor")
    if bos.own_spelled:
        why.append("chat_template")
    if facts.files is not None:
        flag = facts.files.tokenizer_config.get("add_bos_token")
        config = facts.files.model_config
        # Where BOS and EOS are one token (GPT-2), naming a BOS says nothing of its use.
        alone = bos.token_id != facts.tokenizer.eos_id
        if flag is True and alone:
            why.append("add_bos_token")
        if (
            flag is not False
            and alone
            and config.get("model_type") in _NEED_BOS
            and bos.token_id in (config.get("bos_token_id"), facts.files.generation_config.get("bos_token_id"))
        ):
            why.append("model_type")
    return (bos, why) if why else None


def _cause(row: Row, bos: Bos) -> str:
    facts = row.facts
    if row.encoded.num_cut and facts.setup.labels.truncation_mode == "keep_end":
        return "cut"
    if row.text.lstrip().startswith(bos.token):
        return "TOK003" if bos.token in facts.normalized else "spelled-in-pieces"
    if facts.way == "as-is":
        return "given"
    if row.record.messages is not None:
        return "template" if bos.added else "nobody"
    return "tokenizer"
