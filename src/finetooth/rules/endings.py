"""How the answers of a record end: exactly one branch of a tree for each answer and way of making labels.

A model stops because it has learned to write the token at which inference stops. That token may be absent from the
row; present and masked; present in pieces of ordinary text; cut away; forged at a cut; or learned, and not in the stop
set. Each shows in another way at inference, and each wants another remedy. The tree looks for the terminator of an
answer and says which branch holds, for which cause, with what shows it. A record's branch is that of its last answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from finetooth.rules.facts import SetupFacts
from finetooth.rules.masking import mask_cause
from finetooth.rules.row import Answer, Row
from finetooth.rules.spelling import same_word
from finetooth.template import CONTROL_LITERAL
from finetooth.types import IGNORE_INDEX

Branch = Literal[
    "stops",
    "unsupervised",
    "absent",
    "masked-by-pad",
    "masked-by-template",
    "masked-other-terminator",
    "split-by-normalizer",
    "split-no-token",
    "cut",
    "forged",
    "not-in-stop-set",
]

BRANCHES: tuple[Branch, ...] = (
    "stops",
    "not-in-stop-set",
    "split-by-normalizer",
    "split-no-token",
    "masked-by-pad",
    "masked-by-template",
    "masked-other-terminator",
    "absent",
    "cut",
    "forged",
    "unsupervised",
)
"""In the order of the table that `check` prints."""

Prediction = Literal["stops", "shows-literal", "runs-on"]
"""How a model will end its answers: it stops, it writes the terminator as text and goes on, or it goes on."""

OUTCOMES: tuple[Prediction, ...] = ("stops", "shows-literal", "runs-on")

PREDICTIONS: Mapping[Branch, Prediction] = {
    "stops": "stops",
    "forged": "stops",  # too early, where the text was cut
    "split-by-normalizer": "shows-literal",
    "split-no-token": "shows-literal",
    "not-in-stop-set": "runs-on",
    "masked-by-pad": "runs-on",
    "masked-by-template": "runs-on",
    "masked-other-terminator": "runs-on",
    "absent": "runs-on",
    "cut": "runs-on",
    "unsupervised": "runs-on",
}
"""What each branch teaches. Measured on toy models: docs/checks.md, Prediction."""


UNSEEN: frozenset[Branch] = frozenset(("cut", "unsupervised"))
"""The branches of records that do not hold the end of an answer at all: whatever the others teach holds for them."""

UNTAUGHT: frozenset[Branch] = frozenset(("masked-by-pad", "masked-by-template", "masked-other-terminator", "absent"))
"""Those of records that hold it, and teach nothing about what follows it: neither to stop nor to go on."""

SEEN_FROM, TAUGHT_FROM = 0.01, 0.05
"""From which share on some records decide for the others: of all records, where these do not hold an end; of those
that hold one, where these teach nothing about it. Measured at toy size, 202 records: 3 whose answers are whole among
cut ones are enough for most answers to stop, 1 is not; 16 with a terminator among those without are enough, 8 not."""


def predict(endings: Mapping[Branch, int]) -> dict[Prediction, float]:
    """Return how answers will end, as shares, from how many records end in which branch.

    Records that teach an end share out among them those that teach none; where there are too few of them, a model
    that was taught no end goes on.
    """
    shares: dict[Prediction, float] = dict.fromkeys(OUTCOMES, 0.0)
    total = sum(endings.values())
    decides = share_taught(endings) if do_taught_decide(endings) else 0.0
    for branch, count in endings.items():
        if not decides:
            shares[PREDICTIONS[branch]] += count / total
        elif branch not in UNSEEN and branch not in UNTAUGHT:
            shares[PREDICTIONS[branch]] += count / total / decides
    return shares


def share_taught(endings: Mapping[Branch, int]) -> float:
    """Return the share of records that teach an end of any kind; 0 of none."""
    total = sum(endings.values())
    return _num_taught(endings) / total if total else 0.0


def do_taught_decide(endings: Mapping[Branch, int]) -> bool:
    """Return whether the records that teach an end are enough to decide for those that teach none."""
    taught = _num_taught(endings)
    seen = sum(count for branch, count in endings.items() if branch not in UNSEEN)
    return taught > 0 and taught >= SEEN_FROM * sum(endings.values()) and taught >= TAUGHT_FROM * seen


def _num_taught(endings: Mapping[Branch, int]) -> int:
    return sum(count for branch, count in endings.items() if branch not in UNSEEN and branch not in UNTAUGHT)


SPLIT: tuple[Branch, ...] = ("split-by-normalizer", "split-no-token")
MASKED: tuple[Branch, ...] = ("masked-by-pad", "masked-by-template", "masked-other-terminator")

_CONTEXT = 16
"""Characters before a literal that decide how it is cut: a token is rarely longer."""

_BRACKETED = re.compile(r"[<＜\[][^<＜\[\n]{1,38}[>＞\]]\Z")
_CLOSING = (">", "＞", "]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How an answer ends."""

    branch: Branch
    first_token: int
    """The half-open tokens of the terminator, or where it should stand."""
    end_token: int
    terminator: str | None
    """The stop literal in the text, where there is one."""
    answer: Answer
    cause: str = ""
    """Why it is this branch, where a branch has several causes; see the rules LAB001, LAB002 and LAB003."""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    """What was seen, in plain JSON."""


