"""Probing: let a model answer as a user would, and see how it stops.

    prompts.py      what is asked: the prompts of a data set, or lines of a file
    generating.py   answers, in batches, until the model's own stop set ends them
    judging.py      what is wrong with an answer: literal terminators, running on, echoes, repetition
    report.py       the counts, with intervals, and probe.json
    probe.py        all of it, for a model on disk

Only generating.py imports torch, and probe.py when it loads or asks a model.
"""
