from __future__ import annotations

import pytest

from finetooth.config import Config, closest, flatten, key_of, keys, nest
from finetooth.errors import ConfigError
from finetooth.messages import set_language


def test_every_field_is_a_key_in_the_order_of_the_tree() -> None:
    assert list(keys()) == list(flatten(Config()))
    assert {name: key.default for name, key in keys().items()} == flatten(Config())


@pytest.mark.parametrize("name", list(keys()))
def test_every_key_is_documented_in_both_languages(name: str) -> None:
    set_language("en")
    english = keys()[name].documentation
    set_language("ja")
    japanese = keys()[name].documentation
    assert english.endswith(".")
    assert japanese.endswith("。")


def test_documentation_is_the_docstring_under_the_field() -> None:
    assert keys()["data.split"].documentation == "The split of a hub data set."


def test_documentation_says_null_where_python_says_none() -> None:
    assert "`null` takes the environment's" in keys()["output.lang"].documentation


@pytest.mark.parametrize(
    ("name", "allowed", "choices", "is_closed"),
    [
        ("labels.max_length", "INTEGER | none | default", ("none", "default"), False),
        ("labels.response_template_ids", "INTEGER,... | null", (), False),
        ("labels.completion_only_loss", "true | false | null", (), False),
        ("output.lang", "en | ja | null", ("en", "ja"), True),
        ("data.text_field", "TEXT", (), False),
    ],
)
def test_what_a_key_allows(name: str, allowed: str, choices: tuple[str, ...], is_closed: bool) -> None:
    key = keys()[name]
    assert (key.allowed, key.choices, key.is_closed) == (allowed, choices, is_closed)


def test_variable() -> None:
    assert keys()["labels.max_length"].variable == "FINETOOTH_LABELS_MAX_LENGTH"


def test_an_unknown_key_offers_the_nearest() -> None:
    with pytest.raises(ConfigError) as caught:
        key_of("labels.trian_on", where="finetooth.yaml:7")
    assert str(caught.value) == (
        "unknown key `labels.trian_on`\n --> finetooth.yaml:7\nhelp: did you mean `labels.train_on`?"
    )


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("labels.maxlength", "labels.max_length"),
        ("max_length", "labels.max_length"),
        ("tokenizer.max_length", "labels.max_length"),
        ("qqqq", None),
    ],
)
def test_closest(word: str, near: str | None) -> None:
    assert closest(word, keys()) == near


def test_nest_is_the_inverse_of_flatten() -> None:
    assert nest({"a.b.c": 1, "a.b.d": 2, "e": 3}) == {"a": {"b": {"c": 1, "d": 2}}, "e": 3}
