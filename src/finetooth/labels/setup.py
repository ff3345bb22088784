"""`Setup`: one model's tokenizer and template, and one way of making labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from finetooth.config import Config, LabelsConfig
from finetooth.errors import ConfigError, FinetoothError, TemplateError
from finetooth.labels.trained import Trained
from finetooth.messages import say
from finetooth.template import ChatTemplate, Renderer, read_template
from finetooth.templates import BUILTIN, builtin_template
from finetooth.tokenizer import Tokenizer, load_tokenizer
from finetooth.types import Encoded, Record, Rendered, Span

Labeller = Callable[[Sequence[Record]], list[Encoded]]
"""A way of making labels, bound to a set-up: call it with batches of records, in the order of the data."""


@dataclass(frozen=True, kw_only=True)
class Setup:
    """Everything that decides the labels of a record."""

    tokenizer: Tokenizer
    template: ChatTemplate | None
    """The chat template in force; `None` where rows bring none and the tokenizer has none."""
    labels: LabelsConfig = field(default_factory=LabelsConfig)
    trained: Trained | None = None
    """The weights and what a recipe trains of them; `None` where they lie beside the tokenizer, and nobody says."""

    @property
    def model(self) -> str:
        """What the user typed to name the model."""
        return self.tokenizer.name

    @cached_property
    def renderer(self) -> Renderer:
        """What renders records in this set-up."""
        return Renderer(
            template=self.template,
            stops=self.tokenizer.stops,
            train_on=self.labels.train_on,
            response_template=self.labels.response_template,
            instruction_template=self.labels.instruction_template,
            bos_token=self.tokenizer.bos_token,
        )

    def with_template(self, template: ChatTemplate) -> Setup:
        """Return the same set-up with another chat template."""
        return replace(self, template=template)

    def max_length(self, default: int | None = None) -> int | None:
        """Return the length at which rows are cut, or `None`; `default` is that of the trainer in question."""
        value = self.labels.max_length
        if isinstance(value, int) and value < 1:
            raise ConfigError(
                say("labels.bad_length", value=value), where="labels.max_length", help="--max-length none"
            )
        return default if value == "default" else None if value == "none" else int(value)

    def render(self, record: Record, *, roles: bool = True) -> Rendered:
        """Render a record; errors name its place."""
        try:
            return self.renderer.render(record, roles=roles)
        except FinetoothError as error:
            raise error.at(record.where) from error

    @staticmethod
    def _cut_note(num_cut: int, kept: int) -> tuple[str, ...]:
        return (say("labels.cut_at", kept=kept, whole=kept + num_cut),) if num_cut else ()

    def encoded(
        self,
        record: Record,
        *,
        text: str,
        input_ids: list[int],
        labels: list[int],
        offsets: list[tuple[int, int]],
        spans: Sequence[Span],
        dropped: str | None = None,
        num_cut: int = 0,
        notes: Sequence[str] = (),
    ) -> Encoded:
        """Return the `Encoded` of a record in this set-up."""
        return Encoded(
            record_index=record.index,
            where=record.where,
            model=self.model,
            loader=self.tokenizer.loader,
            labels_way=self.labels.way,
            text=text,
            input_ids=input_ids,
            labels=labels,
            offsets=offsets,
            spans=tuple(spans),
            dropped=dropped,
            num_cut=num_cut,
            notes=(*notes, *self._cut_note(num_cut, len(input_ids))),
        )


def make_setup(model: str | Tokenizer, config: Config | None = None) -> Setup:
    """Load a model's tokenizer and choose its chat template.

    Args:
        model: A directory, a hub id, or a tokenizer that is loaded already.
        config: The configuration; `None` takes the defaults.

    Raises:
        TokenizerError: The tokenizer cannot be loaded.
        TemplateError: The template named in the configuration is neither a built-in nor a readable file.
    """
    config = config or Config()
    wanted = config.tokenizer
    tokenizer = (
        model if isinstance(model, Tokenizer) else load_tokenizer(model, loader=wanted.loader, revision=wanted.revision)
    )
    return Setup(tokenizer=tokenizer, template=choose_template(tokenizer, wanted.template), labels=config.labels)


def choose_template(tokenizer: Tokenizer, name: str | None) -> ChatTemplate | None:
    """Return the chat template of a name: one of the tokenizer's own, a built-in, or a .jinja file.

    Args:
        tokenizer: The tokenizer whose special tokens the template prints.
        name: `None` takes the tokenizer's default, or `None` where it has none.

    Raises:
        TemplateError: There is no such template.
    """
    if name is None:
        return tokenizer.chat_template()
    if name.endswith((".jinja", ".j2", ".jinja2")) or Path(name).is_file():
        return tokenizer.compile(read_template(Path(name)), name=name)
    if name in BUILTIN:
        return tokenizer.compile(builtin_template(name), name=name)
    own = tokenizer.chat_template(name)
    if own is None:
        try:
            builtin_template(name)
        except TemplateError as error:
            known = ", ".join(tokenizer.chat_templates)
            raise (
                TemplateError(f"{error.what} ({say('labels.own_templates', names=known)})", help=error.help)
                if known
                else error
            ) from error
    return own