def ending_of(row: Row) -> Ending:
    """Return the ending of a record's last answer; worked out once for each `Row`."""
    known: Ending | None = row.__dict__.get("_ending")
    if known is None:
        known = row.__dict__["_ending"] = _ending(row, row.answers[-1] if row.answers else _whole_text(row))
    return known


def endings_of(row: Row) -> list[Ending]:
    """Return the endings of all answers, in their order; the last is that of the record."""
    if len(row.answers) < 2:
        return [ending_of(row)]
    known: list[Ending] | None = row.__dict__.get("_endings")
    if known is None:
        known = row.__dict__["_endings"] = [*(_ending(row, one) for one in row.answers[:-1]), ending_of(row)]
    return known


def _ending(row: Row, answer: Answer) -> Ending:
    """Walk down the tree."""
    cut = _cut(row, answer)
    if cut is not None:
        return cut
    appended = _appended(row, answer)
    until = answer.end_token if appended is None else appended + 1
    if (not row.answers and row.roles_are_known) or not is_learned(row, answer.first_token, until):
        return _made(row, "unsupervised", until, until, answer)
    found = terminator_of(row, answer)
    if found is not None:
        literal, start, end = found
        first, last = row.tokens_in(start, end)
        if last != first + 1 or not _is_token_of(row.facts, row.input_ids[first], literal):
            return _split(row, answer, literal, first, last, start, appended)
        index = first
        if appended is not None and not _stops(row, first) and _stops(row, appended):
            index = appended
        return _forged(row, answer, index, start) or _whole(row, answer, literal, index)
    spelled = _spelled(row, answer)
    if spelled is not None:
        return spelled
    if appended is not None:
        # A terminator that no character stands for: an id that was appended, or the tokenizer's post-processor.
        return _forged(row, answer, appended, answer.end) or _whole(row, answer, None, appended)
    if any(span.start == answer.end and not span.supervised and _same_turn(span, answer) for span in row.spans):
        # The row's own keys leave the end of this turn out.
        return _made(row, "unsupervised", until, until, answer)
    return _absent(row, answer, until)


def is_learned(row: Row, first_token: int, end_token: int) -> bool:
    """Return whether any token of a range is supervised."""
    return any(label != IGNORE_INDEX for label in row.labels[first_token:end_token])


def terminator_of(row: Row, answer: Answer) -> tuple[str, int, int] | None:
    """Return the stop literal at the end of an answer, and its characters; white space after it is passed over."""
    if answer.terminator is not None:
        return answer.terminator, answer.end - len(answer.terminator), answer.end
    text, end = row.text, answer.end
    while end > answer.start and text[end - 1].isspace():
        end -= 1
    if end == answer.end:
        return None
    stops = row.facts.stops
    for literal in (*stops.literals, *stops.specials):
        if text.endswith(literal, answer.start, end):
            return literal, end - len(literal), end
    for match in CONTROL_LITERAL.finditer(text, max(answer.start, end - 48), end):
        if match.end() == end:
            return match.group(), match.start(), end
    return None


def _whole_text(row: Row) -> Answer:
    """Return the text as one answer, where nobody knows whose the words are."""
    text = row.text
    end = len(text.rstrip()) or len(text)
    stops = row.facts.stops
    terminator = next((one for one in (*stops.literals, *stops.specials) if text.endswith(one, 0, end)), None)
    last = next((i + 1 for i in range(len(row.offsets) - 1, -1, -1) if row.offsets[i][1] > row.offsets[i][0]), 0)
    return Answer(
        start=0,
        end=end if terminator else len(text),
        message_index=None,
        first_token=0,
        end_token=last,
        terminator=terminator,
        is_last=True,
    )


