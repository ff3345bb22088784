"""Charts as one PNG, by matplotlib: panels under each other, numbered, each with its legend."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from finetooth.charts.axes import log_ticks
from finetooth.charts.chart import COLORS, Chart, thinned
from finetooth.errors import FinetoothError
from finetooth.messages import language, say
from finetooth.view.visible import harmless
from finetooth.writing import whole_path

JAPANESE_FONTS = (
    "Noto Sans CJK JP",
    "Noto Sans JP",
    "IPAexGothic",
    "IPAPGothic",
    "TakaoPGothic",
    "Hiragino Sans",
    "Yu Gothic",
    "BIZ UDGothic",
    "Meiryo",
    "MS Gothic",
)
"""Fonts that hold Japanese, where one of them is installed."""

DPI = 150
_COLUMNS = 2
_PANEL = (6.4, 3.4)
"""Inches of a panel."""
_MARKERS = ("o", "s", "^")


def write_png(charts: Sequence[tuple[str, Chart]], path: Path, *, title: str) -> None:
    """Draw charts into a file, whole or not at all.

    Args:
        charts: Each with its number, such as `Figure 1`.
        path: The file.
        title: What stands above them.

    Raises:
        FinetoothError: matplotlib is not installed, or the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise FinetoothError(
            say("charts.no_matplotlib"), where=str(path), help="pip install 'finetooth[report]'"
        ) from error
    shown = [(number, chart) for number, chart in charts if chart.drawn]
    columns = min(_COLUMNS, max(1, len(shown)))
    rows = max(1, -(-len(shown) // columns))
    with _settings():
        figure: Any = Figure(figsize=(_PANEL[0] * columns, _PANEL[1] * rows + 0.5), dpi=DPI, layout="constrained")
        figure.suptitle(harmless(title), fontsize=12)
        axes = figure.subplots(rows, columns, squeeze=False).flatten()
        for axis, (number, chart) in zip(axes, shown, strict=False):
            _draw(axis, number, chart)
        for axis in axes[len(shown) :]:
            axis.set_axis_off()
        with whole_path(path) as temporary:
            figure.savefig(temporary, format="png")


def japanese_font() -> str | None:
    """Return an installed font that holds Japanese, or `None`."""
    from matplotlib import font_manager

    known = {font.name for font in font_manager.fontManager.ttflist}
    return next((name for name in JAPANESE_FONTS if name in known), None)


def can_write_language() -> bool:
    """Return whether the language in force can be drawn here: Japanese needs a font that holds it."""
    try:
        return language() != "ja" or japanese_font() is not None
    except ImportError:
        return True


def _settings() -> Any:
    from matplotlib import rc_context

    font = japanese_font()
    return rc_context({"font.family": [*([font] if font else []), "DejaVu Sans"], "axes.unicode_minus": False})


def _draw(axis: Any, number: str, chart: Chart) -> None:
    for series in chart.drawn:
        points = thinned(series.points)
        axis.plot(
            [x for x, _ in points],
            [y for _, y in points],
            color=COLORS[series.color % len(COLORS)],
            linestyle="--" if series.dashed else "-",
            linewidth=1.5,
            marker=_MARKERS[series.color % len(_MARKERS)],
            markersize=5,
            markerfacecolor="white" if series.dashed else None,
            markevery=[len(points) - 1],
            label=harmless(series.name),
            zorder=3 if series.dashed else 2,
        )
    left, right, low, high = chart.bounds()
    margin = (high - low) * 0.04
    if chart.is_log:
        axis.set_yscale("log")
        axis.set_yticks(log_ticks(low, high), minor=False)
        axis.set_yticks([], minor=True)
        axis.yaxis.set_major_formatter(lambda value, place: f"{value:g}")
        axis.set_ylim(10 ** (low - margin), 10 ** (high + margin))
    else:
        axis.set_ylim(low - (margin if low else 0.0) - (0.02 if chart.share else 0.0), high + margin)
    axis.set_xlim(left - (right - left) * 0.02, right + (right - left) * 0.02)
    axis.set_title(f"{number}  {harmless(chart.title)}", fontsize=10, loc="left")
    axis.set_xlabel(harmless(chart.x_label), fontsize=9)
    axis.tick_params(labelsize=8)
    axis.grid(visible=True, color="#dddddd", linewidth=0.6)
    axis.set_axisbelow(True)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    axis.legend(fontsize=8, frameon=False)
