"""Small tokenizers of the four kinds that real models have, trained here so that no test needs a download.

    byte_bpe     byte-level BPE; trims its ranges, as GPT-2 and Llama 3 do
    llama_bpe    BPE with byte fallback and Llama 2's normalizer; adds <s>
    unigram      Unigram with Metaspace and NFKC, as T5 and rinna have; adds </s>
    wordpiece    BERT's; adds [CLS] and [SEP]

Each function trains once per process and must not be changed by a test: `copy_of` gives one that may be.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

SPECIAL_TOKENS = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
"""The special tokens of every small tokenizer; ids 0 to 3 in this order."""

_SUBJECTS = ("the cat", "a small dog", "my neighbour", "the young lady", "every student")
_VERBS = ("drinks", "looks at", "talks about", "remembers", "has lost")
_OBJECTS = ("a cup of tea", "the blue garden", "an old letter", "the number 42", "what he said")

_PEOPLE = ("お嬢様", "猫", "先生", "わたくし", "東京の友人")
_THINGS = ("紅茶", "庭の花", "古い手紙", "今日の天気", "プログラム")
_ENDINGS = ("を見ました。", "が好きですわ。", "について話します。", "をお持ちですか？", "は、いかがでしょう！")

_FURTHER = (
    "[INST] What is the capital of France? [/INST] Paris.",
    "<<SYS>>\nYou are a helpful assistant.\n<</SYS>>\n\n",
    "### Instruction:\nこんにちは\n\n### Response:\nごきげんよう。",
    "def main() -> None:\n    print('hello')\n",
    "一、二、三、四、五、六、七、八、九、十。",
    "It costs 1,234.50 dollars, doesn't it?",
    "ＡＢＣ ① ㍿ ｶﾞｷﾞｸﾞ ﬁne",
    "Café, naïve, Ünïcödé, straße",
)


@cache
def sentences() -> tuple[str, ...]:
    """Return the text that every small tokenizer is trained on: some 250 short sentences, English and Japanese."""
    english = (f"{who} {does} {what}.".capitalize() for who, does, what in product(_SUBJECTS, _VERBS, _OBJECTS))
    japanese = (
        f"{who}{'は' if index % 2 else 'も'}{what}{end}"
        for index, (who, what, end) in enumerate(product(_PEOPLE, _THINGS, _ENDINGS))
    )
    return (*english, *japanese, *_FURTHER)


def _special(*names: str) -> list[AddedToken]:
    return [AddedToken(name, special=True, normalized=False) for name in names]


@cache
def byte_bpe() -> Tokenizer:
    """Train byte-level BPE whose pre-tokenizer, decoder and post-processor are ByteLevel, with `trim_offsets`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=_special(*SPECIAL_TOKENS.values(), "<|im_start|>", "<|im_end|>"),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sentences(), trainer)
    return tokenizer


@cache
def llama_bpe() -> Tokenizer:
    """Train BPE with byte fallback, the normalizer and decoder of Llama 2's tokenizer.json, and a BOS."""
    normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    learner = Tokenizer(models.BPE(unk_token="<unk>"))
    learner.normalizer = normalizer
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=_special("<unk>"), limit_alphabet=150, show_progress=False
    )
    learner.train_from_iterator(sentences(), trainer)
    learned = json.loads(learner.to_str())["model"]

    # A trainer knows nothing of byte fallback: the byte pieces go in front of what was learned, as in Llama 2.
    names = [*SPECIAL_TOKENS.values(), *(f"<0x{byte:02X}>" for byte in range(256))]
    names += [piece for piece in sorted(learned["vocab"], key=learned["vocab"].__getitem__) if piece != "<unk>"]
    tokenizer = Tokenizer(
        models.BPE(
            vocab={name: index for index, name in enumerate(names)},
            merges=[tuple(merge) for merge in learned["merges"]],
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 1)]
    )
    tokenizer.add_special_tokens(_special(*SPECIAL_TOKENS.values()))
    return tokenizer


@cache
def unigram() -> Tokenizer:
    """Train Unigram with Metaspace, an NFKC normalizer, and an EOS."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace("\n", " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    trainer = trainers.UnigramTrainer(
        vocab_size=500,
        special_tokens=_special(*SPECIAL_TOKENS.values()),
        unk_token="<unk>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(sentences(), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 2)]
    )
    return tokenizer


@cache
def wordpiece() -> Tokenizer:
    """Train BERT's WordPiece, which lowers case, strips accents and drops white space."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=600,
        special_tokens=_special(*SPECIAL_TOKENS.values(), "[CLS]", "[SEP]", "[MASK]"),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sentences(), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")],
    )
    return tokenizer


KINDS: dict[str, Callable[[], Tokenizer]] = {
    "byte_bpe": byte_bpe,
    "llama_bpe": llama_bpe,
    "unigram": unigram,
    "wordpiece": wordpiece,
}
"""The four kinds by name, for parametrized tests."""


def copy_of(tokenizer: Tokenizer, **components: Any) -> Tokenizer:
    """Return a copy that a test may change, with components of its JSON (`post_processor=...`) replaced."""
    return Tokenizer.from_str(json.dumps(json.loads(tokenizer.to_str()) | components))


def save_model(directory: Path, tokenizer: Tokenizer, **tokenizer_config: Any) -> Path:
    """Write the files that make a directory a model to load a tokenizer from.

    Args:
        directory: Made where it is absent.
        tokenizer: Saved as tokenizer.json.
        tokenizer_config: Keys of tokenizer_config.json over the usual ones: `tokenizer_class`
            (PreTrainedTokenizerFast) and the special tokens. A key given as `None` is left out.
    """
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(directory / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **SPECIAL_TOKENS, **copy.deepcopy(tokenizer_config)}
    write_json(directory / "tokenizer_config.json", {key: value for key, value in config.items() if value is not None})
    return directory


def write_json(path: Path, value: Any) -> Path:
    """Write a JSON file as libraries do: indented, with its characters as they are."""
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    return path
