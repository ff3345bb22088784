"""TOK001: a row begins with two BOS."""

from __future__ import annotations

from collections.abc import Iterator

from finetooth.rules.bos import Bos, bos_of
from finetooth.rules.row import Row
from finetooth.rules.rule import Because, Hit, rule

_SOURCES = ("text", "content", "template", "tokenizer")


@rule("TOK001", "double-bos", severity="warning", fix="safe")
def double_bos(row: Row) -> Iterator[Hit]:
    """Find rows that begin with the BOS twice.

    ## What it does
    Looks at the first two ids. Where both are the BOS, it says who put each there: one that has characters of the text
    was spelled, by the row's own text, by the chat template or by a message's content; one that has none was added by
    the tokenizer's post-processor. Both are named, with the files that they stand in.

    ## Why it is bad
    The model was trained with one BOS. With two, every position is shifted by one that it never saw, and training and
    inference differ wherever the other side adds one alone. Nothing fails; the answers get slightly worse.

    ## Example
    `<s>[INST] ...` through a tokenizer whose post-processor adds `<s>`: ids `1, 1, 29961, ...`.

    ## Fix
    Take it out on one side: strip it from the texts, or encode rendered conversations with `add_special_tokens=False`.

    ## Fix safety
    None is offered: the code that encodes at training is the user's own. Take out one, and check again, so that the
    only BOS is not lost with it (TOK002).

    ## Sources
    TRL #1400, #1912, PR #1114; alignment-handbook #127; OpenRLHF #393; open-r1 PR #462; unsloth PR #10312 (whose
    first fix removed the only BOS).
    """
    ids = row.input_ids
    if len(ids) < 2 or ids[0] != ids[1]:
        return
    bos = bos_of(row.facts)
    if bos is None or ids[0] != bos.token_id or _is_padding(row, bos):
        return
    sources = sorted((_source(row, index, bos) for index in (0, 1)), key=_SOURCES.index)
    if row.facts.way == "as-is":
        sources = ["given"]
    code = "+".join(sources)
    template = row.facts.template
    values = {
        "token": bos.token,
        "file": bos.adder,
        "template": template.name if template is not None else "",
    }
    evidence = {
        "ids": ids[:2],
        "pieces": row.facts.pieces(ids[:2]),
        "ranges": [list(one) for one in row.offsets[:2]],
        "tokenizer_adds": bos.added,
        "template_spells": bos.spelled,
    }
    if "tokenizer" in sources:
        evidence |= {"file": bos.adder, "post_processor": bos.post_processor}
    if "template" in sources:
        evidence["template"] = values["template"]
    yield Hit(
        "rules_tok.double_bos",
        values=values,
        help=f"rules_tok.double_bos_help_{_remedy(sources)}",
        because=Because(code=code, key=f"rules_tok.double_bos_{'_'.join(sources)}", values=values, evidence=evidence),
        first_token=0,
        end_token=2,
        fixable=_remedy(sources) == "text" and row.record.text is not None,
        reproduction=() if "given" in sources else row.facts.reproduction(row.text[:24], add_special_tokens=bos.added),
    )


def _remedy(sources: list[str]) -> str:
    return "given" if "given" in sources else "text" if "text" in sources else "render"


def _source(row: Row, index: int, bos: Bos) -> str:
    """Return who put a BOS there."""
    start, end = row.offsets[index]
    if end <= start:
        return "tokenizer"
    if row.record.messages is None:
        return "text"
    inside = any(span.start < end and span.end > start and span.role != "template" for span in row.spans)
    return "content" if inside else "template"


def _is_padding(row: Row, bos: Bos) -> bool:
    """Return whether what looks like BOS may be padding on the left, in rows of ids without an attention mask."""
    return row.facts.way == "as-is" and bos.token_id == row.facts.tokenizer.pad_id and not row.record.attention_mask