def _made(
    row: Row,
    branch: Branch,
    first: int,
    end: int,
    answer: Answer,
    *,
    terminator: str | None = None,
    cause: str = "",
    **evidence: Any,
) -> Ending:
    if branch != "stops":
        evidence = {"ids": row.input_ids[first:end], "pieces": row.facts.pieces(row.input_ids[first:end]), **evidence}
        if answer.message_index is not None:
            evidence["message_index"] = answer.message_index
    return Ending(
        branch=branch,
        first_token=first,
        end_token=end,
        terminator=terminator,
        answer=answer,
        cause=cause,
        evidence=evidence,
    )


def _same_turn(span: Any, answer: Answer) -> bool:
    return span.message_index is not None and span.message_index == answer.message_index


def _is_token_of(facts: SetupFacts, token_id: int, literal: str) -> bool:
    return token_id in facts.stop_ids or token_id == facts.special_ids.get(literal)


def _stops(row: Row, index: int) -> bool:
    return row.labels[index] != IGNORE_INDEX and row.input_ids[index] in row.facts.stop_ids


def _appended(row: Row, answer: Answer) -> int | None:
    """Return the position of a stop token right after an answer, which is no part of the answer's characters."""
    after = answer.end_token
    return after if after < len(row.input_ids) and row.input_ids[after] in row.facts.stop_ids else None


# Cut --------------------------------------------------------------------------------------------------------------


def _cut(row: Row, answer: Answer) -> Ending | None:
    """Return `cut` or `forged` where a limit of length took the end of the answer."""
    if not row.encoded.num_cut or row.facts.setup.labels.truncation_mode == "keep_end":
        return None
    last = len(row.input_ids) - 1
    kept = max((e for _, e in row.offsets), default=0)
    # Only a token without characters may be missing: an id that would have been appended.
    whole = kept >= answer.end
    if whole and (answer.end < len(row.text.rstrip()) or terminator_of(row, answer) or _appended(row, answer)):
        return None
    branch: Branch = "cut"
    if not whole and last >= 0 and _stops(row, last):
        # The true end of an earlier turn is no forgery, nor is one that stands in the text.
        start, end = row.offsets[last]
        branch = "cut" if end > start else "forged"
    return _made(
        row, branch, max(last, 0), last + 1, answer, cause="SEQ001", tokens_cut=row.encoded.num_cut, kept=last + 1
    )


def _forged(row: Row, answer: Answer, index: int, end: int) -> Ending | None:
    """Return `forged` where a row that was encoded elsewhere ends in a stop token, and its own source goes on."""
    if row.facts.way != "as-is" or index != len(row.input_ids) - 1 or not _stops(row, index):
        return None
    source = _source(row)
    tail = row.text[max(answer.start, end - 24) : end].strip()
    if not source or len(tail) < 8:
        return None
    position = source.rfind(tail)
    rest = source[position + len(tail) :].strip() if position >= 0 else ""
    if not rest or rest.startswith(tuple(row.facts.stops.literals)):
        return None
    return _made(row, "forged", index, index + 1, answer, cause="SEQ002", source_goes_on=rest[:24], kept=index + 1)


def _source(row: Row) -> str:
    """Return the text that an encoded row was made from, where the row still holds it."""
    held = row.record.row
    for key in ("text", "completion", "response", "output"):
        if isinstance(held.get(key), str):
            return str(held[key])
    messages = held.get("messages")
    if isinstance(messages, list) and messages and isinstance(messages[-1], Mapping):
        content = messages[-1].get("content")
        return content if isinstance(content, str) else ""
    return ""


# Whole: one token -------------------------------------------------------------------------------------------------


def _whole(row: Row, answer: Answer, literal: str | None, index: int) -> Ending:
    """Return the branch of a terminator that is one token."""
    facts, token_id = row.facts, row.input_ids[index]
    if row.labels[index] != IGNORE_INDEX:
        if token_id in facts.generation_stop_ids:
            return _made(row, "stops", index, index + 1, answer, terminator=literal)
        return _made(
            row,
            "not-in-stop-set",
            index,
            index + 1,
            answer,
            terminator=literal,
            cause="RUN001",
            stop_ids=sorted(facts.generation_stop_ids),
        )
    shown = literal if literal is not None else facts.tokenizer.piece(token_id)
    cause, evidence = mask_cause(row, answer, shown, index)
    branch: Branch = (
        "masked-by-pad"
        if cause == "pad-is-eos"
        else "masked-other-terminator"
        if cause == "other-terminator"
        else "masked-by-template"
    )
    return _made(row, branch, index, index + 1, answer, terminator=shown, cause=cause, token_id=token_id, **evidence)


