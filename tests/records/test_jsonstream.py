from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from finetooth.errors import DataError
from finetooth.records import jsonstream, read_records
from tests.records.files import LINES, ROWS, failure, places, read, texts, write

TEXTS = ["a", "お嬢様", "c"]


def rows_of(content: str, *, size: int, is_lines: bool = False) -> list[tuple[dict[str, Any], str]]:
    """Read JSON that comes in chunks of a size, any broken row raising."""
    data = content.encode()
    chunks = (data[i : i + size] for i in range(0, len(data), size))

    def broken(error: DataError) -> None:
        raise error

    return list(jsonstream.json_rows(chunks, "f", broken, is_lines=is_lines))


ARRANGEMENTS = {
    "lines": (LINES, ["data:1", "data:2", "data:3"]),
    "array": (json.dumps(ROWS), ["data[0]", "data[1]", "data[2]"]),
    "array over lines": ("\n" + json.dumps(ROWS, indent=2) + "\n", ["data[0]", "data[1]", "data[2]"]),
    "wrapped": (json.dumps({"data": ROWS}), ["data[0]", "data[1]", "data[2]"]),
    "wrapped over lines": (json.dumps({"rows": ROWS}, indent="\t"), ["data[0]", "data[1]", "data[2]"]),
    "objects over lines": ("\n".join(json.dumps(row, indent=1) for row in ROWS), ["data:1", "data:4", "data:7"]),
}


@pytest.mark.parametrize("name", ARRANGEMENTS)
@pytest.mark.parametrize("suffix", ["json", "none"])
def test_arrangements_of_json(tmp_path: Path, name: str, suffix: str) -> None:
    content, where = ARRANGEMENTS[name]
    file = "data.json" if suffix == "json" else "data"
    records = read(write(tmp_path / file, content))
    assert texts(records) == TEXTS
    assert places(records, tmp_path) == [place.replace("data", file) for place in where]


def test_one_object_a_file(tmp_path: Path) -> None:
    row = {"messages": [{"role": "user", "content": "x"}]}
    for content in (json.dumps(row), json.dumps(row, indent=4)):
        (record,) = read(write(tmp_path / "data.json", content))
        assert record.row == row
        assert record.where == f"{tmp_path}/data.json:1"


def test_an_array_may_be_called_jsonl(tmp_path: Path) -> None:
    assert texts(read(write(tmp_path / "data.jsonl", json.dumps(ROWS, indent=1)))) == TEXTS


def test_a_broken_first_line_of_jsonl_is_one_row(tmp_path: Path) -> None:
    path = write(tmp_path / "data.jsonl", "[oops\n" + LINES)
    assert texts(read(path, skip_broken=True)) == TEXTS
    path = write(tmp_path / "data.jsonl", '{"text": "cut", "more"\n' + LINES)
    assert failure(path).where == f"{path}:1"
    assert texts(read(path, skip_broken=True)) == TEXTS


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 13, 50, 10_000])
@pytest.mark.parametrize("name", ARRANGEMENTS)
def test_chunks_may_end_anywhere(name: str, size: int) -> None:
    found = rows_of(ARRANGEMENTS[name][0], size=size)
    assert [row for row, _ in found] == ROWS
    assert [place for _, place in found] == [place.replace("data", "f") for place in ARRANGEMENTS[name][1]]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7])
def test_numbers_and_literals_across_chunks(size: int) -> None:
    rows = [{"n": [-12.5e-10, 123456789, True, None, '\\"\u2028'], "m": {"x": {}}}, {"n": []}]
    assert [row for row, _ in rows_of(json.dumps(rows), size=size)] == rows


def test_an_array_is_read_element_by_element() -> None:
    seen = []

    def chunks() -> Iterator[bytes]:
        yield b"["
        for i in range(100_000):
            seen.append(i)
            yield b'{"text": "%d"},' % i
        yield b'{"text": "end"}]'

    rows = jsonstream.json_rows(chunks(), "f", lambda error: None, is_lines=False)
    next(rows)
    assert len(seen) < 10_000


