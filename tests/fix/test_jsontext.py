from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetooth.fix.jsontext import indent_unit, set_value, set_values, value_at


@pytest.mark.parametrize(
    ("text", "path", "value", "changed"),
    [
        ('{"a": true, "b": 2}', ["a"], False, '{"a": false, "b": 2}'),
        ('{"a":1,"b":[{"c":"x"}]}', ["b", 0, "c"], "y", '{"a":1,"b":[{"c":"y"}]}'),
        ('{"a":1}', ["b"], [2, 3], '{"a":1,"b":[2,3]}'),
        ('{"a": 1}', ["b"], [2, 3], '{"a": 1, "b": [2, 3]}'),
        ("{}", ["a"], 1, '{"a": 1}'),
        ('{\n  "a": 1\n}\n', ["b"], [2, 3], '{\n  "a": 1,\n  "b": [\n    2,\n    3\n  ]\n}\n'),
        ('{\n  "a": 1\n}\n', ["a"], [2], '{\n  "a": [\n    2\n  ]\n}\n'),
        ('{\n  "a": [1, 2]\n}\n', ["a"], [2], '{\n  "a": [2]\n}\n'),
        ('{\r\n "a": 1\r\n}\r\n', ["b"], 2, '{\r\n "a": 1,\r\n "b": 2\r\n}\r\n'),
        ('{"a": "\\u3042"}', ["a"], "い", '{"a": "\\u3044"}'),
        ('{"a": "あ"}', ["a"], "い", '{"a": "い"}'),
        ('{"a": 1, "a": 2}', ["a"], 3, '{"a": 1, "a": 3}'),
        ('{"é\\"": 1}', ['é"'], 2, '{"é\\"": 2}'),
    ],
)
def test_only_the_value_changes(text: str, path: list[str | int], value: Any, changed: str) -> None:
    assert set_value(text, path, value) == changed
    assert value_at(changed, path) == value


def test_what_is_so_already_is_left_alone() -> None:
    text = '{"a": [1,  2], "b": 1.0}'
    assert set_value(text, ["a"], [1, 2]) is text


def test_true_is_not_one() -> None:
    assert set_value('{"a": 1}', ["a"], True) == '{"a": true}'


@pytest.mark.parametrize("path", [["x", "y"], ["a", "y"], ["b", 3, "c"], ["b", 5]])
def test_a_path_that_leads_nowhere(path: list[str | int]) -> None:
    with pytest.raises(KeyError):
        set_value('{"a": 1, "b": [1]}', path, 0)


def test_several_values() -> None:
    text = '{\n  "a": [\n    {\n      "x": true\n    }\n  ],\n  "b": 1\n}\n'
    changed = set_values(text, {("a", 0, "x"): False, ("b",): 2, ("a", 0, "y"): 3})
    assert changed == text.replace("true", 'false,\n      "y": 3').replace('"b": 1', '"b": 2')


def test_indent_unit() -> None:
    assert indent_unit('{\n    "a": 1\n}') == "    "
    assert indent_unit('{"a": 1}') is None


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(
    st.dictionaries(st.text(), _values, min_size=1),
    st.data(),
    _values,
    st.sampled_from([None, 1, 4, "\t"]),
    st.booleans(),
)
def test_like_setting_the_value_and_writing_it_anew(
    document: dict[str, Any], data: st.DataObject, value: Any, indent: Any, is_ascii: bool
) -> None:
    text = json.dumps(document, indent=indent, ensure_ascii=is_ascii)
    key = data.draw(st.sampled_from(sorted(document)) | st.text())
    assert json.loads(set_value(text, [key], value)) == document | {key: value}
