"""Data sets that a trainer takes as they are: `input_ids` and `labels`, encoded by finetooth.

    from datasets import load_dataset
    import finetooth

    dataset = finetooth.encode_dataset(load_dataset("json", data_files="train.jsonl", split="train"), tokenizer)
    trainer = SFTTrainer(model, args=SFTConfig(..., max_length=None), train_dataset=dataset)

TRL leaves rows that hold `input_ids` and `labels` as they are, but still cuts them at `max_length`, 1024 by default:
give `max_length=None`. transformers' Trainer wants `DataCollatorForSeq2Seq(tokenizer)`, which pads labels with -100 by
position; `DataCollatorForLanguageModeling` would throw these labels away and make its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from finetooth.errors import MissingExtraError
from finetooth.labels.columns import encode_columns
from finetooth.labels.setup import Setup
from finetooth.messages import say
from finetooth.types import Record

if TYPE_CHECKING:
    import datasets
    import pyarrow


def encode_table(setup: Setup, records: Iterable[Record]) -> pyarrow.Table:
    """Encode records to an Arrow table with the columns `input_ids` and `labels`, lists of 32-bit integers.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
    except ImportError as error:
        raise MissingExtraError(say("labels.needs_data"), help='pip install "finetooth[data]"') from error
    kind = pa.list_(pa.int32())
    schema = pa.schema({"input_ids": kind, "labels": kind})
    batches = []
    for columns in encode_columns(setup, records):
        starts = pa.array([0, *columns.ends], type=pa.int32())
        lists = [
            pa.ListArray.from_arrays(starts, pa.Array.from_buffers(pa.int32(), len(flat), [None, pa.py_buffer(flat)]))
            for flat in (columns.input_ids, columns.labels)
        ]
        batches.append(pa.RecordBatch.from_arrays(lists, schema=schema))
    return pa.Table.from_batches(batches, schema=schema)


def table_dataset(table: pyarrow.Table) -> datasets.Dataset:
    """Return an Arrow table as a `datasets.Dataset`, without copying it."""
    try:
        from datasets import Dataset
        from datasets.table import InMemoryTable
    except ImportError as error:
        raise MissingExtraError(say("labels.needs_data"), help='pip install "finetooth[data]"') from error
    return Dataset(InMemoryTable(table))


def rows_of(data: Any) -> Iterable[Mapping[str, Any]]:
    """Return the rows of a `datasets.Dataset` or of any iterable of mappings, as plain Python values."""
    rows: Iterable[Mapping[str, Any]] = data.with_format(None) if hasattr(data, "with_format") else data
    return rows
