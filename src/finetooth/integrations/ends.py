"""Look at how the answers of live rows end, and say once what is wrong with them.

A collator sees rows as they are learned, one batch at a time, and must not slow a run: a row whose last token is a
learned stop token is passed over, and of the others only so many are looked into. `finetooth check` reads them all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from finetooth.config import LabelsConfig
from finetooth.encoding import TokenRanges
from finetooth.integrations.markers import Characters
from finetooth.labels import Setup
from finetooth.messages import say
from finetooth.rules.endings import ending_of
from finetooth.rules.facts import SetupFacts
from finetooth.rules.lab001_split_eos import split_eos
from finetooth.rules.row import Row
from finetooth.rules.rule import Hit
from finetooth.tokenizer import Tokenizer
from finetooth.types import IGNORE_INDEX, Encoded, Record, Span

LOOKS = 64
"""Rows that are looked into; a fault of a set-up shows in every row."""

FIRST = 8
"""Rows that must all end without a stop token before that is said: some rows end so because they were cut."""


class Ends:
    """The ends of the rows seen so far."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._facts = SetupFacts(Setup(tokenizer=tokenizer, template=None, labels=LabelsConfig(way="as-is")))
        self._said: set[str] = set()
        self._num_rows = 0
        self._num_looks = 0
        self._num_absent = 0

    def see(
        self,
        input_ids: list[int],
        labels: list[int],
        text: str,
        offsets: list[Characters],
        answers: Sequence[Characters],
    ) -> Iterator[str]:
        """Take a row into account, and yield what is to be said of it for the first time."""
        learned = [index for index, one in enumerate(labels) if one != IGNORE_INDEX]
        if not learned or self._num_looks >= LOOKS:
            return
        self._num_rows += 1
        stop_ids = self._facts.stop_ids
        if len(answers) == 1 and input_ids[learned[-1]] in stop_ids:
            return
        self._num_looks += 1
        yield from self._masked(input_ids, labels, offsets, answers)
        row = Row(self._facts, *self._encoded(input_ids, labels, text, offsets, answers))
        for hit in split_eos.run(row):
            yield from self._split(hit)
        self._num_absent += ending_of(row).branch == "absent"
        if self._num_rows == self._num_absent == FIRST:
            yield from self._once("LAB003", num_rows=FIRST, eos=self._facts.tokenizer.eos_token or "")

    def _encoded(
        self,
        input_ids: list[int],
        labels: list[int],
        text: str,
        offsets: list[Characters],
        answers: Sequence[Characters],
    ) -> tuple[Record, Encoded]:
        bos = self._facts.tokenizer.bos_token
        spans = []
        for number, (start, end) in enumerate(answers):
            if end < len(text) and bos:
                # The BOS of the next question stands before its mark.
                end = start + len(text[start:end].rstrip().removesuffix(bos))
            spans.append(Span(start=start, end=end, role="assistant", message_index=number, supervised=True))
        record = Record(index=0, where="", shape="encoded", row={}, input_ids=input_ids, labels=labels)
        return record, self._facts.setup.encoded(
            record, text=text, input_ids=input_ids, labels=labels, offsets=offsets, spans=spans
        )

    def _split(self, hit: Hit) -> Iterator[str]:
        because = hit.because
        assert because is not None and hit.help is not None  # LAB001 names a cause and a remedy always
        yield from self._once(
            "LAB001",
            literal=hit.values["literal"],
            pieces=hit.values["pieces"],
            ids=hit.values["ids"],
            cause=say(because.key, **because.values),
            cause_code=because.code,
            help=say(hit.help, **hit.values),
        )

    def _masked(
        self, input_ids: list[int], labels: list[int], offsets: list[Characters], answers: Sequence[Characters]
    ) -> Iterator[str]:
        """Yield what is to be said where a question's mark begins with the stop token of the answer before it."""
        ranges = TokenRanges(offsets)
        for start, end in answers:
            after = ranges.first_after(end)
            if end > start and after < len(labels) and labels[after] == IGNORE_INDEX:
                token_id = input_ids[after]
                if token_id in self._facts.stop_ids:
                    yield from self._once("LAB002", literal=self._facts.tokenizer.piece(token_id), token_id=token_id)
                    return

    def _once(self, code: str, **values: object) -> Iterator[str]:
        if code not in self._said:
            self._said.add(code)
            yield say(f"collator.{code.lower()}", **values)
