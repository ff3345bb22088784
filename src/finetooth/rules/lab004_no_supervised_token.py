"""LAB004 no-supervised-token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from finetooth.rules.row import Row
from finetooth.rules.rule import Because, Hit, rule
from finetooth.template import ASSISTANT_ROLES
from finetooth.types import Severity

_KNOWN_ROLES = (*ASSISTANT_ROLES, "system", "developer", "user", "tool", "function", "ipython")


@rule("LAB004", "no-supervised-token", severity="error")
def no_supervised_token(row: Row) -> Iterator[Hit]:
    r"""Find rows from which nothing is learned.

    ## What it does
    Reports rows whose labels are all -100, and tries the causes:

    - `marker-tokenized-otherwise`: the response (or instruction) template stands in the text, and its ids alone are not
      those that it has there; both are shown, with ids that match;
    - `marker-holds-pad`: its ids are in the row, one of them is the padding id, and the collator masks that before it
      looks for the marker;
    - `marker-absent`: its text is nowhere in the row;
    - `unknown-roles`: the conversation has no assistant turn, and roles that nobody knows;
    - `no-answer`: the row has no assistant turn, or an empty completion, or the template prints nothing of it;
    - `SEQ001`: a limit of length cut the whole answer off (a warning: trainers that drop the row learn from the rest);
    - `no-generation-block`: loss on the assistant alone, by a template without `{% generation %}`;
    - `turn-keys`: the row's own keys (`train`, `weight`, ...) leave every turn out (information: chosen by the data);
    - `given`: the row holds labels, and all of them are -100.

    ## Why it is bad
    The row costs time and teaches nothing. Where it is every row, the loss is 0 or NaN, and the run "succeeds".

    ## Example
    `--response-template "\nASSISTANT:"` on a Llama-2 tokenizer: alone it begins with `▁`, which does not stand before
    the newline in a text, so that the collator never finds it.

    ## Fix
    By cause; for a marker that is cut otherwise give the ids that it has in the row: `--response-template-ids`.

    ## Fix safety
    Not fixed automatically.

    ## Sources
    TRL #1820, #588 and pull requests #593, #749; TRL #1191 (a marker that holds the pad id); TRL #6668, #3927;
    transformers #34172. Measured on Llama 2: 5 of 6 common markers are not found by their ids alone.
    """
    if row.supervised:
        return
    found = _cause(row)
    code, key, values, evidence, remedy = found
    severity: Severity | None = "info" if code == "turn-keys" else "warning" if code == "SEQ001" else None
    start, end = evidence.pop("characters", (None, None))
    yield Hit(
        "rules_lab.no_supervised_token",
        values=values,
        help=remedy,
        because=Because(code=code, key=key, values=values, evidence=evidence),
        start=0 if start is None else start,
        end=min(len(row.text), 40) if end is None else end,
        severity=severity,
        folded_under="SEQ001" if code == "SEQ001" else None,
        reproduction=row.facts.reproduction(values["marker"]) if code.startswith("marker-") else (),
    )


Found = tuple[str, str, dict[str, Any], dict[str, Any], str | None]


def _cause(row: Row) -> Found:
    """Return code, message, its values, the evidence and the remedy's message."""
    labels, record = row.facts.setup.labels, row.record
    messages = record.messages or []
    if row.encoded.num_cut and _is_cut_away(row):
        values: dict[str, Any] = {"kept": len(row.input_ids), "tokens": row.encoded.num_cut}
        return "SEQ001", "rules_lab.nothing_cut", values, dict(values), "rules_lab.nothing_cut_help"
    if row.facts.way == "completion-collator":
        for which in ("response", "instruction"):
            found = _marker(row, which)
            if found is not None:
                return found
    answering = [span for span in row.spans if span.role in ASSISTANT_ROLES]
    if answering and not any(span.supervised for span in answering):
        evidence: dict[str, Any] = {"train_on": labels.train_on}
        return "turn-keys", "rules_lab.nothing_turn_keys", {}, evidence, None
    roles = [str(message.get("role", "")) for message in messages]
    if messages and not any(role in ASSISTANT_ROLES for role in roles):
        strangers = list(dict.fromkeys(role for role in roles if role not in _KNOWN_ROLES))
        if strangers:
            values = {"roles": ", ".join(strangers)}
            return (
                "unknown-roles",
                "rules_lab.nothing_roles",
                values,
                {"roles": roles},
                "rules_lab.nothing_roles_help",
            )
        return "no-answer", "rules_lab.nothing_no_turn", {}, {"roles": roles}, "rules_lab.nothing_no_answer_help"
    template = row.facts.template
    if labels.assistant_only_loss and template is not None and not template.has_generation_blocks:
        values = {"template": template.name}
        return (
            "no-generation-block",
            "rules_lab.nothing_block",
            values,
            {"template": template.name},
            "rules_lab.nothing_block_help",
        )
    if row.facts.way == "as-is":
        return "given", "rules_lab.nothing_given", {}, {"tokens": len(row.input_ids)}, None
    return "no-answer", "rules_lab.nothing_no_answer", {}, {"roles": roles}, "rules_lab.nothing_no_answer_help"


