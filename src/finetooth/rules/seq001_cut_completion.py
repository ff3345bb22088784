"""SEQ001 cut-completion."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from finetooth.encoding import tokens_in
from finetooth.rules.endings import ending_of
from finetooth.rules.facts import SetupFacts
from finetooth.rules.row import Row
from finetooth.rules.rule import Because, Hit, dataset_rule
from finetooth.types import Place

RATE_OF_ERROR = 0.05
"""From this share of rows on a cut completion is an error; a choice of ours, said in the documentation."""

_PLACES = 3


@dataclass(slots=True)
class _Counts:
    """What was lost."""

    num_rows: int = 0
    num_end: int = 0
    """Rows whose answer lost a part and kept another."""
    num_all: int = 0
    """Rows of which no answer's token is left."""
    num_learned: int = 0
    """Tokens of answers in all rows, as they would be without the limit."""
    num_lost: int = 0
    longest: int = 0
    places: list[Place] = field(default_factory=list)
    views: list[str] = field(default_factory=list)
    kept: int = 0
    """The length of the first row that was cut."""
    num_forged: int = 0
    """Rows that were encoded elsewhere and end in a stop token, where their own source goes on."""
    forged_places: list[Place] = field(default_factory=list)
    forged_views: list[str] = field(default_factory=list)
    goes_on: str = ""
    """How the source of the first of these goes on."""


class CutCompletion:
    """Find completions whose end, or all, a limit of length takes away.

    ## What it does
    Looks at every row that was cut, or dropped because of the cut: where an answer ends beyond the last token that was
    kept, the row counts. Rows that lose a part are told from rows that lose every answer, and the share of the answers'
    tokens that is lost is given. A cut that takes the end of a prompt alone, or what stands after the last answer, does
    not count; nor does a cut at the start (`truncation_mode: keep_end`) that leaves the last answer whole.

    Causes: `stated-limit` (`labels.max_length` was set) and `hidden-default` (nobody set one, and the trainer has its
    own: 1024 tokens for TRL 1.16's SFTTrainer). `forged-end`: a row of ids ends in a stop token, and the text that
    it was made from, which it still holds, goes on: it was cut elsewhere, and an end was put there. An error.

    A warning; an error where 5% of the rows or more lose a part or all. That share is a choice of ours; the published
    cache in Sources has 2%.

    ## Why it is bad
    A row that is cut in the middle of an answer has no end to learn: what it teaches is not to stop. A row that is
    dropped teaches nothing, and a data set whose long answers are gone teaches short ones.

    ## Example
    Rows of 1,500 tokens under `--labels trl`, whose limit nobody set.

    ## Fix
    Raise the limit (`--set labels.max_length=2048`, and `max_length` in the trainer's own configuration), drop the rows
    that are too long, or shorten them where they are made.

    ## Fix safety
    Not fixed automatically: which of the three is right depends on memory and on what the rows are worth.

    ## Sources
    open-instruct pull request #1876 ("truncated SFT conversations are supervision to never
    stop"; 2.02% of rows), MedicalGPT #157, TRL #3927 and pull request #4698, unsloth #2904; TRL 1.16's
    `SFTConfig.max_length`.
    """

    def __init__(self) -> None:
        self.counts = _Counts()

    def add(self, row: Row) -> None:
        """Take a record into account."""
        counts = self.counts
        counts.num_rows += 1
        num_cut = row.encoded.num_cut
        self._look_for_forged_end(row)
        if not num_cut:
            counts.num_learned += sum(answer.end_token - answer.first_token for answer in row.answers) or len(
                row.supervised
            )
            return
        learned, lost = _learned_and_lost(row)
        counts.num_learned += learned
        counts.longest = max(counts.longest, len(row.input_ids) + num_cut)
        if not lost and row.encoded.dropped is None:
            return
        counts.num_lost += lost
        if row.supervised and row.encoded.dropped is None:
            counts.num_end += 1
        else:
            counts.num_all += 1
        counts.kept = counts.kept or len(row.input_ids)
        if len(counts.places) < _PLACES:
            last = len(row.input_ids)
            start, end = row.characters_of(max(0, last - 1), last)
            counts.places.append(
                Place(
                    record=row.record.index,
                    where=row.record.where,
                    start=start,
                    end=end,
                    first_token=max(0, last - 1),
                    end_token=last,
                )
            )
            counts.views.append(row.view(max(0, last - 1), last))

    def _look_for_forged_end(self, row: Row) -> None:
        counts, ending = self.counts, ending_of(row)
        if ending.branch != "forged" or ending.cause != "SEQ002":
            return
        counts.num_forged += 1
        counts.goes_on = counts.goes_on or str(ending.evidence["source_goes_on"])
        if len(counts.forged_places) < _PLACES:
            first, last = ending.first_token, ending.end_token
            start, end = row.characters_of(first, last)
            counts.forged_places.append(
                Place(
                    record=row.record.index,
                    where=row.record.where,
                    start=start,
                    end=end,
                    first_token=first,
                    end_token=last,
                )
            )
            counts.forged_views.append(row.view(first, last))

    def merge(self, other: CutCompletion) -> None:
        """Take in what was counted over later records."""
        mine, theirs = self.counts, other.counts
        missing = _PLACES - len(mine.places)
        mine.places += theirs.places[:missing]
        mine.views += theirs.views[:missing]
        mine.num_rows += theirs.num_rows
        mine.num_end += theirs.num_end
        mine.num_all += theirs.num_all
        mine.num_learned += theirs.num_learned
        mine.num_lost += theirs.num_lost
        mine.longest = max(mine.longest, theirs.longest)
        mine.kept = mine.kept or theirs.kept
        missing = _PLACES - len(mine.forged_places)
        mine.forged_places += theirs.forged_places[:missing]
        mine.forged_views += theirs.forged_views[:missing]
        mine.num_forged += theirs.num_forged
        mine.goes_on = mine.goes_on or theirs.goes_on

    def hits(self, facts: SetupFacts) -> Iterator[Hit]:
        """Judge, once all records are counted."""
        counts = self.counts
        if counts.num_forged:
            yield Hit(
                "rules_seq.forged_end",
                {"count": counts.num_forged, "places": counts.forged_places, "views": counts.forged_views},
                help="rules_seq.forged_end_help",
                because=Because(
                    code="forged-end",
                    key="rules_seq.forged_end_because",
                    values={"goes_on": counts.goes_on},
                    evidence={"source_goes_on": counts.goes_on},
                ),
                severity="error",
            )
        count = counts.num_end + counts.num_all
        if not count:
            return
        labels = facts.setup.labels
        is_hidden = labels.max_length == "default"
        limit = counts.kept if is_hidden else labels.max_length
        share = counts.num_lost / counts.num_learned if counts.num_learned else 1.0
        keeps_start = labels.truncation_mode == "keep_start"
        yield Hit(
            "rules_seq.cut_completion" if keeps_start else "rules_seq.cut_completion_start",
            {
                "count": count,
                "places": counts.places,
                "views": counts.views,
                "num_end": counts.num_end,
                "num_all": counts.num_all,
                "share": f"{share:.1%}",
                "longest": counts.longest,
            },
            help="rules_seq.cut_completion_help",
            because=Because(
                code="hidden-default" if is_hidden else "stated-limit",
                key="rules_seq.hidden_default" if is_hidden else "rules_seq.stated_limit",
                values={"limit": limit, "way": facts.way},
                evidence={
                    "limit": limit,
                    "labels_way": facts.way,
                    "truncation_mode": labels.truncation_mode,
                    "rows_that_lose_a_part": counts.num_end,
                    "rows_that_lose_all": counts.num_all,
                    "answer_tokens": counts.num_learned,
                    "answer_tokens_lost": counts.num_lost,
                    "longest_row": counts.longest,
                },
            ),
            severity="error" if count >= RATE_OF_ERROR * counts.num_rows else "warning",
        )


