from __future__ import annotations

import json

from finetooth.view.jsonlines import to_json
from tests.view.samples import check_golden, hostile, three_sides

KEYS = [
    "record",
    "where",
    "model",
    "loader",
    "labels_way",
    "text",
    "input_ids",
    "labels",
    "offsets",
    "spans",
    "dropped",
]


def test_keys_are_those_of_the_contract() -> None:
    line = to_json(three_sides().sides[0].encoded)
    assert list(line) == KEYS
    assert list(line["spans"][0]) == ["start", "end", "role", "message_index", "supervised"]


def test_golden() -> None:
    lines = [json.dumps(to_json(side.encoded), ensure_ascii=False) for side in three_sides().sides]
    check_golden("three_sides.jsonl", "\n".join(lines))


def test_everything_comes_back() -> None:
    encoded = hostile().sides[0].encoded
    line = json.loads(json.dumps(to_json(encoded)))
    assert line["text"] == encoded.text
    assert [tuple(offset) for offset in line["offsets"]] == encoded.offsets
    assert (line["input_ids"], line["labels"], line["dropped"]) == (encoded.input_ids, encoded.labels, encoded.dropped)
