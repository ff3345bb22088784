"""`MergeFacts`: what rules ask of a merge before it is begun; `finetooth.merging.checks` opens and reads what it needs.

Weights are seen through headers, and through some elements of single tensors: no rule reads a model.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from finetooth.config import Config, TokenizerConfig
from finetooth.errors import FinetoothError
from finetooth.labels import make_setup
from finetooth.rules.facts import SetupFacts
from finetooth.runs import MODEL, RECIPE, Run
from finetooth.tokenizer import TokenizerFiles


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorHeader:
    """What a header says of a tensor."""

    dtype: str
    """As safetensors spells it: F32, BF16."""
    shape: tuple[int, ...]
    file: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Some elements of a tensor, the same places in every model."""

    values: array[float]
    num_elements: int
    """How many elements the tensor has."""


@dataclass(frozen=True, kw_only=True, eq=False)
class MergeInput:
    """A model that takes part in a merge."""

    name: str
    """What the configuration calls it."""
    directory: Path
    adapter: Path | None
    """The directory of the adapter that is merged into it as it is read."""
    tensors: Mapping[str, TensorHeader]
    embeddings: str | None
    """The name of its input embeddings."""
    head: str | None
    """The name of its output embeddings, where they are stored."""
    is_tied: bool
    """Whether input and output embeddings are one."""
    sample: Callable[[str], Sample | None]
    """Reads some elements of a tensor, the adapter's change included; `None` where it cannot be merged."""

    @cached_property
    def _loaded(self) -> tuple[SetupFacts | None, str | None]:
        # Of tokenizer.json alone: transformers takes seconds to import, and merging starts with this. The settings are
        # no user's: nothing has to be validated, and what validates need not be imported.
        try:
            setup = make_setup(str(self.directory), Config(tokenizer=TokenizerConfig(loader="tokenizers")))
        except FinetoothError as error:
            return None, error.what
        return SetupFacts(setup), None

    @property
    def setup(self) -> SetupFacts | None:
        """Its tokenizer and template; `None` where they cannot be had."""
        return self._loaded[0]

    @property
    def why_no_setup(self) -> str:
        """Why its tokenizer cannot be had."""
        return self._loaded[1] or ""

    @cached_property
    def files(self) -> TokenizerFiles:
        """The files beside its weights."""
        return TokenizerFiles(self.directory)

    @cached_property
    def vocabulary(self) -> Mapping[str, int]:
        """Ids by token, those of added tokens among them; empty where there is no tokenizer."""
        found: dict[str, int] = {}
        if self.setup is not None:
            found = self.setup.tokenizer.backend.get_vocab(with_added_tokens=True)
        return found

    @property
    def num_rows(self) -> int | None:
        """The rows of its embeddings."""
        shape = self.tensors[self.embeddings].shape if self.embeddings is not None else ()
        return shape[0] if shape else None

    @cached_property
    def run(self) -> Run | None:
        """The run of finetooth that it was trained in, where it lies in one: `DIR/model`."""
        for directory in (self.adapter, self.directory):
            if directory is not None:
                whole = directory.absolute()
                if whole.name == MODEL and (whole.parent / RECIPE).is_file():
                    return Run(whole.parent)
        return None


@dataclass(frozen=True, kw_only=True, eq=False)
class MergeFacts:
    """A merge whose models are opened, and none of whose weights is read."""

    name: str
    """What the user calls the merge: the path of its configuration."""
    where: str
    """The line where it begins."""
    method: str
    models: tuple[MergeInput, ...]
    """The models that are put together; a base that is subtracted is none of them."""
    base: MergeInput | None
    """The model that is subtracted from the others."""
    owner: MergeInput
    """The model whose configuration and, unless a vocabulary is made, tokenizer the merged model gets."""
    tokenizer: str | None
    """What the configuration says of the tokenizer: `union`, `base`, a model; `None` where it says nothing."""
    chat_template: str | None
    """What the configuration says of the chat template."""
    is_whole: bool
    """Whether whole models are merged, and not layers put together."""

    @property
    def inputs(self) -> tuple[MergeInput, ...]:
        """All models that weights come from, the base first."""
        base = (self.base,) if self.base is not None else ()
        return tuple(dict.fromkeys((*base, *self.models)))

    @property
    def others(self) -> tuple[MergeInput, ...]:
        """The models beside the owner."""
        return tuple(one for one in self.models if one is not self.owner)
