"""The progress report of fine-tunes: what was done, what the labels teach, what came of it, and why.

progress.py     `ProgressReport`, and `report`, which reads it
inspected.py    data under several tokenizers, checked, beside the runs
sections.py     which sections there are, and their order
doing.py        what was done: set-ups, what is new, an example, versions
defining.py     the loss: its definition, and what computed it
showing.py      what came: curves, labels, findings, endings, outputs, merges
citing.py       references, with links to the very version and lines
writing.py      to a page, a deck, Markdown, PDF or a terminal
"""
