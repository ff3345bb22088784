"""`Embeddings`: the rows that the tokens of a set-up have in its model's weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetooth.errors import TokenizerError
from finetooth.rules.facts import SetupFacts
from finetooth.tokenizer import TokenizerFiles
from finetooth.weightfiles import Tensor, UnreadableWeightsError, Weights, read_weights

_INPUT = ("embed_tokens", "wte", "embed_in", "word_embeddings", "tok_embeddings")
"""What transformers 5.23 calls the matrix that tokens are read by, last part (Llama, GPT-2, GPT-NeoX, BLOOM,
InternLM2)."""
_OUTPUT = ("lm_head", "embed_out", "output")
"""What it calls the matrix that they are written by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Embeddings:
    """The two matrices in which a token has a row; of tied ones the file mostly holds one."""

    weights: Weights
    input: Tensor
    """What tokens are read by."""
    output: Tensor | None
    """What they are written by: the same where that is tied; `None` where the file has none."""
    input_module: str
    output_module: str
    tied: bool
    """Whether the two are one matrix, by config.json, or for want of a second."""
    config: Path
    """The file that says so."""

    @property
    def sides(self) -> tuple[tuple[str, Tensor], ...]:
        """The modules with their matrices."""
        both = ((self.input_module, self.input), (self.output_module, self.output))
        return tuple((module, tensor) for module, tensor in both if tensor is not None)


def weights_directory(facts: SetupFacts) -> Path | None:
    """Return where the weights of a set-up lie: as its recipe says, or beside its tokenizer."""
    trained = facts.setup.trained
    if trained is not None:
        return trained.directory
    return facts.files.directory if facts.files is not None else None


def embeddings_of(facts: SetupFacts) -> Embeddings | None:
    """Return the embeddings of a set-up, `None` where its directory has no weights; remembered with the set-up.

    Raises:
        UnreadableWeightsError: There are weights, and they cannot be read.
    """
    known: list[Embeddings | UnreadableWeightsError | None] = facts.__dict__.setdefault("_embeddings", [])
    if not known:
        try:
            directory = weights_directory(facts)
            known.append(None if directory is None else _read(directory))
        except UnreadableWeightsError as error:
            known.append(error)
    if isinstance(known[0], UnreadableWeightsError):
        raise known[0]
    return known[0]


def _read(directory: Path) -> Embeddings | None:
    weights = read_weights(directory)
    if weights is None:
        return None
    name = _named(weights.files, _INPUT)
    if name is None:
        return None
    written = _named(weights.files, _OUTPUT)
    try:
        config = TokenizerFiles(directory).model_config
    except TokenizerError as error:
        raise UnreadableWeightsError("rules_run.config_unreadable", reason=error.what) from error
    tied = _says_tied(config)
    tied = written is None if tied is None else tied
    matrix = weights.matrix(name)
    return Embeddings(
        weights=weights,
        input=matrix,
        output=weights.matrix(written) if written is not None else matrix if tied else None,
        input_module=name.removesuffix(".weight"),
        output_module="lm_head" if written is None else written.removesuffix(".weight"),
        tied=tied,
        config=directory / "config.json",
    )


def _named(names: Iterable[str], modules: tuple[str, ...]) -> str | None:
    """Return the tensor of the outermost module of some names; a layer of its own may have another (DeepSeek V3)."""
    endings = tuple(f"{module}.weight" for module in modules)
    found = [name for name in names if name in endings or name.endswith(tuple(f".{one}" for one in endings))]
    return min(found, key=lambda name: (name.count("."), name), default=None)


def _says_tied(config: Mapping[str, Any]) -> bool | None:
    text = config.get("text_config")
    for values in (config, text if isinstance(text, Mapping) else {}):
        said = values.get("tie_word_embeddings")
        if isinstance(said, bool):
            return said
    return None
