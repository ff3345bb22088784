"""A curve as a line of blocks, for terminals."""

from __future__ import annotations

from collections.abc import Sequence

from finetooth.charts.chart import Chart, Point

BLOCKS = "▁▂▃▄▅▆▇█"


def curve_of_blocks(points: Sequence[Point], chart: Chart, *, width: int) -> str:
    """Return a curve as so many characters, each as high as the mean of its stretch; blank where there is no point.

    Args:
        points: In the order of x.
        chart: Whose scale it is drawn on, so that several curves share it.
        width: Characters.
    """
    left, right, low, high = chart.bounds()
    sums = [(0.0, 0)] * width
    for x, y in points:
        place = min(int((x - left) / (right - left) * width), width - 1)
        total, count = sums[place]
        sums[place] = (total + chart.height(y), count + 1)
    drawn = ""
    for total, count in sums:
        share = (total / count - low) / (high - low) if count else 0.0
        drawn += BLOCKS[min(max(int(share * len(BLOCKS)), 0), len(BLOCKS) - 1)] if count else " "
    return drawn
