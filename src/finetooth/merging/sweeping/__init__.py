"""Sweeps: one merge with several values of its parameters, each candidate measured, the best kept.

axes.py        which values; a configuration with them put in
measuring.py   a model on disk -> its loss on held-out data, and how its answers end
lines.py       what was measured, as it lies in a directory
sweep.py       candidates merged, measured and noted one by one; the best one kept
pages.py       a sweep as tables and figures
"""
