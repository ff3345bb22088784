"""TOK009: a terminator, or a control literal that the rows are built of, is no token."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from finetooth.rules.facts import SetupFacts
from finetooth.rules.literals import (
    CONTROL,
    broken_contexts,
    emitted_by_template,
    is_whole_everywhere,
    scaffolding,
)
from finetooth.rules.row import Row
from finetooth.rules.rule import Because, Hit, dataset_rule
from finetooth.types import Place

_PLACES = 3


@dataclass(slots=True)
class _Seen:
    """The rows in whose scaffolding a broken literal stands."""

    count: int = 0
    places: list[Place] = field(default_factory=list)
    views: list[str] = field(default_factory=list)
    ends_answer: bool = False
    in_pieces: bool = False


@dataclass(slots=True)
class ControlTextNotAToken:
    """Find control literals that the tokenizer does not take for one token.

    ## What it does
    Collects the literals in control shape (`<|...|>`, `</s>`, `<end_of_turn>`) that the chat template prints and that
    the rows' scaffolding holds, and the terminators, and encodes each after letters, digits, closing marks, kana and
    kanji: each has to be one id every time. `[INST]` and `<<SYS>>` are plain text by design. What a user has written
    into a message is the matter of DAT001. A token whose flag `normalized` breaks it is that of TOK003.

    ## Why it is bad
    A terminator in pieces is learnt as text: the model writes `<|im_end|>` letter by letter, and no engine stops there.
    Other marks cost tokens, and their pieces vary with what stands beside them.

    ## Example
    ChatML on a tokenizer without `<|im_end|>`: six or more ids, none of which stops.

    ## Fix
    Take the model's own chat template; or add the token, resize the embeddings, and train the new row.

    ## Fix safety
    None is offered: a new token needs a new, trained row of embeddings.

    ## Sources
    TRL #2059; Axolotl's message "is encoded as multiple tokens"; LLaMA-Factory's fallback to ChatML.
    """

    seen: dict[str, _Seen] = field(default_factory=dict)

    def add(self, row: Row) -> None:
        """Look for broken literals in a row."""
        text, facts = row.text, row.facts
        if "<" in text:
            for literal in set(CONTROL.findall(text)):
                if not is_whole_everywhere(facts, literal):
                    self._look(row, literal)
        for literal in _broken_stops(facts):
            if literal in text:
                self._look(row, literal)

    def _look(self, row: Row, literal: str) -> None:
        places = list(scaffolding(row, literal))
        if not places:
            return
        seen = self.seen.setdefault(literal, _Seen())
        seen.count += 1
        ends = {answer.end for answer in row.answers}
        at = next((place for place in places if place[1] in ends), places[0])
        seen.ends_answer |= at[1] in ends
        first, last = row.tokens_in(*at)
        seen.in_pieces |= last > first + 1
        if len(seen.places) < _PLACES:
            record = row.record
            seen.places.append(
                Place(
                    record=record.index,
                    where=record.where,
                    start=at[0],
                    end=at[1],
                    first_token=first,
                    end_token=last,
                )
            )
            seen.views.append(row.view(first, last))

    def merge(self, other: ControlTextNotAToken) -> None:
        """Take in what was seen in later records."""
        for literal, seen in other.seen.items():
            mine = self.seen.setdefault(literal, _Seen())
            missing = _PLACES - len(mine.places)
            mine.count += seen.count
            mine.places += seen.places[:missing]
            mine.views += seen.views[:missing]
            mine.ends_answer |= seen.ends_answer
            mine.in_pieces |= seen.in_pieces

    def hits(self, facts: SetupFacts) -> Iterator[Hit]:
        """Name the broken literals, terminators apart from the others, cause by cause."""
        # Rows that are encoded already have nothing to do with the template.
        printed = emitted_by_template(facts) if facts.way != "as-is" and self.seen else []
        groups: dict[tuple[bool, str], list[str]] = {}
        for literal in dict.fromkeys((*self.seen, *printed)):
            if is_whole_everywhere(facts, literal):
                continue
            cause = _cause(facts, literal)
            if cause is None:
                continue
            seen = self.seen.get(literal)
            ends = literal in facts.stops.literals or (seen is not None and seen.ends_answer)
            groups.setdefault((ends, cause), []).append(literal)
        for (ends, cause), literals in groups.items():
            yield self._hit(facts, cause, sorted(literals, key=self._count), ends=ends)

    def _count(self, literal: str) -> int:
        seen = self.seen.get(literal)
        return -seen.count if seen is not None else 0

    def _hit(self, facts: SetupFacts, cause: str, literals: list[str], *, ends: bool) -> Hit:
        literal = literals[0]
        contexts = broken_contexts(facts, literal)
        ids = facts.ids_in_context(contexts[0], literal)
        template = facts.template
        values: dict[str, Any] = {
            "tokens": " ".join(literals),
            "token": literal,
            "previous": contexts[0].replace("\n", "\\n"),
            "ids": ", ".join(map(str, ids)),
            "num_pieces": len(ids),
            "token_id": facts.tokenizer.backend.token_to_id(literal),
            "file": facts.file_of(
                "split_special_tokens" if cause == "split-special-tokens" else "added_tokens_decoder"
            ),
        }
        evidence = {
            "literals": literals,
            "token_id": values["token_id"],
            "previous_character": contexts[0],
            "ids": ids,
            "pieces": facts.pieces(ids),
            "contexts": list(contexts),
            "emitted_by_template": template.name if template and literal in emitted_by_template(facts) else None,
            "file": values["file"],
        }
        seen = self.seen.get(literal)
        rows = {"count": seen.count, "places": seen.places, "views": seen.views} if seen is not None else {}
        return Hit(
            "rules_tok.control_text_ends" if ends else "rules_tok.control_text",
            values={**values, **rows},
            help=f"rules_tok.control_text_help_{'token' if cause == 'not-in-vocabulary' else 'flags'}",
            because=Because(
                code=cause,
                key=f"rules_tok.control_text_{cause.replace('-', '_')}",
                values=values,
                evidence=evidence,
            ),
            # A terminator that is whole in every row is one that the next row may break.
            severity="error" if ends and seen is not None and seen.in_pieces else None,
            folded_under="LAB001" if ends else None,
            reproduction=facts.reproduction(f"{contexts[0]}{literal}"),
        )


def _broken_stops(facts: SetupFacts) -> list[str]:
    """Return the terminators without control shape that are no token somewhere; worked out once for each set-up."""
    if "_broken_stops" not in facts.__dict__:
        facts.__dict__["_broken_stops"] = [
            literal
            for literal in facts.stops.literals
            if not CONTROL.fullmatch(literal) and not is_whole_everywhere(facts, literal)
        ]
    known: list[str] = facts.__dict__["_broken_stops"]
    return known


def _cause(facts: SetupFacts, literal: str) -> str | None:
    """Return why a literal is not one token everywhere; `None` where that is the matter of TOK003."""
    token = facts.tokenizer.added_tokens.get(facts.special_ids.get(literal, -1))
    if token is None:
        in_vocabulary = facts.tokenizer.backend.token_to_id(literal) is not None
        return "not-an-added-token" if in_vocabulary else "not-in-vocabulary"
    if facts.tokenizer.backend.encode_special_tokens and token.special:
        return "split-special-tokens"
    if literal in facts.normalized:
        return None
    return "single-word" if token.single_word else "other-token-first"


# Not as a decorator: a tally is pickled between processes, by the name of its class.
control_text_not_a_token = dataset_rule("TOK009", "control-text-not-a-token", severity="warning")(ControlTextNotAToken)
