"""Conversations, tokenizers and renderings that the tests of the built-in templates share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from finetooth.templates import TEMPLATES, builtin_template
from finetooth.types import Message

LLAMA3_PATTERN = "|".join(
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)",
        r"[^\r\n\p{L}\p{N}]?\p{L}+",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    )
)
"""How Llama 3's tokenizer.json cuts text before merging: newlines join the marks and the newlines before them."""

ENGLISH = (
    "What is the capital of France?",
    "It is Paris, on the Seine.",
    "Write a haiku about rain",
    "Rain on the tin roof,\nthe cat wakes and looks at me.\n\nNobody is late.",
    "(a) yes; (b) no",
    "- one\n- two\n- three",
    "1 + 1 = 2",
    '"Quoted", she said: it\'s fine...',
    "def f(x):\n    return x + 1",
    "# Heading\n\nBody text",
)
JAPANESE = (
    "おはようございます。",
    "ごきげんよう。素敵な朝ですわね。",
    "好きな食べ物は何ですか？",
    "「苺」ですわ！",
    "東京タワーの高さは333メートルです",
    "……考え中。",
    "𠮷野家🍚",
    "手順:\n1. 切る\n2. 煮る",
    "カタカナと漢字とABC",
    "：コロンから始まる文",
)


def system(content: Any) -> Message:
    return {"role": "system", "content": content}


def user(content: Any) -> Message:
    return {"role": "user", "content": content}


def assistant(content: Any, **keys: Any) -> Message:
    return {"role": "assistant", "content": content, **keys}


def two_turns(index: int) -> list[Message]:
    """Return the n-th of 50 conversations, in English, in Japanese, or in both."""
    texts = (*ENGLISH, *JAPANESE)
    pick = [texts[(index * step + index // len(texts)) % len(texts)] for step in (1, 3, 7, 11)]
    opening = [] if index % 2 else [system("You are a helpful assistant." if index % 4 else "あなたはお嬢様です。")]
    return [*opening, user(pick[0]), assistant(pick[1]), user(pick[2]), assistant(pick[3])]


ROWS = [two_turns(index) for index in range(50)]


@cache
def byte_level(pattern: str | None = None) -> Tokenizer:
    """Train a small byte-level BPE, on GPT-2's way of cutting text or on another."""
    tokenizer = Tokenizer(models.BPE())
    cut: Any = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if pattern is not None:
        split = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
        cut = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.pre_tokenizer = cut
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1200,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    # Trained on rendered rows, so that it has every merge that the marks and headings offer.
    texts = [render(name, row) for name in ("alpaca", "ja-instruct", "vicuna", "llama2") for row in ROWS]
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def with_control_tokens(tokenizer: Tokenizer, name: str) -> Tokenizer:
    """Return a copy that knows a template's control literals as special tokens."""
    copy = Tokenizer.from_str(tokenizer.to_str())
    copy.add_special_tokens([AddedToken(text, normalized=False) for text in TEMPLATES[name].needs_tokens])
    return copy


@cache
def chat_tokenizer() -> Any:
    """Return a tokenizer of transformers, whose `apply_chat_template` renders as users' trainers do."""
    import transformers

    # Pieces do not matter here: only the special tokens' texts reach a template.
    blank = Tokenizer(models.BPE(vocab={"<s>": 0, "</s>": 1}, merges=[]))
    load: Any = transformers.PreTrainedTokenizerFast
    return load(tokenizer_object=blank, bos_token="<s>", eos_token="</s>")


def render(
    name_or_source: str, messages: Sequence[Message], *, prompt: bool = False, tools: Iterable[Any] | None = None
) -> str:
    """Render by transformers' own `apply_chat_template`."""
    source = builtin_template(name_or_source) if name_or_source in TEMPLATES else name_or_source
    text = chat_tokenizer().apply_chat_template(
        list(messages),
        chat_template=source,
        tools=list(tools) if tools else None,
        add_generation_prompt=prompt,
        tokenize=False,
    )
    assert isinstance(text, str)
    return text


def render_with_blocks(
    name: str, messages: Sequence[Message], *, tools: Any = None
) -> tuple[str, list[str], list[int]]:
    """Return the text, what its generation blocks hold, and where they start."""
    from transformers.utils import chat_template_utils

    result: Any = chat_template_utils.render_jinja_template(
        [list(messages)],
        tools=tools,
        chat_template=builtin_template(name),
        return_assistant_tokens_mask=True,
        bos_token="<s>",
        eos_token="</s>",
    )
    text, ranges = result[0][0], result[1][0]
    return text, [text[start:end] for start, end in ranges], [start for start, _ in ranges]


def answer_indices(messages: Sequence[Message]) -> list[int]:
    return [index for index, message in enumerate(messages) if message["role"] == "assistant"]
