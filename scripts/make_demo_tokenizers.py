"""Make the three tokenizers of the demo from its dialogues.

    python scripts/make_demo_tokenizers.py

One vocabulary is trained, and written three times as a Hugging Face directory. The three differ in the two places
that decide whether a fine-tune learns to stop (`VARIANTS`):

    split        `</s>` is cut into pieces after any character but a space, so its id is never a label
    masked       `</s>` is one id, but it is the pad too, and collators that mask the pad mask it
    supervised   `</s>` is one id, the pad is `<unk>`, and the label is there

The shape is that of Llama 2's tokenizer: special tokens 0 to 2, the bytes 3 to 258, a BPE with byte fallback over
text whose spaces are written `▁`, no pre-tokenizer. The same dialogues give the same bytes, with one version of the
tokenizers library; `tests/demo` holds the committed files to it.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

DATA = Path(__file__).resolve().parents[1] / "src" / "finetooth" / "demo" / "data"
DIALOGUES = ("dialogues.ja.jsonl", "dialogues.en.jsonl")
SPECIAL_TOKENS = ("<unk>", "<s>", "</s>")
BYTE_TOKENS = tuple(f"<0x{byte:02X}>" for byte in range(256))
VOCAB_SIZE = 2000
MAX_POSITIONS = 1024


class Variant(NamedTuple):
    """What sets one of the three tokenizers apart."""

    normalized: bool
    """Whether special tokens are looked for in the normalized text. True is the fault: the normalizer prepends `▁`
    to the stored `</s>` as well, and `▁</s>` is found after a space and at the start alone."""
    pad_token: str


VARIANTS = {
    "split": Variant(normalized=True, pad_token="</s>"),
    "masked": Variant(normalized=False, pad_token="</s>"),
    "supervised": Variant(normalized=False, pad_token="<unk>"),
}

CHAT_TEMPLATE = r"""{#- Llama 2's chat format. Between an answer and the EOS stands nothing: a space is learnt. -#}
{%- set turns = messages -%}
{%- set system = '' -%}
{%- if messages and messages[0]['role'] == 'system' -%}
    {%- set turns = messages[1:] -%}
    {%- set system = '<<SYS>>\n' + messages[0]['content'] | trim + '\n<</SYS>>\n\n' -%}
{%- endif -%}
{%- for message in turns -%}
    {%- if message['role'] == 'user' -%}
        {{- bos_token + '[INST] ' + (system if loop.first else '') + message['content'] | trim + ' [/INST]' -}}
    {%- elif message['role'] == 'assistant' -%}
        {{- ' ' + message['content'] | trim + eos_token -}}
    {%- else -%}
        {{- raise_exception('the role ' + message['role'] + ' has no place here in the chat format of Llama 2') -}}
    {%- endif -%}
{%- endfor -%}
"""

# No piece crosses these borders: one script, one digit, one mark at a time, as in SentencePiece's vocabularies.
# `</` is one piece, and `<<` next to it is none, so that `</s>` taken as text is `</`, `s`, `>`, as in Llama 2.
WORDS = Regex(
    r"▁?[A-Za-z]+|'[a-z]+|\p{Hiragana}+|[\p{Katakana}ー]+|[\p{Han}々]+|\d|<(?=</)|</|▁?<<|>>|▁?[!-/:-@\[-`{-~]|\n|."
)


def read_dialogues(paths: Iterable[Path]) -> list[list[dict[str, str]]]:
    """Return the messages of every dialogue."""
    lines = (line for path in paths for line in path.read_text(encoding="utf-8").splitlines())
    return [json.loads(line)["messages"] for line in lines]


def training_texts(dialogues: Sequence[Sequence[dict[str, str]]]) -> list[str]:
    """Return the dialogues as the chat template writes them, and each system prompt once.

    The system prompt is the same in every dialogue: left in, its words would take the merges.
    """
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = refuse
    template = environment.from_string(CHAT_TEMPLATE)
    systems: dict[str, None] = {}
    texts = []
    for system, *turns in dialogues:
        systems[system["content"]] = None
        emptied = [{"role": "system", "content": ""}, *turns]
        # Special tokens are never made of pieces, so they are no text to learn from.
        texts.append(template.render(messages=emptied, bos_token="", eos_token=""))
    return [*systems, *texts]


def refuse(message: str) -> NoReturn:
    """Stop a template that is given what it has no form for."""
    raise ValueError(message)


def alphabet(texts: Iterable[str]) -> list[str]:
    """Return the characters that get a piece of their own, sorted.

    A character that stands once in all dialogues falls back to its bytes, as rare kanji do in Llama 2. A newline
    does too: there it is the byte 0x0A, id 13, and nothing else.
    """
    counts = Counter(character for text in texts for character in text)
    frequent = {character for character, count in counts.items() if count > 1 and character not in " \n"}
    return sorted(frequent | {"▁"} | set("</s>"))


def llama_normalizer() -> normalizers.Normalizer:
    """Return the normalizer of Llama 2: a `▁` before the text, and one for each space."""
    return normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])


def train(texts: Sequence[str], vocab_size: int) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Return the vocabulary, special tokens and bytes first, and the merges in their order."""
    characters = alphabet(texts)
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = llama_normalizer()
    # Only here: the finished tokenizer has no pre-tokenizer, and its merges keep the borders they were learnt with.
    tokenizer.pre_tokenizer = pre_tokenizers.Split(WORDS, behavior="isolated")
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=[*SPECIAL_TOKENS, *BYTE_TOKENS],
        initial_alphabet=characters,
        # Left to itself the trainer cuts the alphabet among equally rare characters in no fixed order.
        limit_alphabet=len(characters),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [(left, right) for left, right in model["merges"]]


def build(vocab: dict[str, int], merges: list[tuple[str, str]], variant: Variant) -> Tokenizer:
    """Return the finished tokenizer of a variant."""
    model = models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = llama_normalizer()
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", vocab["<s>"])]
    )
    tokenizer.add_special_tokens(
        [AddedToken(token, normalized=variant.normalized, special=True) for token in SPECIAL_TOKENS]
    )
    return tokenizer


