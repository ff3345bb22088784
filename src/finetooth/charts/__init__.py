"""Curves: one description, drawn as SVG for pages, as PNG for papers, and as a line of blocks for terminals.

chart.py   what is drawn: `Chart`, `Series`
axes.py    where ticks stand
svg.py     inline in a page, in the page's own colours
png.py     by matplotlib (the extra `report`)
blocks.py  a curve as `▇▅▃▂▁`
"""

from finetooth.charts.chart import Chart, Point, Series

__all__ = ["Chart", "Point", "Series"]
