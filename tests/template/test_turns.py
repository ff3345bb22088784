"""Which turns, and which parts of a turn, are learned."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from finetooth.config import TrainOn
from finetooth.errors import LabelsError, TemplateError
from finetooth.template import TURN_KEYS, learned_turns, turn_flag
from finetooth.template.turns import Piece, content_pieces, part_flag
from finetooth.types import Message

LEARNED = [True, 1, 2, 0.5, 1e-9, float("inf")]
NOT_LEARNED = [False, 0, 0.0, -0.0, -1, -0.5]
WRONG = ["true", "1", "", [], [1], {}, {"a": 1}, float("nan")]


@pytest.mark.parametrize("key", TURN_KEYS)
class TestKeys:
    @pytest.mark.parametrize("value", LEARNED, ids=repr)
    def test_learned(self, key: str, value: Any) -> None:
        assert turn_flag({"role": "user", key: value}) is True

    @pytest.mark.parametrize("value", NOT_LEARNED, ids=repr)
    def test_not_learned(self, key: str, value: Any) -> None:
        assert turn_flag({key: value}) is False

    def test_null_says_nothing(self, key: str) -> None:
        assert turn_flag({key: None}) is None
        assert turn_flag({"role": "user"}) is None

    @pytest.mark.parametrize("value", WRONG, ids=repr)
    def test_wrong_types(self, key: str, value: Any) -> None:
        with pytest.raises(LabelsError) as caught:
            turn_flag({key: value})
        assert caught.value.what == f"the key `{key}` of a turn holds {value!r}, neither a boolean nor a number"
        assert caught.value.help == f'write `"{key}": true` or `false`'


def test_the_keys_are_those_of_five_pieces_of_software() -> None:
    assert TURN_KEYS == ("train", "weight", "loss", "loss_weight", "loss_mask")


def test_a_key_without_a_value_leaves_the_word_to_the_next() -> None:
    assert turn_flag({"train": None, "weight": 0}) is False
    assert turn_flag({"train": True, "weight": 0}) is True


ROLES = ("system", "user", "assistant", "user", "model", "tool", "assistant")


def conversation(**flags: Any) -> list[Message]:
    """Return turns of the roles above; `m2=0` puts `weight: 0` on the third."""
    return [
        {"role": role, "content": "x", **({"weight": flags[f"m{index}"]} if f"m{index}" in flags else {})}
        for index, role in enumerate(ROLES)
    ]


@pytest.mark.parametrize(
    ("train_on", "num_prompt_messages", "expected"),
    [
        ("completion", None, [2, 4, 6]),
        ("completion", 0, [2, 4, 6]),
        ("completion", 3, [4, 6]),
        ("completion", 6, [6]),
        ("completion", 7, []),
        ("assistant", None, [2, 4, 6]),
        ("assistant", 6, [2, 4, 6]),
        ("last", None, [6]),
        ("last", 2, [6]),
        ("all", None, [0, 1, 2, 3, 4, 5, 6]),
        ("all", 6, [0, 1, 2, 3, 4, 5, 6]),
    ],
)
def test_train_on(train_on: TrainOn, num_prompt_messages: int | None, expected: list[int]) -> None:
    learned = learned_turns(conversation(), num_prompt_messages, train_on)
    assert [index for index, flag in enumerate(learned) if flag] == expected


@pytest.mark.parametrize("train_on", ["completion", "assistant", "last", "all"])
def test_keys_overrule_train_on(train_on: TrainOn) -> None:
    before = learned_turns(conversation(), None, train_on)
    learned = learned_turns(conversation(m0=1, m1=0, m2=0.0, m5=True, m6=None), None, train_on)
    assert learned == [True, False, False, before[3], before[4], True, before[6]]


def test_the_last_turn_is_the_last_that_the_model_writes() -> None:
    assert learned_turns(conversation()[:6], None, "last") == [False, False, False, False, True, False]
    assert learned_turns(conversation()[:2], None, "last") == [False, False]
    assert learned_turns([], None, "last") == []


def test_a_wrong_key_on_any_turn_is_an_error() -> None:
    with pytest.raises(LabelsError, match="`weight` of a turn holds 'no'"):
        learned_turns(conversation(m1="no"), None, "completion")


def pieces(content: Any, *, learned: bool = True, **keys: Any) -> list[tuple[str, bool]]:
    return [(piece.text, piece.learned) for piece in content_pieces({"content": content, **keys}, learned)]


def text_part(text: str, **keys: Any) -> dict[str, Any]:
    return {"type": "text", "text": text, **keys}


@pytest.mark.parametrize("learned", [True, False])
def test_a_text_is_one_piece(learned: bool) -> None:
    assert content_pieces({"content": "abc"}, learned) == [Piece("abc", learned)]
    assert content_pieces({"content": ""}, learned) == [Piece("", learned)]


@pytest.mark.parametrize("message", [{}, {"content": None}, {"content": []}, {"content": [text_part("")]}])
def test_a_turn_without_words_has_no_pieces(message: Message) -> None:
    assert content_pieces(message, True) == []


def test_parts_with_keys() -> None:
    content = [text_part("a", weight=0), text_part("b "), text_part("c", train=False), "d", text_part("e", loss=1)]
    assert pieces(content) == [("a", False), ("b ", True), ("c", False), ("de", True)]
    assert pieces(content, learned=False) == [("ab cd", False), ("e", True)]


def test_parts_that_say_the_same_are_one_piece() -> None:
    assert pieces([text_part("a", weight=1), text_part(""), text_part("b")]) == [("ab", True)]


def test_a_part_may_spell_its_text_as_value() -> None:
    assert pieces([{"type": "text", "value": "a"}]) == [("a", True)]


def test_a_part_of_a_wrong_kind_is_an_error() -> None:
    with pytest.raises(TemplateError, match=r"content part \{'type': 'image'\} holds no text"):
        pieces([text_part("a"), {"type": "image"}])
    with pytest.raises(LabelsError, match="`weight` of a turn holds 'x'"):
        pieces([text_part("a", weight="x")])


def test_part_flag() -> None:
    assert part_flag("a", True) and not part_flag("a", False)
    assert part_flag(text_part("a", weight=1), False)
    assert not part_flag({"type": "image", "train": False}, True)


def detail(start: Any, end: Any, **keys: Any) -> dict[str, Any]:
    return {"begin_offset": start, "end_offset": end, **keys}


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        ([detail(0, 1, train=False)], [("ab", False), ("cdef", True)]),
        ([detail(2, 2, train=False)], [("ab", True), ("c", False), ("def", True)]),
        ([detail(5, 5, train=False)], [("abcde", True), ("f", False)]),
        ([detail(0, 5, train=False)], [("abcdef", False)]),
        ([detail(0, 5, train=True)], [("abcdef", True)]),
        (
            [detail(0, 2, train=False), detail(1, 1, train=True)],
            [("a", False), ("b", True), ("c", False), ("def", True)],
        ),
        ([detail(0, 5, train=0), detail(3, 5)], [("abc", False), ("def", True)]),
        ([detail(0, 5, train=0), detail(3, 5, train=None)], [("abc", False), ("def", True)]),
        (detail(1, 2, train=False), [("a", True), ("bc", False), ("def", True)]),
        ([], [("abcdef", True)]),
        (None, [("abcdef", True)]),
    ],
)
def test_train_detail(details: Any, expected: list[tuple[str, bool]]) -> None:
    assert pieces("abcdef", train_detail=details) == expected


def test_train_detail_counts_characters_and_not_bytes() -> None:
    assert pieces("お嬢🍚様", train_detail=[detail(2, 2, train=False)]) == [("お嬢", True), ("🍚", False), ("様", True)]


def test_train_detail_says_what_is_learned_of_a_turn_that_is_not() -> None:
    assert pieces("abcdef", learned=False, train_detail=[detail(1, 2, train=True)]) == [
        ("a", False),
        ("bc", True),
        ("def", False),
    ]


@pytest.mark.parametrize("bounds", [(-1, 2), (0, 6), (3, 2), (6, 6), (0, 10**9)])
def test_a_range_outside_the_content_is_an_error(bounds: tuple[int, int]) -> None:
    with pytest.raises(LabelsError) as caught:
        pieces("abcdef", train_detail=[detail(*bounds)])
    assert caught.value.what == (
        f"an entry of `train_detail` runs from {bounds[0]} to {bounds[1]}, and the content has 6 characters"
    )
    assert caught.value.help


@pytest.mark.parametrize(
    "entry",
    [{}, {"begin_offset": 0}, detail("0", 1), detail(0, None), detail(0.5, 1), detail(0, [1]), "x", 3, None, [0, 1]],
    ids=repr,
)
@pytest.mark.parametrize("in_a_list", [True, False])
def test_an_entry_of_a_wrong_kind_is_an_error(entry: Any, in_a_list: bool) -> None:
    if not entry and not in_a_list:
        assert pieces("abcdef", train_detail=entry) == [("abcdef", True)]
        return
    with pytest.raises(LabelsError) as caught:
        pieces("abcdef", train_detail=[entry] if in_a_list else entry)
    assert caught.value.what.startswith("an entry of `train_detail` is ")
    assert caught.value.help


def test_the_train_of_an_entry_is_a_boolean_or_a_number() -> None:
    with pytest.raises(LabelsError, match="`train` of a turn holds 'false'"):
        pieces("abcdef", train_detail=[detail(0, 1, train="false")])


def test_an_entry_is_shown_in_short() -> None:
    with pytest.raises(LabelsError) as caught:
        pieces("abcdef", train_detail=[{"text": "x" * 10_000}])
    assert len(caught.value.what) < 120


@pytest.mark.parametrize("content", ["", "a", "ab c\n", "お嬢様"])
def test_pieces_are_the_whole_content(content: str) -> None:
    for start in range(len(content)):
        for end in range(start, len(content)):
            found = content_pieces({"content": content, "train_detail": [detail(start, end, train=False)]}, True)
            assert "".join(piece.text for piece in found) == content
            assert all(left.learned != right.learned for left, right in pairwise(found))
