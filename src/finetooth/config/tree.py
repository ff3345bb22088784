"""The configuration of a command: one frozen dataclass tree, each field documented in one place.

Values come, in rising order, from the defaults below, from `finetooth.yaml` or `[tool.finetooth]` of
`pyproject.toml`, from `FINETOOTH_*` variables, and from the command line (its flags, then `--set key=value`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from finetooth.types import Shape

LabelsWay = Literal["finetooth", "as-is", "completion-collator", "causal-lm", "trl"]
"""The ways of making labels; one module of `finetooth.labels` each."""

TrainOn = Literal["completion", "assistant", "last", "all"]
Loader = Literal["auto", "tokenizers", "transformers"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """How records are read."""

    shape: Shape | Literal["auto"] = "auto"
    """The shape of the rows; `auto` looks at each row's keys."""
    text_field: str = "text"
    """The column that holds the text of `text` rows."""
    split: str = "train"
    """The split of a hub data set."""
    name: str | None = None
    """The configuration name of a hub data set."""
    revision: str | None = None
    """The revision of a hub data set."""
    encoding: str = "utf-8"
    """The encoding of text files."""
    skip_broken: bool = False
    """Whether rows that cannot be read are skipped and counted, where an error would stop the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerConfig:
    """How tokenizers and chat templates are loaded."""

    loader: Loader = "auto"
    """`tokenizers` reads tokenizer.json alone; `transformers` loads by the class that the files name; `auto` takes
    the first where tokenizer.json alone determines the tokenizer, the second elsewhere."""
    template: str | None = None
    """A built-in template's name, or the path of a .jinja file; `None` takes the tokenizer's own."""
    revision: str | None = None
    """The revision of a hub model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelsConfig:
    """How labels are made."""

    way: LabelsWay = "finetooth"
    """Whose labels: our own, those that the rows hold, or those of another piece of software."""
    train_on: TrainOn = "completion"
    """`completion`: the assistant turns of the completion, or all of them where the row names none; `assistant`:
    every assistant turn; `last`: the last one; `all`: every token. Keys on a turn or part overrule it."""
    response_template: str | None = None
    """The text after which an answer begins (`completion-collator`, and `text` rows under `finetooth`)."""
    response_template_ids: tuple[int, ...] | None = None
    """The same as ids, which no context can change."""
    instruction_template: str | None = None
    """The text after which a question begins."""
    instruction_template_ids: tuple[int, ...] | None = None
    """The same as ids."""
    max_length: int | Literal["none", "default"] = "default"
    """Tokens after which a row is cut; `default` is the trainer's own (1024 for `trl`, none elsewhere)."""
    truncation_mode: Literal["keep_start", "keep_end"] = "keep_start"
    """Which end of a row is kept when it is cut."""
    completion_only_loss: bool | None = None
    """SFTConfig.completion_only_loss: `None` is true for prompt and completion, false elsewhere (`trl`)."""
    assistant_only_loss: bool = False
    """SFTConfig.assistant_only_loss (`trl`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckConfig:
    """What a check looks for, and when it fails."""

    select: tuple[str, ...] = ()
    """Codes, beginnings of codes (`LAB`) or names of the rules that are run; all where none is named."""
    ignore: tuple[str, ...] = ()
    """Rules that are not run, named likewise."""
    fail_on: Literal["warning", "error", "never"] = "warning"
    """The least severity at which the exit code is 1; notes never fail."""
    max_per_rule: int | None = None
    """How many findings of one rule are shown for a model; all where it is not given."""
    processes: int | None = None
    """How many processes share the work; as many as there are cores where it is not given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputConfig:
    """How results are shown."""

    lang: Literal["en", "ja"] | None = None
    """The language of messages; `None` takes the environment's."""
    color: Literal["auto", "always", "never"] = "auto"
    """Whether the terminal output is coloured; `auto` looks at the terminal and at NO_COLOR."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that a command can be told."""

    data: DataConfig = field(default_factory=DataConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    labels: LabelsConfig = field(default_factory=LabelsConfig)
    check: CheckConfig = field(default_factory=CheckConfig)
    output: OutputConfig = field(default_factory=OutputConfig)
