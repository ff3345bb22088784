"""Encode one conversation, and print who says what and what the model has to learn."""

import finetooth
from finetooth.demo import tokenizer_path

row = {"messages": [{"role": "user", "content": "はい？"}, {"role": "assistant", "content": "ええ。"}]}
(encoded,) = finetooth.encode(row, model=str(tokenizer_path("supervised")))
for span in encoded.spans:
    print(span.role, span.supervised, repr(encoded.text[span.start : span.end]))
