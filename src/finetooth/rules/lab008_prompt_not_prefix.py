"""LAB008 prompt-not-prefix."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from finetooth.errors import FinetoothError
from finetooth.rules.facts import SetupFacts
from finetooth.rules.row import Answer, Row
from finetooth.rules.rule import Because, Hit, rule
from finetooth.template import ASSISTANT_ROLES, ChatTemplate, common_length, prompt_text

_ARGUMENTS = ("enable_thinking", "thinking", "preserve_thinking", "clear_thinking", "truncate_history_thinking")
"""Variables that templates read, and that callers set apart in training and at inference."""

_MOST_KNOWN = 512
_SHOWN = 40


@rule("LAB008", "prompt-not-prefix", severity="warning")
def prompt_not_prefix(row: Row) -> Iterator[Hit]:
    """Find rows that do not begin with what the model is given at inference.

    ## What it does
    Takes the prompt of the first and of the last answer as inference makes it: the messages before the answer, rendered
    with `add_generation_prompt=True`; or the text up to the answer. Its text, and then its tokens, must be the
    beginning of the row. Causes:

    - `generation-prompt`: the template's generation prompt is not what it prints before an answer;
    - `template-arguments`: it is, with another value of a template's argument (`enable_thinking`), which is named;
    - `rewritten-history`: the messages before the answer render otherwise once the answer follows;
    - `merge`: tokens of the prompt's end are others when the answer follows (told with LAB007 where one token holds
      both);
    - `bos`: rows that hold ids begin with another BOS than the prompt at inference.

    Tokens are compared where they can differ: at a token that holds both sides, and at prompts that end in two or more
    white-space characters, which a pre-tokenizer may cut otherwise when a word follows.

    ## Why it is bad
    The model is asked to continue a text that it was never trained on. The first words of its answers suffer, such as a
    think block that is written twice.

    ## Example
    The generation prompt ends in `<think>` and a newline, and the rows hold answers without one.

    ## Fix
    By cause: render with the same template arguments in training and at inference, use a training template that prints
    what the generation prompt prints, or move white space from the end of the prompt to the start of the completion.

    ## Fix safety
    Not fixed automatically.

    ## Sources
    TRL #5213, #6105, #4147, #5138 and pull requests #4201, #6363; MaxText pull request #3350; ms-swift #9829.
    """
    answers = row.answers
    if not answers:
        return
    for answer in answers[:1] if len(answers) == 1 else (answers[0], answers[-1]):
        if answer.start == 0 or answer.first_token >= answer.end_token or _is_beheaded(row, answer):
            continue
        hit = _text_differs(row, answer) or _bos_differs(row, answer) or _tokens_differ(row, answer)
        if hit is not None:
            yield hit
            return


def _is_beheaded(row: Row, answer: Answer) -> bool:
    """Return whether a limit of length took the start of the row."""
    return bool(row.encoded.num_cut) and row.facts.setup.labels.truncation_mode == "keep_end"


# Text -------------------------------------------------------------------------------------------------------------


def _text_differs(row: Row, answer: Answer) -> Hit | None:
    """Compare the rendered prompt with the text, once for each scaffolding that stands before answers."""
    record, template, index = row.record, row.facts.template, answer.message_index
    if record.messages is None or template is None or not index:
        return None
    if record.messages[index - 1].get("role") in ASSISTANT_ROLES:
        return None  # no prompt ends there
    known: set[str] | None = None
    header = ""
    if not record.chat_template_kwargs and not (len(row.answers) > 1 and _has_more_than_words(row)):
        known = row.facts.__dict__.setdefault("_good_headers", set())
        header = row.text[_previous_end(row, answer) : answer.start]
        if header in known:
            return None
    prompt = prompt_text(template, record, index)
    if prompt is None or row.text.startswith(prompt):
        if known is not None and len(known) < _MOST_KNOWN:
            known.add(header)
        return None
    return _text_hit(row, answer, template, prompt)


def _has_more_than_words(row: Row) -> bool:
    """Return whether a turn holds what templates drop from a history: thinking, tool calls, other keys."""
    return any(len(message) > 2 or "</think>" in str(message.get("content")) for message in row.record.messages or [])


def _previous_end(row: Row, answer: Answer) -> int:
    return max((span.end for span in row.spans if span.end <= answer.start), default=0)


def _text_hit(row: Row, answer: Answer, template: ChatTemplate, prompt: str) -> Hit:
    common = common_length(row.text, prompt)
    trained, given = row.text[common : common + _SHOWN], prompt[common : common + _SHOWN]
    shown = max(0, common - 12)
    values: dict[str, Any] = {
        "trained": _visible(row.text[shown : common + _SHOWN]),
        "given": _visible(prompt[shown:][: _SHOWN + 12]),
        "template": template.name,
    }
    evidence: dict[str, Any] = {"text": trained, "prompt": given, "same_characters": common}
    argument = _argument(row, answer, template)
    if argument is not None:
        cause, key = "template-arguments", "rules_lab.prompt_not_prefix_argument"
        values["argument"] = f"{argument[0]}={argument[1]}"
        evidence["argument"] = {argument[0]: argument[1]}
    elif common < _previous_end(row, answer):
        cause, key = "rewritten-history", "rules_lab.prompt_not_prefix_history"
    else:
        cause, key = "generation-prompt", "rules_lab.prompt_not_prefix_generation"
    return Hit(
        "rules_lab.prompt_not_prefix",
        values=values,
        help={
            "template-arguments": "rules_lab.prompt_not_prefix_argument_help",
            "rewritten-history": "rules_lab.prompt_not_prefix_history_help",
        }.get(cause, "rules_lab.prompt_not_prefix_generation_help"),
        because=Because(code=cause, key=key, values=values, evidence=evidence),
        start=min(common, answer.start),
        end=min(max(common, answer.start) + 1, len(row.text)),
    )


def _argument(row: Row, answer: Answer, template: ChatTemplate) -> tuple[str, Any] | None:
    """Return an argument of the template, and the value with which the prompt is the beginning of the text."""
    record = row.record
    messages = [template.in_content_form(one) for one in (record.messages or [])[: answer.message_index]]
    names = dict.fromkeys((*record.chat_template_kwargs, *(name for name in _ARGUMENTS if name in template.source)))
    for name in names:
        for value in (True, False):
            if record.chat_template_kwargs.get(name) is value:
                continue
            variables = {**record.chat_template_kwargs, name: value}
            try:
                prompt = template.render(messages, tools=record.tools, variables=variables, add_generation_prompt=True)
            except FinetoothError:
                continue
            if row.text.startswith(prompt):
                return name, value
    return None


# Tokens -----------------------------------------------------------------------------------------------------------


def _bos_differs(row: Row, answer: Answer) -> Hit | None:
    """Compare the start of rows that were encoded elsewhere with that of the prompt at inference."""
    facts = row.facts
    bos_id = facts.tokenizer.token_id("bos_token")
    if facts.way != "as-is" or bos_id is None or row.encoded.num_cut:
        return None
    wanted, source = _bos_at_inference(facts)
    found = 0
    while found < len(row.input_ids) and row.input_ids[found] == bos_id:
        found += 1
    if found == wanted:
        return None
    values = {"found": found, "wanted": wanted, "bos": facts.tokenizer.bos_token, "source": source}
    return Hit(
        "rules_lab.prompt_not_prefix_ids",
        values=values,
        help="rules_lab.prompt_not_prefix_bos_help",
        because=Because(
            code="bos",
            key="rules_lab.prompt_not_prefix_bos",
            values=values,
            evidence={"first_ids": row.input_ids[:3], "bos_token_id": bos_id, "in_row": found, "at_inference": wanted},
        ),
        first_token=0,
        end_token=min(2, len(row.input_ids)),
        folded_under="TOK001" if found > 1 else "TOK002",
    )


def _bos_at_inference(facts: SetupFacts) -> tuple[int, str]:
    """Return how many BOS a prompt begins with at inference, and what puts them there."""
    bos = facts.tokenizer.bos_token or ""
    if facts.template is not None:
        header = facts.template.user_header
        return int(bool(bos) and header.startswith(bos)), facts.template.name
    return facts.prefix_ids.count(facts.tokenizer.token_id("bos_token") or -1), facts.tokenizer.name


def _tokens_differ(row: Row, answer: Answer) -> Hit | None:
    """Compare the tokens at the end of the prompt with those that the prompt has alone."""
    index, start = answer.first_token, answer.start
    if row.offsets[index][0] < start:
        return _merge_hit(row, answer, index, index + 1, "LAB007")
    text = row.text
    if not text[start - 1].isspace() or not text[max(start - 2, 0)].isspace():
        # A boundary between two tokens was crossed by no merge, so what is before it merges as it does alone. Only a
        # pre-tokenizer looks ahead, and only from white space (`\s+(?!\S)` in GPT-2's pattern).
        return None
    blank = start - 1
    while blank > 0 and text[blank - 1].isspace():
        blank -= 1
    blank = max(blank - 1, 0)
    known: dict[tuple[str, bool], bool] = row.facts.__dict__.setdefault("_same_alone", {})
    key = (text[blank:start], text[start].isspace())
    if key not in known:
        first = row.tokens_in(blank, start)[0]
        if first >= index:
            return None
        if len(known) >= _MOST_KNOWN:
            known.clear()
        known[key] = _same_alone(row, first, index, start)
    if known[key]:
        return None
    first = row.tokens_in(blank, start)[0]
    return _merge_hit(row, answer, first, index, None)


def _same_alone(row: Row, first: int, index: int, start: int) -> bool:
    """Return whether the tokens before an answer are those that the prompt has when it is encoded alone."""
    begin = row.offsets[max(0, first - 8)][0]
    tokenizer = row.facts.tokenizer
    wanted = row.input_ids[first:index]
    if tokenizer.encode([row.text[begin:start]], add_special_tokens=False)[0].ids[-len(wanted) :] == wanted:
        return True
    # The start of a piece of text may be encoded otherwise; the whole prompt decides.
    return bool(tokenizer.encode([row.text[:start]], add_special_tokens=False)[0].ids[-len(wanted) :] == wanted)


def _merge_hit(row: Row, answer: Answer, first: int, end: int, folded_under: str | None) -> Hit:
    facts = row.facts
    begin = min(row.offsets[first][0], answer.start)
    begin = row.offsets[max(0, first - 4)][0] if begin > 0 else 0
    alone = facts.tokenizer.encode([row.text[begin : answer.start]], add_special_tokens=False)[0].ids[-3:]
    there = row.input_ids[first:end]
    values = {
        "there": _listed(facts, there),
        "alone": _listed(facts, alone),
        "prompt": _visible(row.text[max(0, answer.start - 12) : answer.start]),
    }
    return Hit(
        "rules_lab.prompt_not_prefix_ids",
        values=values,
        help="rules_lab.prompt_not_prefix_merge_help",
        because=Because(
            code="merge",
            key="rules_lab.prompt_not_prefix_merge",
            values=values,
            evidence={
                "ids": there,
                "pieces": facts.pieces(there),
                "ids_alone": alone,
                "pieces_alone": facts.pieces(alone),
            },
        ),
        first_token=first,
        end_token=end,
        folded_under=folded_under,
        reproduction=facts.reproduction(row.text[max(0, answer.start - 8) : answer.start]),
    )


def _listed(facts: SetupFacts, ids: list[int]) -> str:
    return " ".join(f"`{facts.tokenizer.piece(one)}` {one}" for one in ids)


def _visible(text: str) -> str:
    return text.replace("\n", "\\n")
