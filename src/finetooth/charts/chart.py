"""`Chart`: what is drawn, whatever draws it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Point = tuple[float, float]
"""x and y."""

LOG_FROM = 10.0
"""How many times the least y the greatest has to be for a logarithmic scale: else a first loss hides the rest."""

MAX_POINTS = 400
"""Points of a curve that are drawn; more can be told apart by no eye."""

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F")
"""Okabe and Ito's colours, which colour-blind readers can tell apart (jfly.uni-koeln.de/color), and a grey."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One curve."""

    name: str
    points: Sequence[Point]
    """In the order of x; y is a finite number."""
    color: int = 0
    """Which of the colours; curves of one run share it."""
    dashed: bool = False
    """Whether it is drawn dashed: the second curve of a run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Some curves over one axis."""

    title: str
    x_label: str
    series: Sequence[Series]
    share: bool = False
    """Whether y is a share, drawn from 0 to 1."""

    @property
    def drawn(self) -> list[Series]:
        """The series that hold a point."""
        return [one for one in self.series if one.points]

    @property
    def stacked(self) -> list[Series]:
        """The same from the lowest to the uppermost: dashed curves lie over whole ones, which show between."""
        return sorted(self.drawn, key=lambda one: one.dashed)

    @property
    def is_log(self) -> bool:
        """Whether y is drawn on a logarithmic scale."""
        ys = [y for one in self.drawn for _, y in one.points]
        return not self.share and bool(ys) and min(ys) > 0 and max(ys) >= LOG_FROM * min(ys)

    def height(self, y: float) -> float:
        """Return y as it is drawn: itself, or its logarithm to base 10."""
        return math.log10(y) if self.is_log else y

    def bounds(self) -> tuple[float, float, float, float]:
        """Return the least and the greatest x, and those of `height(y)`; y begins at 0 where that loses no detail."""
        xs = [x for one in self.drawn for x, _ in one.points] or [0.0]
        ys = [y for one in self.drawn for _, y in one.points] or [0.0]
        low, high = (0.0, 1.0) if self.share else (min(ys), max(ys))
        if self.is_log:
            low, high = math.log10(low), math.log10(high)
        elif not self.share and 0 <= low < 0.5 * high:
            low = 0.0
        if high <= low:
            low, high = low - 0.5, high + 0.5
        left, right = min(xs), max(xs)
        if 0 < left < 0.05 * right:
            left = 0.0  # the first log of a training that began at 0
        return left, right if right > left else left + 1, low, high


def thinned(points: Sequence[Point], limit: int = MAX_POINTS) -> list[Point]:
    """Return at most about so many points: of each stretch its least and its greatest, so that no spike is lost."""
    if len(points) <= limit:
        return list(points)
    count = max(1, limit // 2)
    kept = [points[0]]
    for number in range(count):
        stretch = points[number * len(points) // count : (number + 1) * len(points) // count]
        ends = {stretch.index(min(stretch, key=_y)), stretch.index(max(stretch, key=_y))}
        kept += [stretch[index] for index in sorted(ends)]
    if kept[-1] != points[-1]:
        kept.append(points[-1])
    return kept


def _y(point: Point) -> float:
    return point[1]