# Split: several tokens, or one that means nothing -----------------------------------------------------------------


def _split(row: Row, answer: Answer, literal: str, first: int, end: int, start: int, appended: int | None) -> Ending:
    """Return why a terminator is in pieces."""
    facts = row.facts
    evidence: dict[str, Any] = {"previous_character": row.text[max(0, start - 1) : start]}
    if appended is not None:
        evidence["followed_by"] = row.input_ids[appended]
    token_id = facts.special_ids.get(literal)
    if token_id is None:
        intended = same_word(facts, literal)
        in_vocabulary = facts.tokenizer.backend.token_to_id(literal)
        cause = "spelling" if intended else "TOK009"
        evidence |= {"in_vocabulary": in_vocabulary is not None, "intended": intended}
        return _made(row, "split-no-token", first, end, answer, terminator=literal, cause=cause, **evidence)
    token = facts.tokenizer.added_tokens[token_id]
    pattern = facts.normalized.get(literal, literal)
    evidence |= {
        "token_id": token_id,
        "normalized": token.normalized,
        "stored_pattern": pattern,
        "normalizer": facts.normalizer_name,
        "single_word": token.single_word,
        "file": facts.file_of("added_tokens_decoder"),
    }
    if facts.is_whole_in_context(row.text[max(0, start - _CONTEXT) : start], literal):
        cause = "encoded-otherwise"
    elif facts.tokenizer.backend.encode_special_tokens and token.special:
        cause = "split-special-tokens"
    elif pattern != literal:
        cause = "TOK003"
    elif token.single_word:
        cause = "single-word"
    else:
        cause = "other-token"
    return _made(row, "split-by-normalizer", first, end, answer, terminator=literal, cause=cause, **evidence)


def _spelled(row: Row, answer: Answer) -> Ending | None:
    """Return the ending of an answer that ends in a stop literal of other spelling: `</S>`, `< /s>`, `</s`."""
    text, end = row.text, answer.end
    while end > answer.start and text[end - 1].isspace():
        end -= 1
    facts = row.facts
    written = intended = None
    if text.endswith(_CLOSING, answer.start, end):
        match = _BRACKETED.search(text[max(answer.start, end - 40) : end])
        if match is not None and match.group() not in facts.special_ids:
            written, intended = match.group(), same_word(facts, match.group())
    else:
        for literal in facts.stops.literals:
            if len(literal) > 3 and literal[-1] == ">" and text.endswith(literal[:-1], answer.start, end):
                written, intended = literal[:-1], literal
    if written is None or intended is None:
        return None
    first, last = row.tokens_in(end - len(written), end)
    return _made(
        row,
        "split-no-token",
        first,
        last,
        answer,
        terminator=written,
        cause="spelling",
        intended=intended,
        in_vocabulary=False,
        previous_character=text[max(0, end - len(written) - 1) : end - len(written)],
    )


# Absent -----------------------------------------------------------------------------------------------------------


def _absent(row: Row, answer: Answer, index: int) -> Ending:
    """Return why nothing ends an answer."""
    facts = row.facts
    flag = facts.files is not None and facts.files.tokenizer_config.get("add_eos_token") is True
    evidence: dict[str, Any] = {"stop_ids": sorted(facts.stop_ids), "last_characters": row.text[: answer.end][-8:]}
    if not answer.is_last:
        evidence["next_characters"] = row.text[answer.end : answer.end + 16]
        return _made(row, "absent", index, index, answer, cause="last-turn-only", **evidence)
    if flag and _encodes_with_special_tokens(row) and not _post_processor_ends(facts):
        evidence |= {"add_eos_token": True, "file": facts.file_of("add_eos_token")}
        return _made(row, "absent", index, index, answer, cause="add-eos-ignored", **evidence)
    return _made(row, "absent", index, index, answer, cause="nobody-appends", **evidence)


def _encodes_with_special_tokens(row: Row) -> bool:
    """Return whether the tokenizer had the occasion to put special tokens around this row's text."""
    way = row.facts.way
    return way in ("completion-collator", "causal-lm", "as-is") or row.record.messages is None


def _post_processor_ends(facts: SetupFacts) -> bool:
    """Return whether the tokenizer itself puts a stop token after a text."""
    known: bool | None = facts.__dict__.get("_post_processor_ends")
    if known is None:
        ids = facts.tokenizer.encode(["a"], add_special_tokens=True)[0].ids
        known = facts.__dict__["_post_processor_ends"] = bool(ids) and ids[-1] in facts.stop_ids
    return known
