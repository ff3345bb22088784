"""`Vocabulary`: the tokens of the merged model, and from which rows of which model each embedding comes.

A model's row for a token is its own where it has the token. Where it has none, it takes the base model's, or else the
mean of those of the models that have one: so for a token that one model alone knows, that model's embedding comes out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tokenizers
import torch

from finetooth.errors import MergeError
from finetooth.merging.configuration import MergeConfig
from finetooth.merging.models import HEADS, OpenModel
from finetooth.merging.planning import Models
from finetooth.merging.references import ModelReference
from finetooth.merging.sources import GatheredTensor, TensorSource
from finetooth.merging.tokens import TokenSource
from finetooth.messages import say


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """The tokens of the merged model."""

    models: Models
    base: ModelReference | None
    tokens: Mapping[str, int]
    """Ids by token."""
    ids: Mapping[ModelReference, Mapping[str, int]]
    """The same of every model."""
    sources: Mapping[str, TokenSource]
    owner: OpenModel
    """The model whose tokenizer files the merged model gets."""
    tokenizer_json: str | None
    """The text of a tokenizer.json in place of the owner's, where one had to be made."""

    @property
    def size(self) -> int:
        """The number of rows of the embeddings."""
        return max(self.tokens.values()) + 1

    def regather(self, name: str, reference: ModelReference, tensor: TensorSource) -> TensorSource:
        """Return a model's embeddings (or head) with its rows in the order of the merged model's tokens."""
        own_first = [reference, *(other for other in self.models if other != reference)]
        places = {other: place for place, other in enumerate(own_first)}
        found = [tensor] + [_counterpart(self.models[other], name) for other in own_first[1:]]
        height = max(source.shape[0] for source in found)
        heights = {other: source.shape[0] for other, source in zip(own_first, found, strict=True)}
        rows: list[list[int]] = [[] for _ in range(self.size)]
        for token, index in self.tokens.items():
            rows[index] = [
                places[other] * height + row
                for other, row in self._rows(token, reference)
                if row < heights[other]  # a tokenizer may have more tokens than its model has embeddings
            ]
        width = max(max(map(len, rows)), 1)
        table = torch.tensor([one + [-1] * (width - len(one)) for one in rows], dtype=torch.int32)
        if table.shape == (tensor.shape[0], 1) and bool((table[:, 0] == torch.arange(len(table))).all()):
            return tensor
        return GatheredTensor(tuple(found), table, height, (len(rows), tensor.shape[1]))

    def _rows(self, token: str, reference: ModelReference) -> list[tuple[ModelReference, int]]:
        """Return the rows whose mean is a model's embedding of a token."""
        own = self.ids[reference].get(token)
        source = self.sources.get(token)
        if source is not None and (source.is_forced or own is None):
            if source.reference is None:
                return []
            index = source.token_id if source.token is None else self.ids[source.reference].get(source.token)
            if index is None or index >= max(self.ids[source.reference].values()) + 1:
                raise MergeError(
                    say("merging.no_token", token=source.token or index, model=str(source.reference)),
                    where=source.where,
                    help=say("merging.no_token_help"),
                )
            return [(source.reference, index)]
        if own is not None:
            return [(reference, own)]
        if self.base is not None and token in self.ids[self.base]:
            return [(self.base, self.ids[self.base][token])]
        return [(other, ids[token]) for other, ids in self.ids.items() if token in ids]


def make_vocabulary(config: MergeConfig, models: Models) -> Vocabulary | None:
    """Return the merged model's vocabulary, where the configuration chooses a tokenizer.

    Raises:
        MergeError: A model has no tokenizer.json, or the tokenizers cannot be united.
    """
    choice = config.tokenizer
    if choice is None:
        return None
    main = config.base or config.slices[0].sources[0].reference
    data = {reference: _tokenizer(model) for reference, model in models.items()}
    ids = {reference: _tokens(one) for reference, one in data.items()}
    owner = choice.source if isinstance(choice.source, ModelReference) else main
    tokens, text = ids[owner], None
    if choice.source == "union":
        united = _united(data, owner, ids, models)
        if united is not None:
            tokens, text = _tokens(united), json.dumps(united, ensure_ascii=False, indent=2) + "\n"
    unknown = next((token for token in choice.tokens if token not in tokens), None)
    if unknown is not None:
        raise MergeError(
            say("merging.foreign_token", token=unknown),
            where=choice.tokens[unknown].where,
            help=say("merging.foreign_token_help"),
        )
    return Vocabulary(
        models=models,
        base=config.base,
        tokens=tokens,
        ids=ids,
        sources=choice.tokens,
        owner=models[owner],
        tokenizer_json=text,
    )


