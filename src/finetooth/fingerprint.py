"""Fingerprints: what tells whether two runs, caches or merges were made with the same tokenizer, template and labels.

    fingerprint(make_setup("my-model")).probe_hash      # of the ids of fixed texts: the tokenizer as it really encodes
    label_hash(encode_records(setup, records))          # of all ids and labels of a data set

Versions and names say little: the same files give other ids in another class or library version, and a file may change
in its spacing alone. So the texts of `PROBES` are encoded, and their ids compared.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from finetooth.labels import Setup
from finetooth.messages import say
from finetooth.tokenizer import SPECIAL_TOKEN_KEYS, Tokenizer
from finetooth.types import Encoded
from finetooth.version import __version__

CONTEXTS = ("", "a", "7", ".", "!", ")", "`", "\n", "。", "」", "、", "！", "わ", "嬢", " ")
"""What stands before a special token in real text; nothing, for the start."""

TEXTS = (
    "Hello, world!",
    " leading and trailing  ",
    "def main() -> None:\n    return 1_000.50\n",
    "お会いできて嬉しいですわ。",
    "蜂蜜を入れたミルクティー、いかが？\n",
    "ＡＢＣ ｶﾞ ① ﬁ é",
    "👩‍🚀 𠮷野家",
    "[INST] <<SYS>>\n<</SYS>>\n\n [/INST] ",
    "<|im_start|>user\n<|im_end|>\n",
)
"""Plain texts: English, code, Japanese, what normalizers change, characters beyond most vocabularies, chat marks."""

HASHED_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    "config.json",
    "generation_config.json",
)
"""The files that decide ids, text or the stop set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """What a set-up was, in values that can be compared."""

    model: str
    """What the user typed."""
    tokenizer_class: str
    loader: str
    versions: Mapping[str, str | None]
    """Of finetooth, tokenizers and transformers; `None` where a package is not installed."""
    probe_hash: str
    """SHA-256 of the probes' ids, as the class that loads the tokenizer gives them."""
    file_probe_hash: str | None
    """The same as tokenizer.json alone gives them: another one is a drift between class and file (TOK004)."""
    probes: Mapping[str, list[int]]
    """The ids by probe, as the class that loads the tokenizer gives them."""
    template_hash: str | None
    """SHA-256 of the chat template in force."""
    labels_hash: str
    """SHA-256 of the labels' configuration."""
    files: Mapping[str, str]
    """SHA-256 of the files beside the tokenizer."""
    unchecked: str | None = None
    """Why transformers may load the tokenizer otherwise, where that was not checked."""
    label_hash: str | None = None
    """Of the ids and labels of a data set, where there was one; see `label_hash`."""

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON."""
        return {field.name: _plain(getattr(self, field.name)) for field in dataclasses.fields(self)}


def fingerprint(setup: Setup) -> Fingerprint:
    """Return the fingerprint of a set-up."""
    tokenizer = setup.tokenizer
    texts = probe_texts(tokenizer)
    ids = _ids(tokenizer.backend, texts)
    file_ids = _ids_of_file(tokenizer, texts)
    return Fingerprint(
        model=tokenizer.name,
        tokenizer_class=tokenizer.tokenizer_class,
        loader=tokenizer.loader,
        versions={
            "finetooth": __version__,
            **{name: _version(name) for name in ("tokenizers", "transformers")},
        },
        probe_hash=_hash_of(ids),
        file_probe_hash=None if file_ids is None else _hash_of(file_ids),
        probes=ids,
        template_hash=hash_of_template(setup),
        labels_hash=_hash_of(dataclasses.asdict(setup.labels)),
        files=_file_hashes(tokenizer),
        unchecked=tokenizer.unchecked,
    )


def hash_of_template(setup: Setup) -> str | None:
    """Return the SHA-256 of the chat template in force; `None` where there is none."""
    return None if setup.template is None else _sha256(setup.template.source.encode())


def probe_texts(tokenizer: Tokenizer) -> dict[str, str]:
    """Return the probes of a tokenizer: plain texts, and its named special tokens after every context."""
    probes = {text: text for text in TEXTS}
    names = [name for name in SPECIAL_TOKEN_KEYS if tokenizer.special_tokens.get(name)]
    for name in names:
        literal = tokenizer.special_tokens[name]
        probes |= {f"{context}{{{name}}}": f"{context}{literal}" for context in CONTEXTS}
    if names:
        # Two in a row, and text after one: what normalizers put in front of the rest shows here.
        tokens = [tokenizer.special_tokens[name] for name in names]
        probes |= {f"{{{name}}}x": f"{token}x" for name, token in zip(names, tokens, strict=True)}
        probes["".join(f"{{{name}}}" for name in names)] = "".join(tokens)
    return probes


def _ids(backend: Any, texts: Mapping[str, str]) -> dict[str, list[int]]:
    """Return the ids of the probes without special tokens, and of the first one with them (`+`)."""
    found = {}
    for name, text in texts.items():
        found[name] = _encoded(backend, text, add_special_tokens=False)
    found[f"+{TEXTS[0]}"] = _encoded(backend, TEXTS[0], add_special_tokens=True)
    return found


def _encoded(backend: Any, text: str, *, add_special_tokens: bool) -> list[int]:
    try:
        return list(backend.encode(text, add_special_tokens=add_special_tokens).ids)
    except Exception:
        # A vocabulary without an unknown token refuses characters that it lacks: that is a fact of it as well.
        return [-1]


def _ids_of_file(tokenizer: Tokenizer, texts: Mapping[str, str]) -> dict[str, list[int]] | None:
    if tokenizer.files is None or not tokenizer.files.tokenizer_json.is_file():
        return None
    import tokenizers

    try:
        backend = tokenizers.Tokenizer.from_file(str(tokenizer.files.tokenizer_json))
    except Exception:
        return None  # the class that loads these files could do without it
    backend.no_truncation()
    backend.no_padding()
    return _ids(backend, texts)


def _file_hashes(tokenizer: Tokenizer) -> dict[str, str]:
    if tokenizer.files is None:
        return {}
    paths = ((name, tokenizer.files.directory / name) for name in HASHED_FILES)
    return {name: _sha256(path.read_bytes()) for name, path in paths if path.is_file()}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _hash_of(value: Any) -> str:
    return _sha256(json.dumps(value, sort_keys=True, ensure_ascii=True).encode())


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value


# The labels of a data set -------------------------------------------------------------------------------------------

_MODULUS = 1 << 256


class LabelHash:
    """A hash over the ids and labels of all rows, whatever their order.

    The hashes of the rows are added modulo 2^256 (AdHash of Bellare and Micciancio, "A New Paradigm for Collision-free
    Hashing", EUROCRYPT 1997). Trainers shuffle, and processes count parts: neither changes what is learned, so neither
    changes the hash. A row that comes twice counts twice. It detects accidents; it is no defence against forgery.
    """

    def __init__(self) -> None:
        self._sum = 0
        self._count = 0

    def add(self, encoded: Encoded) -> None:
        """Take in a row; one that the trainer drops is left out."""
        if encoded.dropped is not None:
            return
        row = hashlib.blake2b(digest_size=32)
        row.update(len(encoded.input_ids).to_bytes(8, "little"))
        row.update(_little_endian(encoded.input_ids))
        row.update(_little_endian(encoded.labels))
        self._sum = (self._sum + int.from_bytes(row.digest(), "little")) % _MODULUS
        self._count += 1

    def merge(self, other: LabelHash) -> None:
        """Take in the rows that another process counted."""
        self._sum = (self._sum + other._sum) % _MODULUS
        self._count += other._count

    def hexdigest(self) -> str:
        """Return the hash, in which the number of rows takes part."""
        return _sha256(self._count.to_bytes(8, "little") + self._sum.to_bytes(32, "little"))


def label_hash(encodeds: Iterable[Encoded]) -> str:
    """Return the hash of the ids and labels of a data set, read as a stream; see `LabelHash`."""
    total = LabelHash()
    for encoded in encodeds:
        total.add(encoded)
    return total.hexdigest()


def _little_endian(values: list[int]) -> bytes:
    import sys

    packed = array("q", values)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


# In words -------------------------------------------------------------------------------------------------------------


def rows(one: Fingerprint) -> dict[str, str]:
    """Return what a reader wants of a fingerprint, by the names in the language in force."""
    drift = {None: say("fingerprint.no_file"), one.probe_hash: say("fingerprint.same")}
    found = {
        say("fingerprint.model"): one.model,
        say("fingerprint.tokenizer_class"): f"{one.tokenizer_class} ({one.loader})",
        say("fingerprint.probes"): one.probe_hash,
        say("fingerprint.file"): drift.get(one.file_probe_hash, say("fingerprint.differs")),
        say("fingerprint.template"): one.template_hash or say("fingerprint.none"),
    }
    if one.unchecked:
        found[say("fingerprint.unchecked")] = one.unchecked
    return found | dict(one.files)