# Not a decorator: a class whose name stands for the rule could not be pickled.
cut_completion = dataset_rule("SEQ001", "cut-completion", severity="warning")(CutCompletion)


def _learned_and_lost(row: Row) -> tuple[int, int]:
    """Return how many tokens the answers of a row that was cut have, and how many of these are cut away.

    Tokens that were cut are in no list, so the text is encoded once more. Where nobody knows whose the words are, the
    whole text counts as an answer.
    """
    ranges = [(answer.start, answer.end) for answer in row.answers] or [(0, len(row.text))]
    offsets = row.facts.tokenizer.encode([row.text], add_special_tokens=False)[0].offsets
    learned = sum(len(tokens_in(offsets, start, end)) for start, end in ranges)
    if row.facts.setup.labels.truncation_mode == "keep_end":
        # What was said before is history; what counts is whether the last answer is whole.
        kept = min((start for start, end in row.offsets if end > start), default=len(row.text))
        lost = [(start, min(end, kept)) for start, end in ranges[-1:] if start < kept]
    else:
        kept = max((end for _, end in row.offsets), default=0)
        if kept >= len(row.text):
            # What was cut stands for no text: the end-of-sequence id that was appended.
            return learned + row.encoded.num_cut, row.encoded.num_cut
        lost = [(max(start, kept), end) for start, end in ranges if end > kept]
    return learned, sum(len(tokens_in(offsets, start, end)) for start, end in lost)
