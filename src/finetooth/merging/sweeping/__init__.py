"""Sweeps: one merge with several values of its parameters, each candidate measured, the best kept.

axes.py        which values; a configuration with them put in
measuring.py   a model on disk -> its loss on held-out data, and how its answers end
sweep.py       candidates merged, measured and noted one by one; the best one kept
pages.py       a sweep as tables and figures
"""
