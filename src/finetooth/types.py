"""The nouns of finetooth: `Record`, `Rendered`, `Encoded`, and the spans that tie them together.

They flow one way: a `Record` is read, rendered to a text with spans, and encoded to ids with labels.
All ranges are half-open. `start` and `end` count characters (Python code points) of a text; token
positions are called `first_token` and `end_token`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

IGNORE_INDEX = -100
"""The label of a token that the loss does not see (PyTorch's default `ignore_index`)."""

Shape = Literal["text", "prompt-completion", "messages", "conversations", "alpaca", "encoded"]
"""The shapes in which rows come. Whatever the shape, a `Record` offers the same fields."""

SHAPES: tuple[Shape, ...] = ("text", "prompt-completion", "messages", "conversations", "alpaca", "encoded")

Message = dict[str, Any]
"""One turn, as chat templates take it: `role`, `content` (a string or a list of parts), and what else the row held."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One example as it was read, with its place."""

    index: int
    """Number of the record in the data as read, from 0, over all files."""
    where: str
    """`path:line` for files of lines, `path[row]` for the others; what errors and findings print."""
    shape: Shape
    """The shape in which the row came."""
    row: Mapping[str, Any]
    """The row as it was read, untouched: other software's labels are made from this."""
    text: str | None = None
    """The whole text, for rows of the shape `text`."""
    prompt: str | None = None
    """The prompt, for prompt and completion given as strings."""
    completion: str | None = None
    """The completion, for prompt and completion given as strings."""
    messages: list[Message] | None = None
    """The turns, with the field's role names (system, user, assistant, tool), for every conversational shape."""
    num_prompt_messages: int | None = None
    """How many of the messages are the prompt, where the row says so (prompt and completion given as messages)."""
    input_ids: list[int] | None = None
    """The ids, for rows that are encoded already."""
    labels: list[int] | None = None
    """The labels, for rows that are encoded already and hold them."""
    attention_mask: list[int] | None = None
    """The attention mask, for rows that are encoded already and hold one."""
    tools: list[Any] | None = None
    """JSON schemas of the tools that the chat template is given."""
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Further variables that the chat template is given, from the column of this name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A range of characters of a rendered text, and whose it is."""

    start: int
    end: int
    role: str
    """The role of the message: system, user, assistant, tool, or what the row says."""
    message_index: int | None
    """Index into `Record.messages`; `None` where the text was not rendered from messages."""
    supervised: bool
    """Whether the model has to learn to write this range."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A text, and the spans in it."""

    text: str
    spans: tuple[Span, ...]
    """In the order of the text; they may touch, and do not overlap. Scaffolding of the template is in no span,
    except where the model has to write it."""
    add_special_tokens: bool = False
    """Whether the tokenizer is to add its special tokens. False for chat templates, which spell them."""
    append_eos: bool = False
    """Whether the end-of-sequence id is to follow the text, for completions that nothing else ends."""
    notes: tuple[str, ...] = ()
    """What a reader has to know of the rendering, such as content that the template dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """The ids of one record with their labels, as one tokenizer and one way of making labels give them.

    `input_ids`, `labels` and `offsets` are parallel. Offsets are characters of `text`; they may repeat and
    overlap (the bytes of one kanji share a range) and may be empty (a token that no character stands for), so
    they do not partition the text.
    """

    record_index: int
    where: str
    model: str
    """What the user typed to name the tokenizer."""
    loader: str
    """`tokenizers` or `transformers`: what read the tokenizer's files."""
    labels_way: str
    text: str
    input_ids: list[int]
    labels: list[int]
    offsets: list[tuple[int, int]]
    spans: tuple[Span, ...]
    dropped: str | None = None
    """Why the trainer drops this row, or `None`."""
    num_cut: int = 0
    """How many tokens a limit of length took from the row."""
    notes: tuple[str, ...] = ()
    """What a reader has to know of this row's labels, such as a marker that was not found."""


Severity = Literal["info", "warning", "error"]
SEVERITIES: tuple[Severity, ...] = ("info", "warning", "error")
"""From the least to the worst."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a finding was seen: a record, a range of its text, and the tokens there."""

    record: int
    """The record's number, from 0; -1 for a finding of the set-up."""
    where: str
    """The record's place, or the file that a finding of the set-up stands in."""
    start: int | None = None
    """Half-open characters of the text."""
    end: int | None = None
    first_token: int | None = None
    end_token: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Why, with what shows it."""

    code: str
    """The code of the rule whose matter the cause is (`TOK003`), or a word (`pad-is-eos`)."""
    text: str
    """One sentence, in the language in force."""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    """What was seen, in plain JSON: ids, pieces, the character before, the flag, the file that it stands in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a rule found in one set-up, over all records in which it found it for the same cause."""

    code: str
    name: str
    severity: Severity
    model: str
    labels_way: str
    count: int
    """In how many records; 1 for a finding of the set-up."""
    share: float
    """Of all records; 1.0 for a finding of the set-up."""
    message: str
    """One sentence: what is so, in the language in force."""
    help: str | None
    """One remedy."""
    cause: Cause | None = None
    places: tuple[Place, ...] = ()
    """The first three."""
    views: tuple[str, ...] = ()
    """The tokens at each place, in a line."""
    reproduction: str | None = None
    """Two lines of Python that show it."""
    fixable: bool = False
    """Whether `finetooth fix` can mend it."""
    folded_under: str | None = None
    """The code of the finding that this one follows from."""
    hashes: tuple[str, ...] = ()
    """Of the records, for a baseline; in no output."""


class Pieces(Protocol):
    """What a view has to know of a tokenizer."""

    @property
    def name(self) -> str:
        """What the user typed to name the tokenizer."""

    def piece(self, token_id: int) -> str:
        """Return the vocabulary's string for an id, such as `▁Paris`, `ĠParis` or `<0xE3>`."""

    def piece_bytes(self, token_id: int) -> bytes | None:
        """Return the bytes of text that an id stands for, or `None` where the tokenizer does not tell."""

    def is_special(self, token_id: int) -> bool:
        """Return whether an id is an added token that is matched as a whole (`<s>`, `<|im_end|>`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One way of seeing a record: the record as one tokenizer and one way of making labels encode it."""

    encoded: Encoded
    pieces: Pieces


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectedRecord:
    """A record and the ways of seeing it, side by side."""

    record: Record
    sides: Sequence[Side]
