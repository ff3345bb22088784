"""What a repair consists of: edits that were made, edits that wait for `--unsafe`, and what is left to the user."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Safety = Literal["safe", "unsafe"]
"""`unsafe` edits change the labels of rows in which nothing was found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One kind of change, with all the files or rows that it was made in."""

    name: str
    """Of the edit, such as `added-token-flags`."""
    codes: tuple[str, ...]
    """The rules whose findings it mends."""
    text: str
    """One sentence: what was changed and where, in the language in force."""
    safety: Safety = "safe"
    count: int = 1
    """In how many rows; 1 for an edit of the model's files."""

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON."""
        return {
            "name": self.name,
            "codes": list(self.codes),
            "safety": self.safety,
            "count": self.count,
            "text": self.text,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """Why an edit was not made, though its rule found something."""

    codes: tuple[str, ...]
    text: str
    """One sentence, in the language in force."""
    help: str | None = None
    """One remedy."""


Outcome = Edit | Left
