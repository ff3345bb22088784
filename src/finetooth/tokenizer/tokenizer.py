"""`Tokenizer`: ids and exact character ranges, and what the files beside it say."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import tokenizers

from finetooth.errors import TokenizerError
from finetooth.messages import say
from finetooth.template import ChatTemplate, Stops
from finetooth.tokenizer.files import TokenizerFiles
from finetooth.tokenizer.pieces import PieceBytes, vocabulary_string


class Tokenizer:
    """A tokenizer as its trainer will load it.

    Args:
        name: What the user typed.
        backend: The tokenizer itself.
        loader: What read the files.
        tokenizer_class: The name of the class that loads, or would load, these files in transformers.
        special_tokens: `bos_token`, `eos_token` and so on, as texts.
        files: The directory, where there is one.
        chat_templates: The chat templates by name; `None` takes those of the directory.
        unchecked: Why transformers may load these files otherwise, where that was not checked.
    """

    def __init__(
        self,
        *,
        name: str,
        backend: tokenizers.Tokenizer,
        loader: Literal["tokenizers", "transformers"] = "tokenizers",
        tokenizer_class: str = "PreTrainedTokenizerFast",
        special_tokens: Mapping[str, str] | None = None,
        files: TokenizerFiles | None = None,
        chat_templates: Mapping[str, str] | None = None,
        unchecked: str | None = None,
    ) -> None:
        self.name = name
        self.backend = backend
        self.loader = loader
        self.tokenizer_class = tokenizer_class
        self.special_tokens = dict(special_tokens or {})
        self.files = files
        self._chat_templates = chat_templates
        self.unchecked = unchecked
        _without_word_cache(backend)

    def __repr__(self) -> str:
        return f"Tokenizer({self.name!r}, loader={self.loader!r})"

    # What the vocabulary says -----------------------------------------------------------------------------------

    def piece(self, token_id: int) -> str:
        """Return the vocabulary's string for an id; `<id>` in angle brackets where the vocabulary has none."""
        piece = vocabulary_string(self.backend, token_id)
        return f"<{token_id}>" if piece is None else piece

    def piece_bytes(self, token_id: int) -> bytes | None:
        """Return the bytes of text that an id stands for; `None` where the tokenizer does not tell."""
        return self.piece_table[token_id]

    def decode_one(self, token_id: int) -> str:
        """Return what an id decodes to by itself; nothing where the vocabulary has no such id."""
        if vocabulary_string(self.backend, token_id) is None:
            return ""
        text: str = self.backend.decode([token_id], skip_special_tokens=False)
        return text

    def is_special(self, token_id: int) -> bool:
        """Return whether an id is an added token flagged as special."""
        return token_id in self._special_ids

    @cached_property
    def piece_table(self) -> PieceBytes:
        """The bytes of text by id; looked up once each."""
        return PieceBytes(self.backend)

    @cached_property
    def added_tokens(self) -> dict[int, tokenizers.AddedToken]:
        """The added tokens by id, with their flags."""
        return dict(self.backend.get_added_tokens_decoder())

    @cached_property
    def _special_ids(self) -> frozenset[int]:
        return frozenset(index for index, token in self.added_tokens.items() if token.special)

    def token_id(self, name: str) -> int | None:
        """Return the id of a named special token (`eos_token`), or `None`."""
        text = self.special_tokens.get(name)
        return None if text is None else self.backend.token_to_id(text)

    @property
    def bos_token(self) -> str | None:
        """The beginning-of-sequence token's text."""
        return self.special_tokens.get("bos_token")

    @property
    def eos_token(self) -> str | None:
        """The end-of-sequence token's text."""
        return self.special_tokens.get("eos_token")

    @cached_property
    def eos_id(self) -> int | None:
        """The end-of-sequence token's id."""
        return self.token_id("eos_token")

    @cached_property
    def pad_id(self) -> int | None:
        """The padding token's id."""
        return self.token_id("pad_token")

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """The ids at which generation stops: generation_config.json, else config.json, and the EOS token."""
        found = self.files.stop_ids if self.files is not None else {}
        ids = next(iter(found.values()), [])
        return frozenset([*ids, *([] if self.eos_id is None else [self.eos_id])])

    @cached_property
    def stops(self) -> Stops:
        """The texts that end a turn."""
        literals = [self.eos_token] if self.eos_token else []
        literals += [text for index in sorted(self.stop_ids) if (text := self.backend.id_to_token(index))]
        never = {self.special_tokens.get(key) for key in ("bos_token", "unk_token", "pad_token")} - set(literals)
        specials = [t.content for t in self.added_tokens.values() if t.special and t.content not in never]
        return Stops(literals=tuple(dict.fromkeys(literals)), specials=tuple(specials))

    # Encoding -----------------------------------------------------------------------------------------------------

    def encode(self, texts: Sequence[str], *, add_special_tokens: bool) -> list[tokenizers.Encoding]:
        """Encode texts, with the character range of every token.

        Ranges hold a token's whole text, white space included. (A byte-level post-processor may be told to trim white
        space off the ranges; a token of white space alone would then have an empty range, and be in no span.)

        Raises:
            TokenizerError: A text holds a lone surrogate, which is no text.
        """
        return self._encode(self.untrimmed, texts, add_special_tokens)

    def encode_as_loaded(self, texts: Sequence[str], *, add_special_tokens: bool) -> list[tokenizers.Encoding]:
        """Encode texts with the ranges that other software sees: the same ids, ranges trimmed where so configured."""
        return self._encode(self.backend, texts, add_special_tokens)

    def encode_ids(self, texts: Sequence[str], *, add_special_tokens: bool) -> list[tokenizers.Encoding]:
        """Encode texts without ranges, which is twice as fast."""
        try:
            return self.backend.encode_batch_fast(texts, add_special_tokens=add_special_tokens)
        except Exception:
            # Once more, to say which text it was, and why.
            return self._encode(self.backend, texts, add_special_tokens)

    @staticmethod
    def _encode(backend: tokenizers.Tokenizer, texts: Sequence[str], add_special_tokens: bool) -> list[Any]:
        try:
            return backend.encode_batch(list(texts), add_special_tokens=add_special_tokens)
        except (TypeError, UnicodeEncodeError) as error:
            for text in texts:
                for index, character in enumerate(text):
                    if "\ud800" <= character <= "\udfff":
                        raise TokenizerError(
                            say("tokenizer.surrogate", code=f"U+{ord(character):04X}", index=index),
                            help=say("tokenizer.surrogate_help"),
                        ) from error
            raise
        except Exception as error:
            # The library's own errors have no class: a character that is not in a vocabulary without an unknown token.
            raise TokenizerError(say("tokenizer.cannot_encode", reason=str(error)[:200])) from error

    @cached_property
    def untrimmed(self) -> tokenizers.Tokenizer:
        """The same tokenizer, with ranges that hold the white space of their tokens."""
        if not trims_ranges(self.backend.post_processor):
            return self.backend
        whole = json.loads(self.backend.to_str())
        whole["post_processor"] = _without_trimming(whole["post_processor"])
        copy = tokenizers.Tokenizer.from_str(json.dumps(whole))
        copy.encode_special_tokens = self.backend.encode_special_tokens
        _without_word_cache(copy)
        return copy

    # The chat template --------------------------------------------------------------------------------------------

    @cached_property
    def chat_templates(self) -> dict[str, str]:
        """The sources of the chat templates by name; a single one is called `default`."""
        if self._chat_templates is not None:
            return dict(self._chat_templates)
        return self.files.chat_templates if self.files is not None else {}

    def chat_template(self, name: str = "default") -> ChatTemplate | None:
        """Return a chat template of the tokenizer's own, compiled; `None` where there is none of this name."""
        source = self.chat_templates.get(name)
        if source is None:
            return None
        directory = self.files.directory if self.files is not None else Path(self.name)
        path = directory / ("chat_template.jinja" if name == "default" else f"additional_chat_templates/{name}.jinja")
        return self.compile(source, name=str(path) if path.is_file() else str(directory / "tokenizer_config.json"))

    def compile(self, source: str, *, name: str) -> ChatTemplate:
        """Compile a chat template with this tokenizer's special tokens as its variables."""
        return ChatTemplate(source, name=name, special_tokens=self.special_tokens)


def _without_word_cache(backend: tokenizers.Tokenizer) -> None:
    """Turn off the cache of words where a whole text is one word (Llama 2: nothing cuts it before BPE).

    No text comes twice there, and the cache keeps every one: 0.4 KB a row, without end (tokenizers 0.23).
    """
    pre_tokenizer = backend.pre_tokenizer
    if pre_tokenizer is None or b'"split":false' in pre_tokenizer.__getstate__():
        resize = getattr(backend.model, "_resize_cache", None)
        if resize is not None:
            resize(0)


def trims_ranges(post_processor: Any) -> bool:
    """Return whether a post-processor takes white space off the ranges of tokens."""
    # Pickled state is the one view of a component that needs no pass over the whole vocabulary.
    return post_processor is not None and b'"trim_offsets":true' in post_processor.__getstate__()


def _without_trimming(component: Any) -> Any:
    if isinstance(component, dict):
        return {k: False if k == "trim_offsets" else _without_trimming(v) for k, v in component.items()}
    return [_without_trimming(item) for item in component] if isinstance(component, list) else component
