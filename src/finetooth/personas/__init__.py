"""Personas: who speaks, how, and what is so of them; the prompts made of it, and the answers held against it.

sheet.py        the nouns: `Persona` and its parts
reading.py      a persona.yaml, with every mistake told at once
templates.py    the templates of its messages, and what they must not do
terms.py        what facts and questions are compared by: n-grams of the model's own ids
idle.py         the words that say nothing of what is asked
lookup.py       the facts that a user's words ask for
prompt.py       `PersonaPrompt`: the messages, for training rows, inference and chat alike
building.py     training rows of plain dialogues
checking.py     answers held against the sheet: length, style, contradictions, terminators
"""
