"""Ticks, thinning and scales."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetooth.charts import Chart, Series
from finetooth.charts.axes import log_ticks, tick_labels, ticks
from finetooth.charts.blocks import BLOCKS, curve_of_blocks
from finetooth.charts.chart import MAX_POINTS, thinned
from finetooth.charts.svg import render_svg


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_are_round_and_within(low: float, length: float) -> None:
    found = ticks(low, low + length)
    assert 2 <= len(found) <= 11
    step = found[1] - found[0]
    mantissa = step / 10 ** math.floor(math.log10(step) + 1e-9)
    assert any(math.isclose(mantissa, one, rel_tol=1e-6) for one in (1, 2, 5))
    assert all(low - step * 1e-6 <= tick <= low + length + step * 1e-6 for tick in found)


def test_labels_have_the_digits_of_their_step() -> None:
    assert tick_labels(ticks(0, 1)) == ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]
    assert tick_labels(ticks(0, 40, 8)) == ["0", "5", "10", "15", "20", "25", "30", "35", "40"]
    assert log_ticks(math.log10(1.2), math.log10(23)) == [2, 5, 10, 20]


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=3000))
def test_thinning_keeps_the_ends_and_every_extreme(ys: list[float]) -> None:
    points = [(float(x), y) for x, y in enumerate(ys)]
    kept = thinned(points)
    assert len(kept) <= MAX_POINTS + 2
    assert kept[0] == points[0] and kept[-1] == points[-1]
    assert max(y for _, y in kept) == max(ys) and min(y for _, y in kept) == min(ys)
    assert [x for x, _ in kept] == sorted(x for x, _ in kept)


def chart(*ys: float, share: bool = False) -> Chart:
    points = [(float(x), y) for x, y in enumerate(ys)]
    return Chart(title="t", x_label="x", series=[Series(name="a", points=points)], share=share)


def test_scales() -> None:
    assert chart(23.0, 3.0, 1.0).is_log
    assert not chart(2.0, 1.0).is_log
    assert not chart(2.0, 0.0).is_log
    assert not chart(1.0, 0.001, share=True).is_log
    assert chart(0.4, 0.5, share=True).bounds() == (0.0, 1.0, 0.0, 1.0)
    assert chart(5.0, 1.0).bounds() == (0.0, 1.0, 0.0, 5.0)
    assert chart(2.0, 2.0).bounds()[2:] == (1.5, 2.5)


def test_blocks_share_a_scale() -> None:
    one = chart(0.0, 0.5, 1.0, share=True)
    assert curve_of_blocks(one.series[0].points, one, width=3) == BLOCKS[0] + BLOCKS[4] + BLOCKS[7]
    assert curve_of_blocks([(2.0, 1.0)], one, width=3) == "  " + BLOCKS[7]


@pytest.mark.parametrize("ys", [(1.0,), (1.0, 1.0), (3.0, 100.0, 0.1)])
def test_any_curve_can_be_drawn(ys: tuple[float, ...]) -> None:
    drawn = render_svg(chart(*ys))
    assert "nan" not in drawn.lower()
    assert drawn.count("<polyline") == 1
    assert "<polyline" not in render_svg(Chart(title="none", x_label="x", series=[]))
