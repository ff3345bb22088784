"""Probing: let a model answer as a user would, and see how it stops.

    prompts.py      what is asked: the prompts of a data set, or lines of a file
    loading.py      a model by its directory, hub id, run or adapter
    generating.py   answers, in batches, until the model's own stop set ends them
    judging.py      what is wrong with an answer: literal terminators, running on, echoes, repetition
    report.py       the counts, with intervals, and probe.json
    probe.py        all of it, for a model on disk

Only generating.py imports torch, loading.py when it loads a model, and probe.py when it asks one.
"""
