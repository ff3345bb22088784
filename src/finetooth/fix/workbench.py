"""`Workbench`: a copy of the model with the data beside it, read anew after every edit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice

from finetooth.config import Config
from finetooth.counting import OnBroken, label_each
from finetooth.fingerprint import LabelHash
from finetooth.fix.modelcopy import ModelCopy, Trial
from finetooth.labels import Setup, Trained, choose_template, make_labeller
from finetooth.rules import Rule
from finetooth.rules.endings import Branch, ending_of
from finetooth.rules.facts import SetupFacts
from finetooth.rules.row import Row
from finetooth.tokenizer import load_tokenizer
from finetooth.types import Record

_BATCH = 256

Read = Callable[[], Iterator[Record]]
"""Reads the data set from its beginning."""


@dataclass(slots=True)
class Survey:
    """What the rows of a data set hold in one set-up."""

    used_ids: set[int] = field(default_factory=set)
    """The ids that any row holds."""
    taught: Counter[int] = field(default_factory=Counter)
    """The ids in which last answers end, where they are one supervised token, with the number of rows."""
    endings: Counter[Branch] = field(default_factory=Counter)
    label_hash: str = ""


class Workbench:
    """A model that is being repaired: its files, and what they give now.

    Args:
        copy: The files.
        config: How the tokenizer is loaded and labels are made.
        model: What the user typed.
        read: Reads the data set.
        rules: The rules in force; an edit whose rules are all left out is not made.
        on_broken: Told of records that the set-up refuses; `None` raises the error.
    """

    def __init__(
        self,
        *,
        copy: ModelCopy,
        config: Config,
        model: str,
        read: Read,
        rules: Iterable[Rule],
        on_broken: OnBroken | None = None,
    ) -> None:
        self.copy = copy
        self.config = config
        self.model = model
        self.read = read
        self.rules = {rule.code: rule for rule in rules}
        self.on_broken = on_broken
        self._facts: SetupFacts | None = None
        self._survey: Survey | None = None

    def wants(self, *codes: str) -> bool:
        """Return whether any of these rules is in force."""
        return any(code in self.rules for code in codes)

    def changed(self) -> None:
        """Forget what the files gave before an edit."""
        self._facts = self._survey = None

    @contextmanager
    def trial(self) -> Iterator[Trial]:
        """Take back every change of the block, unless it is told to keep them."""
        with self.copy.trial() as trial:
            yield trial
        self.changed()

    def facts(self) -> SetupFacts:
        """Return what rules ask of the set-up, as the files give it now."""
        if self._facts is None:
            self._facts = SetupFacts(self._setup())
        return self._facts

    def _setup(self) -> Setup:
        wanted = self.config.tokenizer
        tokenizer = load_tokenizer(str(self.copy.directory), loader=wanted.loader)
        tokenizer.name = self.model
        return Setup(
            tokenizer=tokenizer,
            template=choose_template(tokenizer, wanted.template),
            labels=self.config.labels,
            trained=Trained(directory=self.copy.source),  # weights are not copied
        )

    def survey(self) -> Survey:
        """Return what the rows hold, as the files give them now."""
        if self._survey is None:
            self._survey = survey_of(self.facts(), self.read(), self.on_broken)
        return self._survey


def survey_of(facts: SetupFacts, records: Iterator[Record], on_broken: OnBroken | None) -> Survey:
    """Label all records, and note what they hold."""
    labeller = make_labeller(facts.setup)
    survey, label_hash = Survey(), LabelHash()
    while batch := list(islice(records, _BATCH)):
        for record, encoded in label_each(labeller, batch, on_broken):
            ending = ending_of(row := Row(facts, record, encoded))
            survey.used_ids.update(row.input_ids)
            survey.endings[ending.branch] += 1
            if ending.branch in ("stops", "not-in-stop-set"):
                survey.taught[row.input_ids[ending.first_token]] += 1
            label_hash.add(encoded)
    survey.label_hash = label_hash.hexdigest()
    return survey
