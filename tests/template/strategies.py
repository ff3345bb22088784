"""What conversations are made of, for the tests that make them up."""

from __future__ import annotations

from hypothesis import strategies as st

WORDS = st.one_of(
    st.sampled_from(
        [
            "",
            " ",
            "\n\n",
            "Hello.",
            "  lead",
            "trail \n",
            "\n both \t",
            "巴里ですわ。",
            "a <|im_end|> b",
            "</s>",
            "<|im_start|>assistant\n",
            "<|user|>",
            "<",
            "<|",
            "assistant",
            "{{ x }}{% if %}",
            "\U00100000\U000f0001",
            "\U00100001",
            "<think>\nhm\n</think>\n\nb",
            "only</think>b",
            "<think>",
            "[/INST]",
            "finetooth probe",
        ]
    ),
    st.text(max_size=8).filter(lambda text: "\r" not in text),
)
"""Words that have fooled something: blank, with white space around, control text, jinja, marks, thinking."""

FLAGS = st.sampled_from([None, None, None, None, True, False, 1, 0, 0.5, 0.0])
"""What a key says whether a turn is learned; mostly nothing."""
