"""The story that `finetooth demo` tells: look at one dialogue, check all, mend what is at fault, check again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from finetooth.checking import SetupReport, check_records
from finetooth.config import Config, LabelsConfig
from finetooth.demo import DIALOGUES, EXAMPLE, TOKENIZERS, data_path, tokenizer_path
from finetooth.fix import Repaired, repair
from finetooth.inspection import Selection, inspect_records, make_setups, open_records
from finetooth.labels import Setup
from finetooth.rules import all_rules
from finetooth.types import Finding, InspectedRecord

RESPONSE_TEMPLATE = "[/INST]"
"""What stands before an answer in the example. With a space at either end its ids would be others than in context."""

CONFIG = Config(labels=LabelsConfig(way="completion-collator", response_template=RESPONSE_TEMPLATE))
"""The labels of TRL's removed collator, with which the faults were first met."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mended:
    """What mending one tokenizer did."""

    name: str
    num_records: int
    stop_before: int
    """Records whose answer ends as the model has to learn it."""
    stop_after: int
    edits: tuple[str, ...]
    """A sentence for each edit of the model's files."""


def look() -> InspectedRecord:
    """Return the example under the three tokenizers."""
    records = open_records(str(data_path(EXAMPLE)), CONFIG.data)
    inspected = next(inspect_records(records, _setups(), Selection(limit=1)))
    return replace(inspected, record=replace(inspected.record, where=EXAMPLE))


def check(language: str = "ja") -> dict[str, SetupReport]:
    """Check all dialogues of a language under the three tokenizers; returns a report for each of them."""
    records = open_records(str(data_path(DIALOGUES[language])), CONFIG.data)
    report = check_records(records, _setups(), all_rules())
    return dict(zip(TOKENIZERS, report.parts, strict=True))


def worst_finding(part: SetupReport) -> Finding | None:
    """Return the error that a report names first, or `None` where there is none."""
    return next((f for f in part.findings if f.severity == "error" and f.folded_under is None), None)


def mend(name: str, stage: Path, language: str = "ja") -> Mended:
    """Mend a tokenizer for the dialogues, and check them again.

    Args:
        name: One of `TOKENIZERS`.
        stage: An empty folder; the repaired directory is `model` in it.
        language: The dialogues'.
    """
    sources = [str(data_path(DIALOGUES[language]))]
    repaired: Repaired = repair(sources, str(tokenizer_path(name)), CONFIG, stage, rules=all_rules())
    before, after = repaired.before.parts[0], repaired.after.parts[0]
    return Mended(
        name=name,
        num_records=after.num_records,
        stop_before=before.endings.get("stops", 0),
        stop_after=after.endings.get("stops", 0),
        edits=tuple(edit.text for edit in repaired.edits),
    )


def _setups() -> Sequence[Setup]:
    setups = make_setups([str(tokenizer_path(name)) for name in TOKENIZERS], [CONFIG.labels.way], CONFIG)
    for name, setup in zip(TOKENIZERS, setups, strict=True):
        # Where the package lies is of no interest to the story.
        setup.tokenizer.name = name
    return setups