@pytest.mark.parametrize("opening", [b"", b"[", b'{"data": ['])
def test_memory_is_bounded_by_the_longest_row(tmp_path: Path, opening: bytes) -> None:
    row = json.dumps({"text": "x" * 1000}).encode()
    closing = {b"": b"", b"[": b"]", b'{"data": [': b"]}"}[opening]
    path = write(tmp_path / "data.json", opening + ((b"," if opening else b"\n").join([row] * 20_000)) + closing)
    assert path.stat().st_size > 20_000_000
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_records(path)) == 20_000
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["data.jsonl", "data.json"])
def test_a_line_of_50_megabytes(tmp_path: Path, name: str) -> None:
    text = "x" * 50_000_000
    content = f'[{{"text": "{text}"}}]' if name == "data.json" else f'{{"text": "{text}"}}'
    path = write(tmp_path / name, content)
    (record,) = read(path)
    assert record.text == text
    write(path, content.replace("}", '"y}'))
    error = failure(path)
    assert error.where == f"{path}:1"
    assert "column 500000" in error.what
    shown = error.what[error.what.index(": `") + 3 : -1]
    assert 40 < len(shown) <= 80
    assert '"y}' in shown


@pytest.mark.parametrize(
    ("line", "column", "reason"),
    [
        ('{"text": oops}', 10, "a value was expected"),
        ('{"text": "a" "b"}', 14, "a comma or the closing bracket was expected"),
        ('{"text" "a"}', 9, "a colon was expected"),
        ("{text: 1}", 2, "a name in double quotes was expected"),
        ('{"text": "a}', 10, "the string that begins here is not closed"),
        ('{"text": "a\tb"}', 12, "control character inside a string"),
        (r'{"text": "\q"}', 11, "unknown escape"),
        (r'{"text": "\u12"}', 12, "unknown escape"),
        ('{"text": "a"} x', 15, "more text after the end of the value"),
        ('{"text": "a"', 13, "the text ends here, inside a value"),
        ('{"text":', 9, "the text ends here, inside a value"),
        ('{"n": ' + "1" * 5000 + "}", 1, "Exceeds the limit"),
        ('{"n": ' + "[" * 200_000, 1, "nested too deeply"),
    ],
)
def test_what_is_wrong_with_a_line(tmp_path: Path, line: str, column: int, reason: str) -> None:
    path = write(tmp_path / "data.jsonl", f"{LINES}{line}\n{LINES}")
    error = failure(path)
    assert error.what.startswith(f"invalid JSON at column {column}: {reason}")
    assert error.where == f"{path}:4"
    assert len(error.what) < 400
    assert texts(read(path, skip_broken=True)) == TEXTS * 2


def test_a_row_written_by_str(tmp_path: Path) -> None:
    error = failure(write(tmp_path / "data.jsonl", "{'text': 'a'}\n"))
    assert error.help == "write rows with `json.dumps(row)`, not `str(row)`"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("[1]", "a list"),
        ('"a"', "the string `a`"),
        ("5", "the number `5`"),
        ("null", "null"),
        ("true", "the boolean `true`"),
    ],
)
def test_a_line_that_is_no_object(tmp_path: Path, line: str, found: str) -> None:
    path = write(tmp_path / "data.jsonl", f"{LINES}{line}\n")
    error = failure(path)
    assert error.what == f"the row is {found}; an object was expected"
    assert error.where == f"{path}:4"
    path = write(tmp_path / "data.json", f'[{{"text": "a"}}, {line}, {{"text": "c"}}]')
    error = failure(path)
    assert error.what == f"the row is {found}; an object was expected"
    assert error.where == f"{path}[1]"
    assert texts(read(path, skip_broken=True)) == ["a", "c"]