def _counterpart(model: OpenModel, name: str) -> TensorSource:
    own_name = (model.head or name) if name.endswith(HEADS) else (model.embeddings or name)
    found = model.tensor(own_name)
    if found is None:
        raise MergeError(
            say("merging.no_embeddings", name=own_name), where=str(model.directory), help=say("merging.no_model_help")
        )
    return found


def _tokenizer(model: OpenModel) -> dict[str, Any]:
    path = model.directory / "tokenizer.json"
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        vocabulary = value["model"]["vocab"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MergeError(
            say("merging.no_tokenizer_json"), where=str(model.directory), help=say("merging.no_tokenizer_json_help")
        ) from error
    if not isinstance(vocabulary, dict | list):
        raise MergeError(say("merging.no_tokenizer_json"), where=str(path), help=say("merging.no_tokenizer_json_help"))
    return dict(value)


def _tokens(data: Mapping[str, Any]) -> dict[str, int]:
    """Return the ids of a tokenizer.json by token, those of added tokens among them."""
    vocabulary = data["model"]["vocab"]
    if isinstance(vocabulary, list):  # unigram: pairs of piece and score, whose place is the id
        found = {str(piece[0]): index for index, piece in enumerate(vocabulary)}
    else:
        found = dict(vocabulary)
    return found | {str(one["content"]): int(one["id"]) for one in data.get("added_tokens") or ()}


def _united(
    data: Mapping[ModelReference, dict[str, Any]],
    owner: ModelReference,
    ids: Mapping[ModelReference, Mapping[str, int]],
    models: Models,
) -> dict[str, Any] | None:
    """Return the owner's tokenizer with the tokens of all others behind its own; `None` where they have none to add."""
    united: dict[str, Any] = json.loads(json.dumps(data[owner]))
    known = set(ids[owner])
    following = max(ids[owner].values()) + 1
    is_changed = False
    for reference, other in data.items():
        added = {str(one["content"]): one for one in other.get("added_tokens") or ()}
        pieces = [token for token in ids[reference] if token not in known and token not in added]
        if pieces:
            _same_kind(united, other, models[reference])
            for piece in pieces:
                united["model"]["vocab"][piece] = following
                following += 1
            if "merges" in united["model"]:
                _add_merges(united["model"], other["model"])
        for content in [token for token in added if token not in known]:
            united.setdefault("added_tokens", []).append({**added[content], "id": following})
            following += 1
            known.add(content)
        is_changed = is_changed or bool(pieces) or bool(set(added) - set(ids[owner]))
        known |= set(pieces)
    if not is_changed:
        return None
    if len(united["model"]["vocab"]) > len(data[owner]["model"]["vocab"]):
        # tokenizers numbers added tokens from the size of the vocabulary on, whatever id they give themselves, but for
        # those that the vocabulary holds as well.
        united["model"]["vocab"] |= {one["content"]: one["id"] for one in united.get("added_tokens") or ()}
    made = tokenizers.Tokenizer.from_str(json.dumps(united)).get_vocab(with_added_tokens=True)
    if made != _tokens(united):
        where = str(models[owner].directory / "tokenizer.json")
        raise MergeError(say("merging.no_union"), where=where, help=say("merging.no_union_help"))
    return united


def _same_kind(united: Mapping[str, Any], other: Mapping[str, Any], model: OpenModel) -> None:
    kinds = united["model"].get("type"), other["model"].get("type")
    parts = [(one.get("normalizer"), one.get("pre_tokenizer"), one.get("decoder")) for one in (united, other)]
    if kinds[0] != kinds[1] or parts[0] != parts[1] or not isinstance(united["model"]["vocab"], dict):
        raise MergeError(
            say("merging.no_union"), where=str(model.directory / "tokenizer.json"), help=say("merging.no_union_help")
        )


def _add_merges(united: dict[str, Any], other: Mapping[str, Any]) -> None:
    known = {_pair(one) for one in united["merges"]}
    as_text = bool(united["merges"]) and isinstance(united["merges"][0], str)
    for one in other.get("merges") or ():
        pair = _pair(one)
        if pair not in known:
            united["merges"].append(" ".join(pair) if as_text else list(pair))


def _pair(merge: str | Sequence[str]) -> tuple[str, str]:
    first, second = merge.split(" ", 1) if isinstance(merge, str) else merge
    return first, second
