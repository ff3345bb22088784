"""Talking to a model, and seeing why it answers as it does.

    settings.py      how answers are made
    speaker.py       a loaded model with its tokenizer, template and stop ids
    prompting.py     the prompt of a turn, and where its tokens came from
    answering.py     one answer, id by id
    streaming.py     ids as text while they come: whole characters, special tokens told from text
    turn.py          a question and its answer
    conversation.py  the turns, what of them fits the context, `ask`
    diagnosing.py    why an answer ended as it did
    transcript.py    a conversation as a file of data

    flow.py          text folded while it streams
    explaining.py    what `/why` prints
    screen.py        a terminal or a pipe; two columns
    session.py       the commands

Only answering.py imports torch.
"""
