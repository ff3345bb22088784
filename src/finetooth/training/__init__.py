"""Training: the loss on supervised tokens alone, and what rows share computed once.

rows.py        the encoded rows of a run
preparing.py   a recipe's records read, labelled, checked
planning.py    a run in numbers, before it runs; memory.py: how much it takes, cost.py: how packs are sized
preview.py     a batch as the model will see it
building.py    a recipe's model, adapter and arguments
steps.py       rows -> optimizer steps -> the batches of each rank
forward.py     a batch -> the hidden states that predict something -> the loss
trial.py       packs against padded rows on the real model
trainer.py     the mixin for Trainer and SFTTrainer
observed.py    what is logged beside the loss; observing.py: the same for anyone's Trainer
callbacks.py   metrics.jsonl, samples.jsonl, progress; probes.py: how answers end meanwhile
card.py        the model card
running.py     all of it, for one recipe
"""
