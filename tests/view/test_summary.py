from __future__ import annotations

from finetooth.types import IGNORE_INDEX
from finetooth.view.summary import summarize
from tests.view.samples import make_side, three_sides


def test_the_ends_of_the_example() -> None:
    ends = [[token.label for token in summarize(side).last] for side in three_sides().sides]
    assert ends == [[829, 29879, 29958], [30427, 31068, 30267], [31068, 30267, 2]]


def test_numbers() -> None:
    summary = summarize(three_sides().sides[0])
    assert (summary.num_tokens, summary.num_supervised, summary.num_foreign) == (25, 10, 0)
    assert summary.share == 10 / 25
    assert summary.first is not None
    assert (summary.first.token_index, summary.first.label, summary.first.piece) == (15, 13, "<0x0A>")
    assert [token.token_index for token in summary.last] == [22, 23, 24]


def test_nothing_supervised() -> None:
    summary = summarize(make_side("a", [(5, "a", 0, 1, False)]))
    assert (summary.share, summary.first, summary.last) == (0.0, None, ())


def test_no_tokens() -> None:
    assert summarize(make_side("", [])).share == 0.0


def test_labels_that_are_not_their_token_are_counted() -> None:
    side = make_side(
        "abc", [(5, "a", 0, 1, True), (6, "b", 1, 2, True), (7, "c", 2, 3, True)], labels=[IGNORE_INDEX, 7, 7]
    )
    summary = summarize(side)
    assert summary.num_foreign == 1
    assert summary.first is not None
    assert (summary.first.label, summary.first.piece) == (7, "c")