def _is_cut_away(row: Row) -> bool:
    """Return whether no token of any answer is left."""
    if not row.answers:
        return False
    if row.facts.way == "completion-collator":
        # The mark has to be there as well, or the row is masked for want of it.
        kept = [(start, end) for start, end in row.offsets if end > start]
        begin, stop = (kept[0][0], kept[-1][1]) if kept else (0, 0)
        return all(answer.start < begin or answer.start >= stop for answer in row.answers)
    return all(answer.first_token >= answer.end_token for answer in row.answers)


# Markers ----------------------------------------------------------------------------------------------------------


def _marker(row: Row, which: str) -> Found | None:
    """Return why a marker is not found in the labels; `None` where it is, or where none is given."""
    labels, tokenizer = row.facts.setup.labels, row.facts.tokenizer
    text = labels.response_template if which == "response" else labels.instruction_template
    given = labels.response_template_ids if which == "response" else labels.instruction_template_ids
    if not text and not given:
        return None
    alone = list(given) if given else tokenizer.encode([text or ""], add_special_tokens=False)[0].ids
    marker = text if text and not given else "".join(row.facts.pieces(alone))
    values: dict[str, Any] = {"which": which, "marker": marker, "alone": _listed(alone), "flag": f"--{which}-template"}
    evidence: dict[str, Any] = {
        "marker": marker,
        "which": f"{which}_template",
        "ids_alone": alone,
        "pieces_alone": row.facts.pieces(alone),
    }
    if _places(row.input_ids, alone):
        if tokenizer.pad_id not in alone:
            return None
        values["pad"], evidence["pad_token_id"] = tokenizer.special_tokens.get("pad_token"), tokenizer.pad_id
        return "marker-holds-pad", "rules_lab.nothing_marker_pad", values, evidence, "rules_lab.nothing_marker_pad_help"
    position = row.text.rfind(text) if text and not given else -1
    if position < 0:
        return "marker-absent", "rules_lab.nothing_marker_absent", values, evidence, "rules_lab.nothing_marker_help"
    end = position + len(text or "")
    first, last = row.tokens_in(position, end)
    there = row.input_ids[first:last]
    # Tokens that hold characters beside the marker's change from row to row: only those inside it always match.
    inside = [i for i in range(first, last) if row.offsets[i][0] >= position and row.offsets[i][1] <= end]
    core = row.input_ids[inside[0] : inside[-1] + 1] if inside else there
    values |= {"there": _listed(there), "core": ",".join(map(str, core))}
    evidence |= {
        "ids_in_context": there,
        "pieces_in_context": row.facts.pieces(there),
        "ids_that_match": core,
        "characters": (position, end),
    }
    return (
        "marker-tokenized-otherwise",
        "rules_lab.nothing_marker_otherwise",
        values,
        evidence,
        "rules_lab.nothing_marker_otherwise_help",
    )


def _places(ids: Sequence[int], wanted: Sequence[int]) -> bool:
    length = len(wanted)
    return any(ids[i] == wanted[0] and ids[i : i + length] == wanted for i in range(len(ids) - length + 1))


def _listed(ids: Sequence[int]) -> str:
    return ", ".join(map(str, ids))
