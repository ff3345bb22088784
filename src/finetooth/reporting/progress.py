"""`ProgressReport`: runs, merges and inspected data, told as a laboratory tells them.

report = finetooth.report("runs", "merged", inspect="text.jsonl", model=["a", "b"])
report.write("report.html")             # or .pdf, .md, .txt; report.write("talk.html", slides=True)
report                                  # shows itself in a notebook
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from finetooth.comparing.comparison import Comparison, compare
from finetooth.comparing.entry import Entry
from finetooth.comparing.reading import read_entries
from finetooth.config import Config, config_of
from finetooth.documents import Document, Prose, read_prose
from finetooth.errors import ConfigError
from finetooth.messages import say
from finetooth.reporting.inspected import Inspected, inspect_data
from finetooth.reporting.sections import document_of, refuse_unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressReport:
    """What a report tells; the language is chosen when it is written."""

    comparison: Comparison
    inspected: Sequence[Inspected] = ()
    since: str | None = None
    """The name of the run after which everything is new."""
    title: str | None = None
    author: str | None = None
    day: date = field(default_factory=date.today)
    without: frozenset[str] = frozenset()
    """Sections that are left out."""
    texts: Mapping[str, Prose] = field(default_factory=dict)
    """Texts of one's own, by the section that they stand at the end of."""

    @property
    def runs(self) -> list[Entry]:
        """What was trained."""
        return [entry for entry in self.comparison.entries if entry.kind != "merge"]

    @property
    def merges(self) -> list[Entry]:
        """What was merged."""
        return [entry for entry in self.comparison.entries if entry.kind == "merge"]

    def document(self) -> Document:
        """Return the report as a document, in the language in force."""
        return document_of(self)

    def write(self, path: str | Path, *, slides: bool = False) -> list[Path]:
        """Write the report as its ending says: .html, .pdf, .md or .txt; returns the files written.

        Args:
            path: The file.
            slides: Whether a page or a PDF is a deck of slides.
        """
        from finetooth.reporting.writing import write

        return write(self, Path(path), slides=slides)

    def __str__(self) -> str:
        from finetooth.documents import text

        return "".join(text.render(self.document(), width=100, color=False))

    def _repr_html_(self) -> str:
        from finetooth.documents import html

        return html.fragment(self.document())


def report(
    *runs: str | Path,
    inspect: str | Sequence[str] = (),
    model: str | Sequence[str] = (),
    since: str | Path | None = None,
    data: str | Sequence[str] | None = None,
    title: str | None = None,
    author: str | None = None,
    without: Sequence[str] = (),
    texts: Mapping[str, str | Path] | None = None,
    num_samples: int = 4,
    config: Config | None = None,
) -> ProgressReport:
    """Read what a report tells.

    Args:
        runs: Directories of runs, of several runs, of merged models or sweeps, or output directories of a Trainer.
        inspect: Data whose labels are shown under each `model`, beside the runs.
        model: The tokenizers for it.
        since: The last run that the reader knows; what is new since then is told first.
        data: What plain Trainers were trained on, so that their labels can be shown and checked.
        title: The title; otherwise the names of the runs.
        author: Who reports.
        without: Sections that are left out, of `finetooth.reporting.sections.NAMES`.
        texts: Files of Markdown by section, which stand at its end.
        num_samples: Prompts whose answers are shown.
        config: How data is read, and labels made.

    Raises:
        FinetoothError: There is no such run, section or file, or the data cannot be read.
    """
    chosen = config or config_of({})
    refuse_unknown(without)
    refuse_unknown(texts or {})
    sources, models = _several(inspect), _several(model)
    if bool(sources) != bool(models):
        missing, given = ("--model", "--inspect") if sources else ("--inspect", "--model")
        raise ConfigError(
            say("reporting.inspect_needs", missing=missing, given=given),
            where=given,
            help="--inspect text.jsonl --model A --model B",
        )
    if not runs and not sources:
        raise ConfigError(say("reporting.nothing"), where="finetooth report", help="finetooth report runs")
    paths = [Path(one) for one in runs]
    comparison = Comparison(entries=())
    if paths:
        comparison = compare(*paths, data=data, num_samples=num_samples, config=chosen)
    known = None
    if since is not None:
        known = _entry_at(Path(since), comparison)
        if known is None:
            if len(read_entries([since])) > 1:
                raise ConfigError(say("reporting.since_several"), where=f"--since {since}", help=f"ls {since}")
            comparison = compare(since, *paths, data=data, num_samples=num_samples, config=chosen)
            known = comparison.entries[0]
    return ProgressReport(
        comparison=comparison,
        inspected=tuple(inspect_data(one, models, chosen) for one in sources),
        since=None if known is None else known.name,
        title=title,
        author=author,
        without=frozenset(without),
        texts={name: read_prose(Path(path)) for name, path in (texts or {}).items()},
    )


def _several(given: str | Sequence[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _entry_at(path: Path, comparison: Comparison) -> Entry | None:
    """Return the run in a directory."""
    return next((one for one in comparison.entries if one.directory.resolve() == path.resolve()), None)
