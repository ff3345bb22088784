"""What a probe asks: the prompts of a data set as inference supplies them, or the lines of a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import tokenizers

from finetooth.config import Config, LabelsConfig
from finetooth.errors import DataError
from finetooth.inspection import open_records
from finetooth.labels import Setup, encode_records
from finetooth.messages import say
from finetooth.records import records_of
from finetooth.template import ChatTemplate
from finetooth.tokenizer import Tokenizer
from finetooth.types import IGNORE_INDEX, Encoded, Message, Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One prompt, encoded."""

    record: int
    """The number of its record, or of its line, from 0."""
    where: str
    input_ids: list[int]
    question: str
    """The user's last words, which an answer may echo; empty where they are not known."""
    answer_tokens: int = 0
    """Tokens of the answer in the data, 0 where there is none."""
    is_rendered: bool = True
    """Whether the chat template wrote it; the text of a row is its own prompt."""


def prompts_of_data(sources: Sequence[str], setup: Setup, config: Config) -> Iterator[Prompt]:
    """Yield the prompt of each record's last answer: everything before the first token that the model has to write.

    Whatever labels are trained on, inference supplies what the chat template says: the labels are finetooth's own, and
    those of rows that are encoded already.
    """
    yield from prompts_of_records(open_records(list(sources), config.data), setup)


def prompts_of_records(records: Iterable[Record], setup: Setup) -> Iterator[Prompt]:
    """Yield the prompt of each record's last answer, as `prompts_of_data` does."""
    for encoded, record in _encoded(records, setup):
        prompt = prompt_of(encoded, record)
        if prompt is not None:
            yield prompt


def _encoded(records: Iterable[Record], setup: Setup) -> Iterator[tuple[Encoded, Record]]:
    own = replace(setup, labels=LabelsConfig(train_on="last", response_template=setup.labels.response_template))
    as_is = replace(setup, labels=LabelsConfig(way="as-is"))
    for record in records:
        chosen = own if record.input_ids is None else as_is
        (encoded,) = encode_records(chosen, [record])
        yield encoded, record


def prompt_of(encoded: Encoded, record: Record) -> Prompt | None:
    """Return the prompt of a row's last answer; `None` where it has none, or nothing stands before it."""
    learned = [index for index, label in enumerate(encoded.labels) if label != IGNORE_INDEX]
    if not learned:
        return None
    first = learned[-1]
    while first > 0 and encoded.labels[first - 1] != IGNORE_INDEX:
        first -= 1
    if first == 0:
        return None
    users = [span for span in encoded.spans if span.role == "user"]
    question = encoded.text[users[-1].start : users[-1].end].strip() if users else (record.prompt or "").strip()
    return Prompt(
        record=record.index,
        where=encoded.where,
        input_ids=list(encoded.input_ids[:first]),
        question=question,
        answer_tokens=learned[-1] + 1 - first,
        is_rendered=record.messages is not None,
    )


def prompts_of_lines(path: Path, setup: Setup, *, system: str | None = None) -> Iterator[Prompt]:
    """Yield a prompt for each line of a text file, as a user's message under the chat template.

    Raises:
        DataError: The file cannot be read, holds no line, or the model has no chat template.
    """
    if setup.template is None:
        raise DataError(say("probing.no_template"), where=str(path), help="--template chatml")
    before = [{"role": "system", "content": system}] if system else []
    for number, line in lines_of(path):
        yield prompt_of_turn(
            [*before, {"role": "user", "content": line}], setup, index=number, where=path, question=line
        )


def prompt_of_turn(messages: list[Message], setup: Setup, *, index: int, where: Path, question: str) -> Prompt:
    """Return the prompt of a conversation whose answer is to be written.

    Args:
        messages: The last one is the user's.
        setup: Whose chat template renders them.
        index: The number of the user's line, from 0.
        where: The file that holds it.
        question: The user's words.
    """
    assert setup.template is not None, "whoever asks lines has refused a model without a chat template"
    ids = encode_prompt(setup.tokenizer, setup.template, messages)[1].ids
    return Prompt(record=index, where=f"{where}:{index + 1}", input_ids=list(ids), question=question)


def lines_of(path: Path) -> list[tuple[int, str]]:
    """Return the lines of a text file that hold something, each with its number from 0.

    Raises:
        DataError: The file cannot be read, or holds no such line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise DataError(say("probing.unreadable", reason=reason.lower()), where=str(path)) from error
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines()) if line.strip()]
    if not lines:
        raise DataError(say("probing.no_prompts"), where=str(path), help=say("probing.no_prompts_help"))
    return lines


def encode_prompt(
    tokenizer: Tokenizer, template: ChatTemplate, messages: Sequence[Message]
) -> tuple[str, tokenizers.Encoding]:
    """Return the prompt of a conversation as inference supplies it, as text and encoded.

    Raises:
        FinetoothError: The template refuses the conversation, or a text cannot be encoded.
    """
    (record,) = records_of([{"messages": list(messages)}])
    told = [template.in_content_form(message) for message in record.messages or []]
    text = template.render(told, add_generation_prompt=True)
    return text, tokenizer.encode([text], add_special_tokens=False)[0]
