"""TOK003: the tokenizer searches for another text than that of a special token."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from finetooth.rules.facts import SetupFacts
from finetooth.rules.literals import CONTROL, broken_contexts, emitted_by_template, is_one_token, scaffolding
from finetooth.rules.row import Row
from finetooth.rules.rule import Because, Hit, dataset_rule
from finetooth.types import Place

_PLACES = 3
_MOST_CHARACTERS = 64
"""How many last characters of answers are kept, to be probed."""


@dataclass(slots=True)
class _Bite:
    """The rows in which one literal stands in pieces."""

    count: int
    places: list[Place]
    views: list[str]
    ids: list[int]
    pieces: list[str]
    previous: str
    ends_answer: bool


@dataclass(slots=True)
class NormalizedSpecial:
    """Find special tokens whose stored pattern is not their text.

    ## What it does
    An added token with `normalized: true` is searched for in the *normalized* text, by its own text normalized. Where
    the normalizer puts a `▁` in front, the pattern of `</s>` becomes `▁</s>`: it is found at the start and after a
    space, and nowhere else. The rule compares every special token's pattern with its text, looks whether a row holds it
    in pieces (an error; where it ends an answer it is the cause of LAB001), and otherwise probes it after letters,
    digits, closing marks, kana, kanji, and the last characters of the data's own answers, and names those after which
    it breaks (a warning: no row meets one).

    ## Why it is bad
    The model learns to write `</`, `s`, `>`, and inference waits for the one id that was never learnt: answers end in
    the literal text and run on. In a conversation of several turns the next `<s>` breaks too. Encoding the token alone,
    looking it up in the vocabulary, and decoding what was encoded all look right.

    ## Example
    `。</s>` encodes to `829, 29879, 29958` where `2` is due; `</s>` alone encodes to `2`.

    ## Fix
    Declare the token with `"normalized": false`, in tokenizer.json and, where it stands there, in the
    `added_tokens_decoder` of tokenizer_config.json: `finetooth fix` does.

    ## Fix safety
    Safe: the id and the text of the token stay, and the token is found wherever it stands.

    ## Sources
    transformers #23833 ("normalization=False should be used"), #23818 (ids 21106, 29879, 29958), #26743; peft #1003.
    """

    bites: dict[str, _Bite] = field(default_factory=dict)
    last_characters: dict[str, int] = field(default_factory=dict)
    """The last characters of answers before their terminator, with how often they were seen."""
    spelled: set[str] = field(default_factory=set)
    """The literals that rows spell as scaffolding, whole or not."""

    def add(self, row: Row) -> None:
        """Look for the broken literals in a row."""
        facts = row.facts
        if not facts.normalized or facts.tokenizer.backend.encode_special_tokens:
            return
        for answer in row.answers:
            end = answer.end - len(answer.terminator or "")
            last = row.text[answer.start : end].rstrip()[-1:]
            if last and (last in self.last_characters or len(self.last_characters) < _MOST_CHARACTERS):
                self.last_characters[last] = self.last_characters.get(last, 0) + 1
        for literal in facts.normalized:
            if literal in row.text:
                self._look(row, literal)

    def _look(self, row: Row, literal: str) -> None:
        token_id = row.facts.special_ids[literal]
        bitten = False
        for start, end in scaffolding(row, literal):
            self.spelled.add(literal)
            whole, first, last = is_one_token(row, start, end, token_id)
            # A limit of length may have taken the token, or part of its pieces.
            if whole or first >= last or row.offsets[last - 1][1] < end:
                continue
            ends_answer = any(answer.end == end for answer in row.answers)
            bite = self.bites.get(literal)
            if bite is None:
                bite = self.bites[literal] = _Bite(
                    count=0,
                    places=[],
                    views=[],
                    ids=row.input_ids[first:last],
                    pieces=row.facts.pieces(row.input_ids[first:last]),
                    previous=row.text[max(0, start - 1) : start],
                    ends_answer=ends_answer,
                )
            bite.ends_answer |= ends_answer
            if bitten:
                continue
            bitten = True
            bite.count += 1
            if len(bite.places) < _PLACES:
                record = row.record
                bite.places.append(
                    Place(
                        record=record.index,
                        where=record.where,
                        start=start,
                        end=end,
                        first_token=first,
                        end_token=last,
                    )
                )
                bite.views.append(row.view(first, last))

    def merge(self, other: NormalizedSpecial) -> None:
        """Take in what was seen in later records."""
        for literal, bite in other.bites.items():
            mine = self.bites.get(literal)
            if mine is None:
                self.bites[literal] = bite
                continue
            missing = _PLACES - len(mine.places)
            mine.count += bite.count
            mine.places += bite.places[:missing]
            mine.views += bite.views[:missing]
            mine.ends_answer |= bite.ends_answer
        for character, count in other.last_characters.items():
            if character in self.last_characters or len(self.last_characters) < _MOST_CHARACTERS:
                self.last_characters[character] = self.last_characters.get(character, 0) + count
        self.spelled |= other.spelled

    def hits(self, facts: SetupFacts) -> Iterator[Hit]:
        """Name the literals that are in pieces; where none is, those that would be."""
        if facts.tokenizer.backend.encode_special_tokens:
            return
        for literal, bite in self.bites.items():
            ends = bite.ends_answer or literal in facts.stops.literals
            values = self._values(facts, literal, broken_contexts(facts, literal, self.last_characters))
            yield Hit(
                "rules_tok.normalized_bites",
                values={**values, "count": bite.count, "places": bite.places, "views": bite.views},
                help="rules_tok.normalized_help",
                because=Because(
                    code="flag-and-normalizer",
                    key="rules_tok.normalized_because",
                    values=values,
                    evidence={
                        **self._evidence(facts, literal),
                        "previous_character": bite.previous,
                        "ids": bite.ids,
                        "pieces": bite.pieces,
                    },
                ),
                fixable=True,
                folded_under="LAB001" if ends else None,
                reproduction=facts.reproduction(f"{bite.previous}{literal}"),
                where=facts.file_of("added_tokens_decoder"),
            )
        if not self.bites:
            yield from self._latent(facts)

    def _latent(self, facts: SetupFacts) -> Iterator[Hit]:
        used = {*facts.stops.literals, *self.spelled, *emitted_by_template(facts)}
        used |= {token for token in (facts.tokenizer.bos_token,) if token}
        breaking = {}
        for literal in facts.normalized:
            # Other added tokens (unknown, padding, words of a user) are spelled in no text.
            if (literal in used or CONTROL.fullmatch(literal)) and (
                broken := broken_contexts(facts, literal, self.last_characters)
            ):
                breaking[literal] = broken
        if not breaking:
            return
        literal = next((one for one in breaking if one in facts.stops.literals), next(iter(breaking)))
        contexts = breaking[literal]
        values = self._values(facts, literal, contexts)
        own = [c for c in sorted(self.last_characters, key=lambda c: -self.last_characters[c]) if c in contexts]
        before = (own or list(contexts))[0]
        yield Hit(
            "rules_tok.normalized_latent",
            values={**values, "tokens": " ".join(breaking)},
            help="rules_tok.normalized_help",
            because=Because(
                code="flag-and-normalizer",
                key="rules_tok.normalized_because",
                values=values,
                evidence={
                    **self._evidence(facts, literal),
                    "tokens": list(breaking),
                    "contexts": list(contexts),
                    "last_characters_of_answers": own,
                    "ids": facts.ids_in_context(before, literal),
                    "pieces": facts.pieces(facts.ids_in_context(before, literal)),
                    "previous_character": before,
                },
            ),
            severity="warning",
            fixable=True,
            reproduction=facts.reproduction(f"{before}{literal}"),
            where=facts.file_of("added_tokens_decoder"),
        )

    def _values(self, facts: SetupFacts, literal: str, contexts: tuple[str, ...]) -> dict[str, Any]:
        # The answers' own last characters first: they are the contexts that matter to this data.
        own = sorted((c for c in contexts if c in self.last_characters), key=lambda c: -self.last_characters[c])
        # They stand between backticks in the sentence.
        shown = [c for c in dict.fromkeys((*own, *contexts)) if c != "`"][:12]
        return {
            "token": literal,
            "pattern": facts.normalized[literal],
            "normalizer": facts.normalizer_name,
            "file": facts.file_of("added_tokens_decoder"),
            "contexts": " ".join({"\n": "\\n", " ": "␣"}.get(c, c) for c in shown),
        }

    def _evidence(self, facts: SetupFacts, literal: str) -> dict[str, Any]:
        return {
            "token": literal,
            "token_id": facts.special_ids[literal],
            "normalized": True,
            "stored_pattern": facts.normalized[literal],
            "normalizer": facts.normalizer_name,
            "file": facts.file_of("added_tokens_decoder"),
        }


# Not as a decorator: a tally is pickled between processes, by the name of its class.
normalized_special = dataset_rule("TOK003", "normalized-special", severity="error", fix="safe")(NormalizedSpecial)
