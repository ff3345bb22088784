"""What values weigh, and when a rendering is stopped."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from finetooth.template import budget
from finetooth.template.budget import ITEM, Budget, LimitReachedError, charge, check_bits, look, tick, weigh


@pytest.fixture(autouse=True)
def spent() -> Iterator[Budget]:
    spent = Budget(seconds=5, deadline=time.monotonic() + 5)
    token = budget.current.set(spent)
    yield spent
    budget.current.reset(token)


@pytest.mark.parametrize(
    ("value", "weight"),
    [
        ("", 0),
        ("abc", 3),
        (b"abc", 3),
        (None, 0),
        (12345, 0),
        ([], 0),
        (["ab", "c"], 2 * ITEM + 3),
        (("ab", ["c"]), 3 * ITEM + 3),
        ({"ab": "c"}, ITEM + 3),
        ({"a": {"b": ["c", None]}}, 4 * ITEM + 3),
        ({"a": "b"}.items(), 2 * ITEM + ITEM + 2),
        ({"a": "b"}.keys(), ITEM + 1),
        ({"a": "bc"}.values(), ITEM + 2),
        (range(10**9), 0),
    ],
)
def test_a_value_weighs_all_that_it_holds(value: Any, weight: int) -> None:
    assert weigh(value) == weight


def test_what_is_held_twice_weighs_twice() -> None:
    text = "x" * 1000
    assert weigh([text, text]) == 2 * ITEM + 2000


def test_what_would_print_as_more_than_any_text_is_refused_at_once() -> None:
    value: list[Any] = ["x"]
    for _ in range(100):
        value = [value, value]
    with pytest.raises(LimitReachedError, match="a text of more than 67,108,864 characters"):
        weigh(value)


def test_what_is_nested_too_deep_is_refused() -> None:
    value: list[Any] = []
    for _ in range(budget.MAX_DEPTH - 1):
        value = [value]
    assert weigh(value) == ITEM * (budget.MAX_DEPTH - 1)
    with pytest.raises(LimitReachedError, match="too deep"):
        weigh([value])


def test_what_is_spent_adds_up(spent: Budget, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "MAX_TOTAL", 1000)
    charge(400)
    charge(600)
    assert spent.spent == 1000
    with pytest.raises(LimitReachedError, match="texts of more than 1,000 characters in all"):
        charge(1)


def test_time_is_looked_at_now_and_then(spent: Budget) -> None:
    tick()
    look()
    spent.deadline = time.monotonic() - 1
    charge(1)
    with pytest.raises(LimitReachedError, match="more than 5 seconds"):
        look()
    with pytest.raises(LimitReachedError, match="more than 5 seconds"):
        charge(100_000)
    with pytest.raises(LimitReachedError, match="more than 5 seconds"):
        for _ in range(1000):
            tick()


def test_numbers_have_a_limit() -> None:
    check_bits(budget.MAX_BITS)
    with pytest.raises(LimitReachedError, match="a number of more than 16,384 bits"):
        check_bits(budget.MAX_BITS + 1)
