"""TPL006 open-generation-block."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from finetooth.errors import FinetoothError
from finetooth.rules.contents import template_argument
from finetooth.rules.facts import SetupFacts
from finetooth.rules.rule import Because, Hit, NotRun, setup_rule
from finetooth.template import ChatTemplate

_ANSWERS = ("finetooth's first answer", "finetooth's last answer")
_QUESTIONS = ("finetooth's first question", "finetooth's next question")

_EXPRESSION = (
    r"\{\{-?\s*(?:'[^'{}]*'|\"[^\"{}]*\"|eos_token)(?:\s*[+~]\s*(?:'[^'{}]*'|\"[^\"{}]*\"|eos_token))*\s*-?\}\}"
)
_END_TAG = r"\{%-?\s*endgeneration\s*-?%\}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Open:
    """A turn whose generation block does not hold its terminator."""

    block_end: int
    content_end: int
    stop_end: int
    is_last: bool


@setup_rule("TPL006", "open-generation-block", severity="error", fix="safe")
def open_generation_block(facts: SetupFacts) -> Iterator[Hit | NotRun]:
    """Find generation blocks of the chat template that end before the turn does.

    ## What it does
    Runs where the template has `{% generation %}` blocks. Renders a conversation of two answers and looks where each
    answer's stop literal stands: the first of inference's stop set after the content, or, where the template prints
    none of these, the control literal that ends the turn. That literal has to be inside a block; a special token that
    does not stop inference does not do.

    Causes: `left-out` (the template prints the terminator after the block, in the same turn), `next-message` (the turn
    that follows prints it, so that a last answer has none at all).

    It is an error where the blocks are read (`--labels trl` with `assistant_only_loss`), and a warning elsewhere: the
    template is what others will train with.

    ## Why it is bad
    The mask that transformers makes of the blocks ends before the terminator, so its label is -100 and the model never
    learns to stop. The loss curve looks as healthy as ever.

    ## Example
    `{% generation %}{{ message['content'] }}{% endgeneration %}{{ '<|im_end|>' }}`

    ## Fix
    Move `{% endgeneration %}` behind the terminator. Where the next message prints the terminator, print it in the
    answer's own turn instead.

    ## Fix safety
    Safe where the terminator directly follows the block: the tag is moved only if the template then renders every probe
    conversation to the same text, and the blocks hold the terminators.

    ## Sources
    TRL pull request #5988; transformers pull request #30650.
    """
    template = facts.template
    if template is None or not template.has_generation_blocks:
        return
    try:
        text, blocks = _probe(template)
        found = list(_open_turns(facts, text, blocks))
    except FinetoothError as error:
        yield NotRun("rules_tpl.block_not_run", {"template": template.name, "reason": error.what})
        return
    if not found:
        return
    first = found[0]
    cause = "next-message" if not first.is_last and _last_turn_has_no_stop(facts, text) else "left-out"
    is_own = facts.files is not None and template.source in facts.files.chat_templates.values()
    is_movable = cause == "left-out" and with_moved_tag(facts) is not None
    is_read = facts.way == "trl" and facts.setup.labels.assistant_only_loss
    after = text[first.block_end : first.stop_end]
    block = next(text[start:end] for start, end in blocks if end == first.block_end)
    yield Hit(
        "rules_tpl.open_block",
        {"template": template.name, "after": repr(after)},
        help="rules_tpl.open_block_help" if cause == "left-out" else "rules_tpl.open_block_help_next",
        because=Because(
            code=cause,
            key="rules_tpl.open_block_left_out" if cause == "left-out" else "rules_tpl.open_block_next",
            values={"after": repr(after)},
            evidence={
                "template": template.name,
                "block_ends_with": block[-24:],
                "text_after_block": after,
                "ends_on_content": first.block_end <= first.content_end,
                "in_the_last_turn": any(one.is_last for one in found),
                "stop_literals": list(facts.stops.literals),
            },
        ),
        severity="error" if is_read else "warning",
        fixable=is_own and is_movable,
        folded_under="LAB002" if is_read else None,
        where=template.name,
        reproduction=_reproduction(facts),
    )


def _conversation(template: ChatTemplate) -> list[dict[str, Any]]:
    turns = [(role, text) for pair in zip(_QUESTIONS, _ANSWERS, strict=True) for role, text in _as_turns(pair)]
    return [template.message(role, text) for role, text in turns]


def _as_turns(pair: tuple[str, str]) -> Iterator[tuple[str, str]]:
    yield "user", pair[0]
    yield "assistant", pair[1]


def _probe(template: ChatTemplate) -> tuple[str, list[tuple[int, int]]]:
    return template.render_with_generation(_conversation(template))


def _open_turns(facts: SetupFacts, text: str, blocks: list[tuple[int, int]]) -> Iterator[_Open]:
    """Yield the turns whose terminator is in no block."""
    renderer = facts.setup.renderer
    next_question = text.find(_QUESTIONS[1])
    for number, answer in enumerate(_ANSWERS):
        start = text.find(answer)
        if start < 0:
            continue
        content_end = start + len(answer)
        limit = next_question if number == 0 and next_question > content_end else len(text)
        stop_end = renderer.turn_end(text, content_end, limit, 0)
        own = [block for block in blocks if block[0] < content_end and block[1] > start]
        if stop_end == content_end or not own:
            continue  # nothing ends the turn, or no block marks it: other rules' matter
        if not any(first < stop_end <= last for first, last in blocks):
            yield _Open(
                block_end=own[-1][1], content_end=content_end, stop_end=stop_end, is_last=number == len(_ANSWERS) - 1
            )


def _last_turn_has_no_stop(facts: SetupFacts, text: str) -> bool:
    end = text.find(_ANSWERS[-1]) + len(_ANSWERS[-1])
    return facts.setup.renderer.turn_end(text, end, len(text), 0) == end


def with_moved_tag(facts: SetupFacts) -> str | None:
    """Return the template's source with `{% endgeneration %}` behind the terminator that follows it.

    Returns:
        `None` where no terminator directly follows a tag, or the change would alter a text or leave a turn open.
    """
    template = facts.template
    if template is None:
        return None
    raw = "|".join(re.escape(literal) for literal in (*facts.stops.literals, *facts.stops.specials) if literal)
    terminator = f"(?:{_EXPRESSION}|{raw})" if raw else _EXPRESSION
    pattern = re.compile(rf"({_END_TAG})(\s*{terminator})(\n?)")
    if not pattern.search(template.source):
        return None
    # The environment takes the newline after a block's tag away, and a tag with a minus takes more: what keeps the text
    # as it is depends on what stands around, so each is tried.
    for replacement in (r"\2\1\3", r"\2{% endgeneration %}\3\3", r"\2{%- endgeneration %}\3\3"):
        source = pattern.sub(replacement, template.source)
        if _is_mended(facts, template, source):
            return source
    return None


def _is_mended(facts: SetupFacts, template: ChatTemplate, source: str) -> bool:
    """Return whether a changed template renders the same texts and leaves no turn open."""
    try:
        moved = ChatTemplate(source, name=template.name, special_tokens=template.special_tokens)
        turns = _conversation(template)
        for messages in ([template.message("system", "finetooth's rules"), *turns], turns, turns[:2], turns[:3]):
            try:
                expected = template.render(messages)
            except FinetoothError:
                continue  # what the template refuses, it may go on refusing
            if moved.render(messages) != expected:
                return False
        text, blocks = _probe(moved)
    except FinetoothError:
        return False
    return not any(_open_turns(facts, text, blocks))


def _reproduction(facts: SetupFacts) -> tuple[str, ...]:
    template = template_argument(facts)
    if facts.files is None or template is None:
        return ()
    turns = "[{'role': 'user', 'content': 'a'}, {'role': 'assistant', 'content': 'b'}]"
    return (
        f"from transformers import AutoTokenizer; t = AutoTokenizer.from_pretrained({str(facts.files.directory)!r})",
        f"print(t.apply_chat_template({turns}, return_dict=True, return_assistant_tokens_mask=True{template}))",
    )