@pytest.mark.parametrize(
    ("content", "place", "what", "remedy"),
    [
        ('[\n{"text": "a"},\n{"text": "b"', 3, "the text ends here, inside a value", "fetch or write"),
        ('[\n{"text": "a"},\n{"text": "b"},', 3, "the text ends here, inside a value", "fetch or write"),
        ('[\n{"text": "a"},\n{"text": "b"}\n', 4, "the text ends here, inside a value", "fetch or write"),
        ('[\n{"text": "a"},\n{"text": "b', 3, "the string that begins here is not closed", "correct line 3"),
        ('[\n{"text": "a"}\n{"text": "b"}]', 3, "a comma or the closing bracket was expected", "correct line 3"),
        ('[\n{"text": "a"},\n]', 3, "comma before the closing bracket", "correct line 3"),
        ('[\n{"text": "a"}]\n{"text": "b"}', 3, "more text after the end of the value", "correct line 3"),
        ('[\n{"text": "a"},\n{text: "b"}, {"text": "c"}]', 3, "a name in double quotes was", "correct line 3"),
        ('{"data": [\n{"text": "a"}]', 2, "the text ends here, inside a value", "fetch or write"),
        ('{"data": [\n{"text": "a"}],\n"n": 1}', 2, "the object holds more than the list `data`", "correct line 2"),
        ('{"data": [\n{"text": "a"}]} x', 2, "more text after the end of the value", "correct line 2"),
        ('{\n"text": "a"}\n{\n"text" 1}', 4, "a colon was expected", "correct line 4"),
    ],
)
def test_an_array_that_is_broken_is_read_no_further(
    tmp_path: Path, content: str, place: int, what: str, remedy: str
) -> None:
    path = write(tmp_path / "data.json", content)
    seen: list[str | None] = []
    with pytest.raises(DataError) as caught:
        seen.extend(record.text for record in read_records(path))
    error = caught.value
    assert what in error.what
    assert error.where == f"{path}:{place}"
    assert error.help is not None and error.help.startswith(remedy)
    assert failure(path, skip_broken=True).what == error.what


def test_a_broken_element_is_found_before_the_file_is_read_whole() -> None:
    seen = []

    def chunks() -> Iterator[bytes]:
        yield b'[{"text": "a"}, {"text" "b"}'
        for i in range(100_000):
            seen.append(i)
            yield b', {"text": "c"}'

    with pytest.raises(DataError, match="a colon was expected"):
        list(jsonstream.json_rows(chunks(), "f", lambda error: None, is_lines=False))
    assert len(seen) < 10_000


def test_the_place_of_an_error_far_into_an_array(tmp_path: Path) -> None:
    content = "[\n" + '{"text":\n"a"},\n' * 30_000 + '  {"text": oops}]'
    error = failure(write(tmp_path / "data.json", content))
    assert error.where is not None and error.where.endswith(":60002")
    assert error.what.startswith("invalid JSON at column 12: a value was expected: ")


def test_nan_infinity_and_doubled_keys_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "data.jsonl", '{"text": "a", "score": NaN, "text": "b", "most": -Infinity}\n')
    (record,) = read(path)
    assert record.text == "b"
    assert str(record.row["score"]) == "nan"


def test_a_nul_byte(tmp_path: Path) -> None:
    path = write(tmp_path / "data.jsonl", '{"text": "a"}\n{"text": "a\0b"}\n')
    error = failure(path)
    assert str(error) == f"NUL byte at column 12\n --> {path}:2\nhelp: tr -d '\\000' < {path} > {path}.clean"


@pytest.mark.parametrize("name", ["data.jsonl", "data.json"])
@pytest.mark.parametrize("escape", [r"\ud83d", r"\uDE00", r"\ud83dx", r"\ude00\ud83d"])
def test_half_a_surrogate_pair(tmp_path: Path, name: str, escape: str) -> None:
    row = f'{{"text": "ab{escape}"}}'
    path = write(tmp_path / name, row if name == "data.jsonl" else f"[{row}]")
    error = failure(path)
    assert error.what == (
        f"half of a surrogate pair, `{escape[:6].lower()}`, in `text` at character 2: no tokenizer takes it"
    )
    assert error.where == str(path) + (":1" if name == "data.jsonl" else "[0]")


def test_a_whole_surrogate_pair_is_one_character(tmp_path: Path) -> None:
    assert texts(read(write(tmp_path / "data.jsonl", r'{"text": "\ud83d\ude00"}'))) == ["😀"]
