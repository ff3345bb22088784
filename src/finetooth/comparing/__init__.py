"""Comparison: what several runs were, did, and say, side by side.

entry.py         one column: a run, or what a plain Trainer left behind
reading.py       a directory -> an entry; finetooth_run.py, trainer_output.py: the two kinds
arguments.py     training_args.bin read without executing anything of it
differences.py   what differs between entries: settings, data, labels
comparison.py    entries -> `Comparison`
labels.py        the table of labels by tokenizer; answers.py: answers side by side
pages.py         a comparison as a document
writing.py       the document as text, Markdown, a page, a picture, JSON
"""
