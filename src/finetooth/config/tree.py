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
    train: tuple[str, ...] = ()
    """What a recipe trains on: files, patterns, or a hub data set."""
    eval: tuple[str, ...] = ()
    """What a recipe evaluates on."""
    eval_share: float = 0.0
    """The share of the rows that is held out for evaluation, where `data.eval` names nothing; drawn by
    `train.seed`."""


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
    path: str | None = None
    """The tokenizer that a recipe trains with: a directory or hub id; `None` takes the model's own."""


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
class ModelConfig:
    """The model that a recipe trains."""

    path: str | None = None
    """A directory or hub id with weights as safetensors."""
    revision: str | None = None
    """The revision of a hub model."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """What the weights are held in; `auto` is float32 on a CPU and for full training, else bfloat16."""
    attention: Literal["auto", "sdpa", "eager", "flex_attention", "flash_attention_2"] = "auto"
    """The attention implementation; `auto` is `flex_attention` on an NVIDIA GPU where prefixes are shared, else
    `sdpa`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraConfig:
    """The adapter, where `train.method` is `lora`; the fields are those of peft's LoraConfig."""

    r: int = 16
    """The rank."""
    alpha: int = 32
    """The scale: the adapter's output is multiplied by alpha / r."""
    dropout: float = 0.0
    """The dropout before the adapter. Above 0, rows that share a prefix share its mask."""
    target_modules: tuple[str, ...] = ("all-linear",)
    """The modules that get an adapter: names, or `all-linear` alone."""
    modules_to_save: tuple[str, ...] = ()
    """Modules that are trained whole beside the adapter, such as `embed_tokens`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """How a recipe trains. What has a counterpart in transformers' TrainingArguments means the same."""

    method: Literal["lora", "full"] = "lora"
    """Whether an adapter is trained, or every weight."""
    epochs: float = 3.0
    """How often the rows are gone through."""
    max_steps: int | None = None
    """Optimizer steps, in place of `train.epochs`."""
    batch_size: int = 16
    """Rows in an optimizer step, over all ranks and whatever is accumulated."""
    micro_batch_size: int | None = None
    """The most rows that are computed at a time where rows are padded; as many as fit where it is not given."""
    pack: Literal["auto", "forest", "pad"] = "auto"
    """`forest` computes shared prefixes once, `pad` fills rows up, `auto` takes the first where it pays. Packs are used
    only where a trial on the model comes out right."""
    pack_tokens: int | Literal["auto"] = "auto"
    """The most tokens in a pack, or in a padded batch; `auto` chooses by the data on a CPU, else 4,096."""
    learning_rate: float = 1e-4
    """The learning rate after warm-up."""
    scheduler: str = "linear"
    """How the learning rate goes down: transformers' `lr_scheduler_type` (`linear`, `cosine`, `constant`, ...)."""
    warmup_steps: float = 0.0
    """Steps over which the learning rate goes up; below 1, their share of all steps."""
    optimizer: str = "adamw_torch"
    """The optimizer: transformers' `optim`."""
    adam_beta1: float = 0.9
    """Adam's first decay rate."""
    adam_beta2: float = 0.999
    """Adam's second decay rate."""
    adam_epsilon: float = 1e-8
    """What Adam adds to the denominator."""
    weight_decay: float = 0.0
    """The decay of weights."""
    max_grad_norm: float = 1.0
    """The norm at which gradients are cut; 0 cuts none."""
    label_smoothing: float = 0.0
    """The share of each target that is spread over the vocabulary."""
    neftune_alpha: float | None = None
    """The noise on embeddings (NEFTune). Rows that share a prefix share its noise."""
    seed: int = 0
    """Decides the order of rows, held-out rows, dropout, and the adapter's first values."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """What is computed in; `auto` is bf16 on an accelerator that has it, else fp32."""
    gradient_checkpointing: bool = False
    """Whether activations are computed twice, for less memory."""
    logging_steps: int = 10
    """Steps between two lines of metrics.jsonl."""
    eval_steps: int | Literal["epoch"] = "epoch"
    """Steps between two evaluations, or `epoch`."""
    save_steps: int | Literal["epoch", "never"] = "epoch"
    """Steps between two checkpoints, `epoch`, or `never`."""
    save_total_limit: int | None = 2
    """How many checkpoints are kept."""
    report_to: tuple[str, ...] = ()
    """Trackers: `tensorboard`, `wandb`, and what else transformers knows."""
    num_samples: int = 4
    """Prompts of the data that are answered after each evaluation, or at the end, for samples.jsonl."""
    sample_tokens: int = 64
    """The most tokens of such an answer."""
    probe_prompts: int = 16
    """Prompts of the data that the trained model answers at the end, for probe.json; 0 asks none."""
    probe_steps: int | Literal["epoch", "end"] = "end"
    """Steps between two probes of the same prompts in training, for probes.jsonl; `epoch`, or at the `end` alone."""
    device: Literal["auto", "cpu"] = "auto"
    """Where the model runs."""


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
    model: ModelConfig = field(default_factory=ModelConfig)
    lora: LoraConfig = field(default_factory=LoraConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    output: OutputConfig = field(default_factory=OutputConfig)
