"""Reading records: from files, patterns, standard input, the hub or memory, in every shape that people bring.

    from finetooth.config import DataConfig
    from finetooth.records import read_records

    for record in read_records(["train.jsonl"], DataConfig()):
        print(record.where, record.shape)

`sources` finds and opens what is named, `bytestream` decompresses and decodes it, `jsonstream`, `tables` and `hub`
give rows with their places, `shapes` makes a record of a row, with `turns` for conversations and `refusals` for what
is not read.
"""

from __future__ import annotations

from finetooth.records.shapes import detect_shape, record_of
from finetooth.records.sources import read_records, records_of

__all__ = ["detect_shape", "read_records", "record_of", "records_of"]
