"""Rows are read out of safetensors files as the library reads them, and a file that lies is told of, not believed."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from finetooth.weightfiles import UnreadableWeightsError, read_weights
from tests.weights import encode, matrix, write_model, write_raw, write_safetensors

NAME = "model.embed_tokens.weight"


@pytest.mark.parametrize("shards", [False, True])
@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_rows_are_those_of_the_library(dtype: str, shards: bool, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file

    write_model(tmp_path, {"lm_head.weight": matrix(7, 3), NAME: matrix(11, 5)}, dtype=dtype, shards=shards)
    weights = read_weights(tmp_path)
    assert weights is not None
    read = weights.matrix(NAME).rows([10, 0, 4, 4])
    expected: Any = {}
    for path in tmp_path.glob("*.safetensors"):
        expected |= load_file(path)
    assert list(read) == [0, 4, 10]
    for index, row in read.items():
        assert torch.equal(torch.tensor(row), expected[NAME][index].float())


def test_modules_are_named_with_those_that_hold_them(tmp_path: Path) -> None:
    write_model(tmp_path, {"model.layers.0.mlp.up_proj.weight": matrix(2, 2), "lm_head.weight": matrix(2, 2)})
    weights = read_weights(tmp_path)
    assert weights is not None
    names = {"model", "model.layers", "model.layers.0", "model.layers.0.mlp", "model.layers.0.mlp.up_proj", "lm_head"}
    assert weights.modules == names


def test_a_directory_without_weights_has_none(tmp_path: Path) -> None:
    assert read_weights(tmp_path) is None


def test_zeros_are_told_from_the_first_other_byte(tmp_path: Path) -> None:
    rows = [[0.0] * 4 for _ in range(3)]
    write_safetensors(tmp_path / "model.safetensors", {"a": rows, "b": [*rows, [0.0, 0.0, 0.0, 1.0]], "c": rows})
    weights = read_weights(tmp_path)
    assert weights is not None
    assert [weights.tensor(name).is_zero() for name in "abc"] == [True, False, True]


ENTRY = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
DATA = encode(matrix(2, 2), "F32")


@pytest.mark.parametrize(
    "header",
    [
        [],
        "text",
        None,
        {NAME: []},
        {NAME: "text"},
        {NAME: {}},
        {NAME: {**ENTRY, "dtype": 4}},
        {NAME: {**ENTRY, "shape": 4}},
        {NAME: {**ENTRY, "shape": [2, -2]}},
        {NAME: {**ENTRY, "shape": [2, "2"]}},
        {NAME: {**ENTRY, "shape": [2, 2.0]}},
        {NAME: {**ENTRY, "shape": [3, 2]}},
        {NAME: {**ENTRY, "shape": [4]}},
        {NAME: {**ENTRY, "shape": []}},
        {NAME: {**ENTRY, "dtype": "I8"}},
        {NAME: {**ENTRY, "dtype": "F8_E4M3"}},
        {NAME: {**ENTRY, "data_offsets": [16]}},
        {NAME: {**ENTRY, "data_offsets": [0, 12]}},
        {NAME: {**ENTRY, "data_offsets": [0, 1 << 70]}},
        {NAME: {**ENTRY, "data_offsets": [-16, 0]}},
        {NAME: {**ENTRY, "data_offsets": [16, 0]}},
        {NAME: {**ENTRY, "data_offsets": ["0", "16"]}},
        {NAME: {**ENTRY, "data_offsets": None}},
    ],
)
def test_a_header_that_lies_is_told_of(header: Any, tmp_path: Path) -> None:
    write_raw(tmp_path / "model.safetensors", header, DATA)
    with pytest.raises(UnreadableWeightsError) as caught:
        weights = read_weights(tmp_path)
        assert weights is not None
        weights.matrix(NAME)
    assert "`" in str(caught.value) or "model.safetensors" in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00",
        b"\xff" * 16,
        struct.pack("<Q", 4) + b"{}",
        struct.pack("<Q", 2) + b"\xff\xfe",
        struct.pack("<Q", 100_000) + b"[" * 100_000,
    ],
)
def test_bytes_that_are_no_weights_are_told_of(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(UnreadableWeightsError):
        read_weights(tmp_path)


@pytest.mark.parametrize(
    "index",
    [
        "",
        "[]",
        "{}",
        '{"weight_map": []}',
        '{"weight_map": {"a": 1}}',
        '{"weight_map": {"a": "../elsewhere.safetensors"}}',
        '{"weight_map": ' + "[" * 100_000,
    ],
)
def test_an_index_that_is_none_is_told_of(index: str, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(index, encoding="utf-8")
    with pytest.raises(UnreadableWeightsError, match="is no index of weights"):
        read_weights(tmp_path)


@pytest.mark.parametrize(("file", "reason"), [("gone.safetensors", "cannot be read"), ("b.safetensors", "does not")])
def test_an_index_that_lies_is_told_of(file: str, reason: str, tmp_path: Path) -> None:
    write_safetensors(tmp_path / "b.safetensors", {"other": matrix(2, 2)})
    index = json.dumps({"weight_map": {NAME: file}})
    (tmp_path / "model.safetensors.index.json").write_text(index, encoding="utf-8")
    weights = read_weights(tmp_path)
    assert weights is not None
    with pytest.raises(UnreadableWeightsError, match=reason):
        weights.tensor(NAME)
