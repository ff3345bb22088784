"""A chart as SVG inside a page: its colours are classes, since a page's policy forbids style attributes."""

from __future__ import annotations

import html
from collections.abc import Iterator

from finetooth.charts.axes import log_ticks, tick_labels, ticks
from finetooth.charts.chart import COLORS, Chart, Point, Series, thinned
from finetooth.view.visible import harmless

WIDTH, HEIGHT = 640, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 12, 40


def render_svg(chart: Chart) -> str:
    """Return a chart as one `<svg>` element, scaled by whoever shows it."""
    return "".join(_elements(chart))


def _elements(chart: Chart) -> Iterator[str]:
    left, right, low, high = chart.bounds()

    def place(point: Point) -> tuple[float, float]:
        x = _LEFT + (point[0] - left) / (right - left) * (WIDTH - _LEFT - _RIGHT)
        y = HEIGHT - _BOTTOM - (chart.height(point[1]) - low) / (high - low) * (HEIGHT - _TOP - _BOTTOM)
        return x, y

    title = _text(chart.title)
    yield f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}"><title>{title}</title>'
    y_ticks = log_ticks(low, high) if chart.is_log else ticks(low, high)
    y_labels = [f"{value:g}" for value in y_ticks] if chart.is_log else tick_labels(y_ticks)
    for value, label in zip(y_ticks, y_labels, strict=True):
        _, y = place((left, value))
        yield f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="tick" x="{_LEFT - 7}" y="{y + 4:.1f}" text-anchor="end">{label}</text>'
    x_ticks = ticks(left, right, 8)
    for value, label in zip(x_ticks, tick_labels(x_ticks), strict=True):
        x = _LEFT + (value - left) / (right - left) * (WIDTH - _LEFT - _RIGHT)
        yield f'<text class="tick" x="{x:.1f}" y="{HEIGHT - _BOTTOM + 17}" text-anchor="middle">{label}</text>'
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    yield f'<text class="tick" x="{middle}" y="{HEIGHT - 5}" text-anchor="middle">{_text(chart.x_label)}</text>'
    for series in chart.stacked:
        yield from _curve(series, [place(point) for point in thinned(series.points)])
    yield "</svg>"


def _curve(series: Series, places: list[tuple[float, float]]) -> Iterator[str]:
    classes = f"curve c{series.color % len(COLORS)}{' dashed' if series.dashed else ''}"
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    yield f'<polyline class="{classes}" points="{path}"><title>{_text(series.name)}</title></polyline>'
    # The last point is marked, and a curve of one point seen at all; its shape tells runs apart without colour.
    yield _mark(series, *places[-1])


def _mark(series: Series, x: float, y: float) -> str:
    kind, name = series.color % 3, f"mark c{series.color % len(COLORS)}{' hollow' if series.dashed else ''}"
    if kind == 0:
        return f'<circle class="{name}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
    if kind == 1:
        return f'<rect class="{name}" x="{x - 3.6:.1f}" y="{y - 3.6:.1f}" width="7.2" height="7.2"/>'
    corners = f"{x:.1f},{y - 4.8:.1f} {x + 4.6:.1f},{y + 3.6:.1f} {x - 4.6:.1f},{y + 3.6:.1f}"
    return f'<polygon class="{name}" points="{corners}"/>'


def legend_mark(series: Series) -> str:
    """Return the line and the mark of a curve, for a legend."""
    classes = f"curve c{series.color % len(COLORS)}{' dashed' if series.dashed else ''}"
    line = f'<line class="{classes}" x1="1" x2="27" y1="7" y2="7"/>'
    return f'<svg class="key" viewBox="0 0 28 14" aria-hidden="true">{line}{_mark(series, 14, 7)}</svg>'


def _text(text: str) -> str:
    return html.escape(harmless(text))
