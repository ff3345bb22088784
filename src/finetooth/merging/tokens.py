"""`TokenizerChoice`: which tokenizer a merged model gets, and where the embeddings of single tokens come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from finetooth.config.yamlnodes import Node
from finetooth.merging.references import ModelReference
from finetooth.messages import say


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSource:
    """Where the embedding of a token comes from."""

    reference: ModelReference | None
    """`None`: it is zero."""
    token: str | None
    """The token of that model whose embedding it is; `None` where `token_id` says it."""
    token_id: int | None
    is_forced: bool
    """Whether models that have an embedding of their own for the token take this one all the same."""
    where: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerChoice:
    """The tokenizer of the merged model."""

    source: str | ModelReference
    """`base`, `union`, or a model."""
    tokens: Mapping[str, TokenSource]
    where: str

    @property
    def references(self) -> list[ModelReference]:
        """The models that it names."""
        named = [self.source] if isinstance(self.source, ModelReference) else []
        return named + [one.reference for one in self.tokens.values() if one.reference is not None]


def read_tokenizer(node: Node | None, source: Node | None) -> TokenizerChoice | None:
    """Read the keys `tokenizer` and `tokenizer_source`.

    Raises:
        ConfigError: Both are given, or something in them is not supported.
    """
    if node is not None and node.value is not None:
        if source is not None:
            raise source.error(say("merging.tokenizer_twice"), help=say("merging.tokenizer_twice_help"))
        fields = node.mapping(("source", "tokens", "pad_to_multiple_of"), "`tokenizer`")
        padding = fields.get("pad_to_multiple_of")
        if padding is not None and padding.value is not None:
            raise padding.error(
                say("merging.unsupported", name="tokenizer.pad_to_multiple_of"), help=say("merging.unsupported_help")
            )
        tokens = {
            name: _token_source(name, value)
            for name, value in (fields["tokens"].names("`tokens`") if "tokens" in fields else {}).items()
        }
        return TokenizerChoice(source=_source(fields.get("source")), tokens=tokens, where=node.where)
    if source is None or source.value is None:
        return None
    return TokenizerChoice(source=_source(source), tokens={}, where=source.where)


def _source(node: Node | None) -> str | ModelReference:
    text = "union" if node is None or node.value is None else node.text("`source`")
    if text in ("base", "union"):
        return text
    return ModelReference.parse(text.removeprefix("model:"))


def _token_source(token: str, node: Node) -> TokenSource:
    fields = node.mapping(("source", "force"), f"`tokens.{token}`")
    if "source" not in fields:
        raise node.error(say("merging.no_token_source", token=token), help="source: ./my-model")
    force = fields["force"].value if "force" in fields else False
    if not isinstance(force, bool):
        raise fields["force"].error(say("merging.bad_value", name="force", value=fields["force"].shown))
    source = fields["source"]
    reference: ModelReference | None = None
    other: str | None = token
    token_id: int | None = None
    if isinstance(source.value, dict):
        inner = source.mapping(("kind", "model", "token", "token_id"), "`source`")
        kind = inner["kind"].text("`kind`") if "kind" in inner else "model_token"
        if kind == "model_token" and "model" in inner and ("token" in inner) != ("token_id" in inner):
            reference = ModelReference.parse(inner["model"].text("`model`"))
            other = inner["token"].text("`token`") if "token" in inner else None
            if "token_id" in inner:
                token_id = inner["token_id"].value
                if type(token_id) is not int or token_id < 0:
                    raise inner["token_id"].error(
                        say("merging.bad_value", name="token_id", value=inner["token_id"].shown)
                    )
        elif kind != "zero" or len(inner) > 1:
            raise source.error(say("merging.bad_token_source", token=token), help=say("merging.bad_token_source_help"))
    else:
        reference = ModelReference.parse(source.text("`source`"))
    return TokenSource(reference=reference, token=other, token_id=token_id, is_forced=force, where=node.where)
