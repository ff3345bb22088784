"""Encoding from Python: rows to ids and labels, and data sets that a trainer takes as they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from finetooth.config import config_of
from finetooth.dataset import encode_table, rows_of, table_dataset
from finetooth.labels import Setup, encode_records, make_setup
from finetooth.records import records_of
from finetooth.tokenizer import Tokenizer, from_transformers
from finetooth.types import Encoded

if TYPE_CHECKING:
    import datasets


def encode(
    rows: Mapping[str, Any] | Iterable[Mapping[str, Any]],
    *,
    model: str | Tokenizer | Any,
    template: str | None = None,
    **options: Any,
) -> list[Encoded]:
    """Encode rows to ids, labels and character ranges.

    Args:
        rows: A row, or several, of any shape that finetooth reads: `{"messages": [...]}`, `{"prompt", "completion"}`,
            `{"text"}`, and so on.
        model: A directory, a hub id, or a tokenizer that is loaded already.
        template: A built-in chat template's name, or a .jinja file; `None` takes the tokenizer's own.
        **options: Fields of `finetooth.config.LabelsConfig`, such as `way`, `train_on` or `max_length`.

    Returns:
        An `Encoded` for each row, in their order.

    Raises:
        FinetoothError: A row, the tokenizer, the template or an option is wrong; the error names the row.
    """
    many = [rows] if isinstance(rows, Mapping) else rows
    return list(encode_records(_setup(model, template, options), records_of(many)))


def encode_dataset(
    dataset: Any, tokenizer: str | Tokenizer | Any, *, template: str | None = None, **options: Any
) -> datasets.Dataset:
    """Encode a data set to `input_ids` and `labels`, ready for transformers' Trainer and for TRL.

    The rows that SFTTrainer would be given, labelled so that every token which the model must generate is supervised
    and none that inference supplies. TRL takes rows that hold `input_ids` and `labels` as they are, but still cuts them
    at `max_length`, 1024 by default: give `SFTConfig(max_length=None)`. transformers' Trainer wants
    `DataCollatorForSeq2Seq(tokenizer)`, which pads labels with -100 by position.

    Args:
        dataset: A `datasets.Dataset`, or any iterable of rows of the shapes that finetooth reads.
        tokenizer: The tokenizer that the model is trained with: loaded, or its directory or hub id.
        template: A built-in chat template's name, or a .jinja file; `None` takes the tokenizer's own.
        **options: Fields of `finetooth.config.LabelsConfig`, such as `train_on`.

    Returns:
        A `datasets.Dataset` of as many rows, less those that the way of making labels drops, in their order.

    Raises:
        MissingExtraError: pyarrow or datasets is not installed.
        FinetoothError: A row, the tokenizer, the template or an option is wrong; the error names the row.
    """
    setup = _setup(tokenizer, template, options)
    return table_dataset(encode_table(setup, records_of(rows_of(dataset))))


def _setup(model: Any, template: str | None, options: Mapping[str, Any]) -> Setup:
    if not isinstance(model, (str, Tokenizer)):
        model = from_transformers(model)
    values = {f"labels.{name}": value for name, value in options.items()}
    return make_setup(model, config_of({"tokenizer.template": template, **values}))
