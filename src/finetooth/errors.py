"""The errors that finetooth raises for its users.

    FinetoothError            anything below; exit code 2 on the command line
    +-- DataError             a file or a row cannot be read
    +-- TemplateError         a chat template cannot be compiled or rendered
    +-- TokenizerError        a tokenizer cannot be loaded, or cannot do what is asked
    +-- LabelsError           a way of making labels refuses this row or these options
    +-- TrainingError         a training run cannot go on
    +-- MergeError            models cannot be merged, or not as asked
    +-- ConfigError           a configuration key, value or option is wrong
    +-- MissingExtraError     an optional dependency is needed and not installed

Each carries what happened, where, and one remedy, and prints as

    error: unknown key `labels.trian_on`
     --> finetooth.yaml:7
    help: did you mean `labels.train_on`?
"""

from __future__ import annotations


class FinetoothError(Exception):
    """Say what is wrong, where, and what to do about it.

    Args:
        what: One line, lower case, no full stop, with the offending value in it.
        where: The place: ``path:line``, ``path[row]``, a file, an option. ``None`` where there is none.
        help: One remedy that can be pasted. ``None`` where none is known.
    """

    exit_code = 2

    def __init__(self, what: str, *, where: str | None = None, help: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.help = help

    def __str__(self) -> str:
        lines = [self.what]
        if self.where is not None:
            lines.append(f" --> {self.where}")
        if self.help is not None:
            lines.append(f"help: {self.help}")
        return "\n".join(lines)

    def at(self, where: str) -> FinetoothError:
        """Return the same error with a place, where it has none yet."""
        if self.where is not None:
            return self
        placed = type(self)(self.what, where=where, help=self.help)
        placed.__cause__ = self.__cause__
        return placed


class DataError(FinetoothError):
    """A file or a row cannot be read."""


class TemplateError(FinetoothError):
    """A chat template cannot be compiled or rendered."""


class TokenizerError(FinetoothError):
    """A tokenizer cannot be loaded, or cannot do what is asked."""


class LabelsError(FinetoothError):
    """A way of making labels refuses this row or these options."""


class TrainingError(FinetoothError):
    """A training run cannot go on: a loss that is no number, a model that does not fit its data, a full disk."""


class MergeError(FinetoothError):
    """Models cannot be merged, or not as asked: a damaged file, shapes that differ, a value that is no number."""


class ConfigError(FinetoothError):
    """A configuration key, value or option is wrong."""


class MissingExtraError(FinetoothError):
    """An optional dependency is needed and not installed."""