def settings(vocab: dict[str, int], variant: Variant) -> dict[str, dict[str, Any]]:
    """Return the JSON files beside tokenizer.json, by name."""
    return {
        "tokenizer_config.json": {
            "backend": "tokenizers",
            "bos_token": "<s>",
            "eos_token": "</s>",
            "model_max_length": MAX_POSITIONS,
            "pad_token": variant.pad_token,
            "tokenizer_class": "PreTrainedTokenizerFast",
            "unk_token": "<unk>",
        },
        "config.json": {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "bos_token_id": vocab["<s>"],
            "eos_token_id": vocab["</s>"],
            "vocab_size": len(vocab),
            "hidden_size": 64,
            "intermediate_size": 192,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "max_position_embeddings": MAX_POSITIONS,
            "rms_norm_eps": 1e-05,
            "tie_word_embeddings": False,
        },
        "generation_config.json": {
            "bos_token_id": vocab["<s>"],
            "eos_token_id": vocab["</s>"],
            "pad_token_id": vocab[variant.pad_token],
        },
    }


def write(directory: Path, tokenizer: Tokenizer, files: dict[str, dict[str, Any]]) -> None:
    """Write one Hugging Face directory."""
    directory.mkdir(parents=True, exist_ok=True)
    texts = {
        "tokenizer.json": tokenizer.to_str(pretty=False) + "\n",
        "chat_template.jinja": CHAT_TEMPLATE,
        **{name: json.dumps(content, indent=2) + "\n" for name, content in files.items()},
    }
    for name, text in texts.items():
        # Bytes, not text: Windows would write other line ends.
        (directory / name).write_bytes(text.encode())


def main(arguments: Sequence[str] | None = None) -> None:
    """Train on the dialogues and write the three directories."""
    parser = argparse.ArgumentParser(description="Make the three tokenizers of the demo from its dialogues.")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the dialogues (default: the package's)")
    parser.add_argument("-o", "--output", type=Path, help="folder for the three (default: tokenizers/ in --data)")
    parser.add_argument("--vocab-size", type=int, default=VOCAB_SIZE, help="pieces to make (default: %(default)s)")
    options = parser.parse_args(arguments)

    texts = training_texts(read_dialogues(options.data / name for name in DIALOGUES))
    vocab, merges = train(texts, options.vocab_size)
    for name, variant in VARIANTS.items():
        directory = (options.output or options.data / "tokenizers") / name
        write(directory, build(vocab, merges, variant), settings(vocab, variant))
        print(f"{directory}: {len(vocab)} pieces, {len(merges)} merges")


if __name__ == "__main__":
    main()
