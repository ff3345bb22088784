"""LAB011 unusual-first-token."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from finetooth.rules.facts import SetupFacts
from finetooth.rules.row import Answer, Row
from finetooth.rules.rule import Because, Hit, dataset_rule
from finetooth.types import Place

Beginning = Literal["none", "space", "newline", "other"]
"""The white space that a completion begins with; `newline` where it holds one, `other` for tabs and wide spaces."""

_PLACES = 3
_RARE = 0.01


@dataset_rule("LAB011", "unusual-first-token", severity="warning", never_exceeds="warning")
class UnusualFirstToken:
    r"""Find completions that begin with a newline, or that do not all begin alike.

    ## What it does
    Looks at the white space with which completions begin: those of the data, not the space or newline that the chat
    template prints before every answer, and not the tokenizer's own space mark (`▁`). Reported are data sets of which
    every completion begins with a newline (`newline`), and data sets whose completions begin in different ways
    (`mixed`, with the rates; information where fewer than one in a hundred differ).

    ## Why it is bad
    The first token of an answer is learned like any other. Where every answer begins with a newline, the prompt must
    end at inference just as it did in training, character by character, or the model is asked for a newline that is
    there already. Where they begin in different ways, the model has to guess.

    ## Example
    `... [/INST] \nこんにちは。` with the response template `[/INST] `: the first label is that of the newline (13).

    ## Fix
    Take the white space out of the completions, or move it into the prompt, the same in every row.

    ## Fix safety
    Not fixed automatically: the prompt that is used at inference has to change with it.

    ## Sources
    TRL #5213 and #6105; the text of TRL's warning about prompts that are no prefix of prompt and completion.
    """

    def __init__(self) -> None:
        self.answers: dict[Beginning, int] = {}
        self.records: dict[Beginning, int] = {}
        self.num_records = 0
        self.places: dict[Beginning, list[tuple[Place, str]]] = {}

    def add(self, row: Row) -> None:
        """Count how the completions of a record begin."""
        seen: set[Beginning] = set()
        for answer in row.answers:
            if answer.start >= len(row.text) or answer.first_token >= answer.end_token:
                continue
            begins = beginning_of(row, answer)
            if begins is None:
                continue
            self.answers[begins] = self.answers.get(begins, 0) + 1
            if begins not in seen:
                seen.add(begins)
                self.records[begins] = self.records.get(begins, 0) + 1
                known = self.places.setdefault(begins, [])
                if len(known) < _PLACES:
                    known.append(_place(row, answer))
        self.num_records += bool(seen)

    def merge(self, other: UnusualFirstToken) -> None:
        """Take in what was counted over later records."""
        self.num_records += other.num_records
        for begins, count in other.answers.items():
            self.answers[begins] = self.answers.get(begins, 0) + count
        for begins, count in other.records.items():
            self.records[begins] = self.records.get(begins, 0) + count
        for begins, places in other.places.items():
            known = self.places.setdefault(begins, [])
            known += places[: _PLACES - len(known)]

    def hits(self, facts: SetupFacts) -> Iterator[Hit]:
        """Judge how all completions begin."""
        total = sum(self.answers.values())
        if not total:
            return
        most: Beginning = max(self.answers, key=lambda begins: self.answers[begins])
        shares = {begins: count / total for begins, count in sorted(self.answers.items())}
        values: dict[str, Any] = {"answers": total}
        if len(shares) == 1:
            if most == "newline":
                shown = self.places["newline"]
                yield Hit(
                    "rules_lab.unusual_first_newline",
                    values={
                        **values,
                        "count": self.num_records,
                        "places": [place for place, _ in shown],
                        "views": [view for _, view in shown],
                    },
                    help="rules_lab.unusual_first_newline_help",
                    because=Because(
                        code="newline",
                        key="rules_lab.unusual_first_every",
                        values=values,
                        evidence={"answers": total, "shares": shares},
                    ),
                )
            return
        rare = [begins for begins in shares if begins != most]
        shown = [one for begins in rare for one in self.places[begins]][:_PLACES]
        values["rates"] = ", ".join(f"{_NAMES[begins]} {share:.1%}" for begins, share in shares.items())
        yield Hit(
            "rules_lab.unusual_first_mixed",
            values={
                **values,
                "count": sum(self.records[begins] for begins in rare),
                "places": [place for place, _ in shown],
                "views": [view for _, view in shown],
            },
            help="rules_lab.unusual_first_mixed_help",
            because=Because(
                code="mixed",
                key="rules_lab.unusual_first_rates",
                values=values,
                evidence={"answers": total, "shares": shares},
            ),
            severity="info" if 1 - shares[most] < _RARE else None,
        )


_NAMES = {"none": "''", "space": "' '", "newline": "'\\n'", "other": "'\\t'"}


def beginning_of(row: Row, answer: Answer) -> Beginning | None:
    """Return the white space that a completion begins with; `None` for one that is nothing else."""
    text, start = row.text, answer.start
    if not text[start].isspace():
        return "none"
    whole = text[start : answer.end]
    lead = whole[: len(whole) - len(whole.lstrip())]
    if len(lead) == len(whole):
        return None
    if lead and answer.message_index is not None and row.record.messages is not None:
        # What the template puts before every answer is no white space of the completion.
        content = row.record.messages[answer.message_index].get("content")
        own = content[: len(content) - len(content.lstrip())] if isinstance(content, str) else ""
        lead = own if lead.endswith(own) else ""
    if not lead:
        return "none"
    if "\n" in lead or "\r" in lead:
        return "newline"
    return "space" if lead.strip(" ") == "" else "other"


def _place(row: Row, answer: Answer) -> tuple[Place, str]:
    first = answer.first_token
    place = Place(
        record=row.record.index,
        where=row.record.where,
        start=answer.start,
        end=answer.start + 1,
        first_token=first,
        end_token=first + 1,
    )
    return place, row.view(first, first + 1)
