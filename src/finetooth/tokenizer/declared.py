"""The special and added tokens that a directory's files declare, as transformers' generic class takes them.

Up to five files name tokens: tokenizer.json, tokenizer_config.json (`*_token`, `added_tokens_decoder`,
`extra_special_tokens` or `additional_special_tokens`), and, where the second has no `added_tokens_decoder`,
special_tokens_map.json and added_tokens.json. Which one wins was read in transformers 5.23
(`PreTrainedTokenizerBase._from_pretrained`, `TokenizersBackend.__init__`) and is held by a differential test.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tokenizers
from tokenizers import AddedToken

from finetooth.errors import TokenizerError
from finetooth.messages import say
from finetooth.tokenizer.files import SPECIAL_TOKEN_KEYS, TokenizerFiles

Token = str | AddedToken

_FLAGS = ("lstrip", "rstrip", "single_word", "normalized", "special")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredTokens:
    """The tokens that a directory declares, before any of them is added to the tokenizer."""

    named: dict[str, Token]
    """`bos_token`, `eos_token` and so on, and a model's own such as `image_token`."""
    extra: list[Token]
    """Special tokens without a name of their own."""
    added: list[AddedToken]
    """The added tokens with their flags, in the order of their ids."""

    @property
    def special_tokens(self) -> dict[str, str]:
        """The named tokens as texts: what chat templates see."""
        return {name: str(token) for name, token in self.named.items()}

    def add_to(self, backend: tokenizers.Tokenizer) -> None:
        """Add these tokens to a tokenizer; those that it holds already get the flags declared here."""
        adding: list[Token] = list(self.added)
        known = {token.content for token in (*backend.get_added_tokens_decoder().values(), *self.added)}
        for token in (*self.named.values(), *self.extra):
            if str(token) not in known and token not in adding:
                adding.append(token)
        names = {str(token) for token in self.named.values()}
        # transformers means to add only what differs from tokenizer.json, but compares ids with tokens and so adds all:
        # whatever a name stands for becomes special.
        backend.add_tokens([_as_special(token, names) for token in adding])


def declared_tokens(files: TokenizerFiles, backend: tokenizers.Tokenizer) -> DeclaredTokens:
    """Read the tokens that a directory declares, the added tokens and the padding of tokenizer.json among them.

    Raises:
        TokenizerError: A file is damaged, or declares something that is no token.
    """
    values = dict(files.tokenizer_config)
    where = str(files.directory / "tokenizer_config.json")
    if "additional_special_tokens" in values and not values.get("extra_special_tokens"):
        values["extra_special_tokens"] = values.pop("additional_special_tokens")
    own = _pop_own_names(values)
    if "added_tokens_decoder" in values:
        decoder = values["added_tokens_decoder"]
        added = {int(index): _token(token, where) for index, token in _mapping(decoder, where).items()}
        by_content = {token.content: token for token in added.values()}
    else:
        _merge_special_tokens_map(values, own, files)
        added = _legacy_added_tokens(values, files)
        by_content = {token.content: token for token in added.values()}
        for index, token in backend.get_added_tokens_decoder().items():
            added[index] = by_content[token.content] = token
    if backend.padding is not None:
        values.setdefault("pad_token", backend.padding["pad_token"])
    if "extra_special_tokens" not in values and "additional_special_tokens" in values:
        values["extra_special_tokens"] = values["additional_special_tokens"]

    named: dict[str, Token] = {}
    for name in SPECIAL_TOKEN_KEYS:
        if (value := values.get(name)) is not None:
            text_or_token = _text_or_token(value, where)
            named[name] = by_content.get(str(text_or_token), text_or_token)
    extra = values.get("extra_special_tokens") or []
    if isinstance(extra, Mapping):
        own, extra = {**extra, **own}, []
    for name, value in values.items():
        if name.endswith("_token") and name not in SPECIAL_TOKEN_KEYS and _is_token(value):
            named[name] = _text_or_token(value, where)
    named |= {name: _text_or_token(value, where) for name, value in own.items()}
    if not isinstance(extra, list):
        raise _no_token(extra, where)
    return DeclaredTokens(
        named=named,
        extra=[_text_or_token(value, where) for value in extra],
        added=[token for _, token in sorted(added.items())],
    )


def _pop_own_names(values: dict[str, Any]) -> dict[str, Any]:
    """Take out the names that tokenizer_config.json gives beside the usual ones; they win over the legacy files."""
    own = {
        name: values.pop(name)
        for name in list(values)
        if name.endswith("_token") and name not in SPECIAL_TOKEN_KEYS and isinstance(values[name], str)
    }
    if isinstance(values.get("extra_special_tokens"), Mapping):
        own.update(values.pop("extra_special_tokens"))
    return own or dict(values.get("model_specific_special_tokens") or {})


def _merge_special_tokens_map(values: dict[str, Any], own: dict[str, Any], files: TokenizerFiles) -> None:
    where = str(files.directory / "special_tokens_map.json")
    for name, value in files.json("special_tokens_map.json").items():
        if name == "extra_special_tokens" and isinstance(value, list):
            merged = list(values.get(name) or [])
            for item in value:
                token = _token({**item, "special": True}, where) if isinstance(item, Mapping) else item
                if token not in merged:
                    merged.append(token)
            values[name] = merged
        elif isinstance(value, Mapping) and name.endswith("_token"):
            values[name] = _token({**value, "special": True}, where)
        else:
            values[name] = value
    if isinstance(values.get("extra_special_tokens"), Mapping):
        own.update(values.pop("extra_special_tokens"))


def _legacy_added_tokens(values: Mapping[str, Any], files: TokenizerFiles) -> dict[int, AddedToken]:
    named = [values.get(name) for name in SPECIAL_TOKEN_KEYS] + list(values.get("extra_special_tokens") or [])
    special = {str(value) for value in named if isinstance(value, Token)}
    added = {}
    for text, index in files.json("added_tokens.json").items():
        if not isinstance(index, int):
            raise _no_token({text: index}, str(files.directory / "added_tokens.json"))
        added[index] = AddedToken(text, special=text in special, normalized=text not in special)
    return added


def _as_special(token: Token, names: set[str]) -> AddedToken:
    if isinstance(token, str):
        return AddedToken(token, special=True)
    if token.content in names:
        token.special = True
    return token


def _is_token(value: Any) -> bool:
    return isinstance(value, Token) or (isinstance(value, Mapping) and value.get("__type") == "AddedToken")


def _text_or_token(value: Any, where: str) -> Token:
    return value if isinstance(value, Token) else _token(value, where)


def _token(value: Any, where: str) -> AddedToken:
    if not isinstance(value, Mapping) or not isinstance(value.get("content"), str):
        raise _no_token(value, where)
    # Only the flags: for any other key, such as `__type`, the constructor prints a line on stdout.
    return AddedToken(value["content"], **{flag: bool(value[flag]) for flag in _FLAGS if flag in value})


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not all(index.isdecimal() for index in value):
        raise _no_token(value, where)
    return value


def _no_token(value: Any, where: str) -> TokenizerError:
    return TokenizerError(say("tokenizer.no_token", value=repr(value)[:60]), where=where)
