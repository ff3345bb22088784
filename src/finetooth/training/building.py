"""From a recipe to the objects that are trained: the model, its adapter, and transformers' arguments."""

from __future__ import annotations

import os
from dataclasses import fields
from typing import Any

import torch

from finetooth.config import Config, LoraConfig
from finetooth.errors import MissingExtraError, TrainingError
from finetooth.messages import say
from finetooth.runs import Run
from finetooth.training.rows import EncodedRows


def on_gpu(config: Config) -> bool:
    """Return whether a recipe's model runs on an NVIDIA GPU here."""
    return config.train.device == "auto" and torch.cuda.is_available()


def dtype_of(config: Config) -> torch.dtype:
    """Return what the weights are held in."""
    if config.model.dtype != "auto":
        found: torch.dtype = getattr(torch, config.model.dtype)
        return found
    return torch.bfloat16 if on_gpu(config) and config.train.method == "lora" else torch.float32


def load_model(config: Config) -> Any:
    """Load the model of a recipe, with its adapter where it has one.

    Raises:
        TrainingError: There is no such model, or it cannot be loaded.
    """
    from transformers import AutoModelForCausalLM, set_seed

    path = config.model.path
    assert path is not None, "recipes are looked through before anything is loaded"
    try:
        model = AutoModelForCausalLM.from_pretrained(
            path,
            revision=config.model.revision,
            dtype=dtype_of(config),
            attn_implementation=None if config.model.attention == "auto" else config.model.attention,
            use_safetensors=True,
            trust_remote_code=False,
        )
    except ImportError as error:
        reason = _shortened((str(error).strip().splitlines() or [type(error).__name__])[0])
        raise TrainingError(
            say("training.no_model", reason=reason), where="model.attention", help="--set model.attention=auto"
        ) from error
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = _shortened((str(error).strip().splitlines() or [type(error).__name__])[0])
        raise TrainingError(
            say("training.no_model", reason=reason), where=path, help=say("training.no_model_help")
        ) from error
    set_seed(config.train.seed)  # the adapter's first values
    return _with_adapter(model, config.lora) if config.train.method == "lora" else model


def _with_adapter(model: Any, config: LoraConfig) -> Any:
    try:
        import peft
    except ImportError as error:
        raise MissingExtraError(say("training.needs_peft"), help='pip install "finetooth[train]"') from error
    modules: Any = list(config.target_modules)
    try:
        return peft.get_peft_model(
            model,
            peft.LoraConfig(
                task_type="CAUSAL_LM",
                r=config.r,
                lora_alpha=config.alpha,
                lora_dropout=config.dropout,
                target_modules="all-linear" if modules == ["all-linear"] else modules,
                modules_to_save=list(config.modules_to_save) or None,
            ),
        )
    except ValueError as error:
        reason = str(error).splitlines()[0][:300]
        raise TrainingError(
            say("training.bad_adapter", reason=reason),
            where="lora.target_modules",
            help="--set lora.target_modules=all-linear",
        ) from error


def refuse_foreign_ids(model: Any, rows: EncodedRows, path: str) -> None:
    """Refuse ids for which the model has no row.

    Raises:
        TrainingError: An id or a label is not below the number of rows.
    """
    num_rows = int(model.get_input_embeddings().weight.shape[0])
    largest = rows.largest_id()
    if largest < num_rows:
        return
    index = next(
        row.index for row in rows if max(max(row.input_ids, default=-1), max(row.labels, default=-1)) == largest
    )
    raise TrainingError(
        say("training.foreign_id", token_id=largest, num_rows=num_rows, model=path),
        where=rows.places[index],
        help=say("training.foreign_id_help", model=path),
    )


def _checkpointing(config: Config) -> dict[str, Any]:
    """Return the arguments of gradient checkpointing, which transformers 5.23 calls activation checkpointing."""
    from transformers import TrainingArguments

    if not config.train.gradient_checkpointing:
        return {}
    known = {field.name for field in fields(TrainingArguments)}
    name = "activation_checkpointing" if "activation_checkpointing" in known else "gradient_checkpointing"
    return {name: True, f"{name}_kwargs": {"use_reentrant": False}}


def training_arguments(config: Config, run: Run, *, has_eval: bool) -> Any:
    """Return transformers' TrainingArguments of a recipe.

    Raises:
        TrainingError: transformers refuses a value.
    """
    from transformers import TrainingArguments
    from transformers.integrations import get_reporting_integration_callbacks

    train = config.train
    precision = train.precision
    if precision == "auto":
        precision = "bf16" if on_gpu(config) and torch.cuda.is_bf16_supported() else "fp32"
    if precision == "fp16" and not on_gpu(config):
        raise TrainingError(say("training.no_fp16"), where="train.precision", help="--set train.precision=bf16")
    evaluates: dict[str, Any] = {"eval_strategy": "no"}
    if has_eval:
        evaluates = {"eval_strategy": "epoch" if train.eval_steps == "epoch" else "steps"}
        evaluates |= {} if train.eval_steps == "epoch" else {"eval_steps": train.eval_steps}
    saves: dict[str, Any] = {"save_strategy": {"epoch": "epoch", "never": "no"}.get(str(train.save_steps), "steps")}
    saves |= {"save_steps": train.save_steps} if isinstance(train.save_steps, int) else {}
    warmup: float | int = int(train.warmup_steps) if train.warmup_steps >= 1 else train.warmup_steps
    num_ranks = int(os.environ.get("WORLD_SIZE", "1"))
    try:
        args = TrainingArguments(
            output_dir=str(run.directory),
            run_name=run.directory.name,
            num_train_epochs=train.epochs,
            max_steps=-1 if train.max_steps is None else train.max_steps,
            # What is told of trackers; the steps themselves are drawn for all ranks together.
            per_device_train_batch_size=-(-train.batch_size // num_ranks),
            learning_rate=train.learning_rate,
            lr_scheduler_type=train.scheduler,
            warmup_steps=warmup,
            optim=train.optimizer,
            adam_beta1=train.adam_beta1,
            adam_beta2=train.adam_beta2,
            adam_epsilon=train.adam_epsilon,
            weight_decay=train.weight_decay,
            max_grad_norm=train.max_grad_norm,
            label_smoothing_factor=train.label_smoothing,
            neftune_noise_alpha=train.neftune_alpha,
            seed=train.seed,
            bf16=precision == "bf16",
            fp16=precision == "fp16",
            logging_steps=train.logging_steps,
            logging_first_step=True,
            # A loss that is no number stops the run, with the rows that gave it.
            logging_nan_inf_filter=False,
            save_total_limit=train.save_total_limit,
            report_to=list(train.report_to) or "none",
            # Without an accelerator as well: bf16 on a CPU wants it said.
            use_cpu=train.device == "cpu" or not torch.accelerator.is_available(),
            disable_tqdm=True,
            remove_unused_columns=False,
            dataloader_num_workers=1 if on_gpu(config) else 0,
            dataloader_pin_memory=False,
            ddp_find_unused_parameters=False,
            **evaluates,
            **saves,
            **_checkpointing(config),
        )
        # Trackers are looked for by the Trainer itself, which would be late.
        get_reporting_integration_callbacks(args.report_to)
    except (ValueError, ImportError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise TrainingError(
            say("training.bad_arguments", reason=_shortened(reason)),
            where=_blamed(config, reason),
            help="finetooth config train",
        ) from error
    if args.n_gpu > 1:
        # Several GPUs in one process would be torch's DataParallel, which cuts masks of packs apart.
        args._n_gpu = 1
    return args


def _blamed(config: Config, reason: str) -> str:
    """Return the key whose value an error of transformers names; the section where it names none."""
    train = config.train
    for key, values in (
        ("optimizer", [train.optimizer]),
        ("scheduler", [train.scheduler]),
        ("report_to", train.report_to),
    ):
        if any(value.lower() in reason.lower() for value in values):
            return f"train.{key}"
    return "train"


def _shortened(reason: str, limit: int = 200) -> str:
    """Return an error without the end of a long list, cut between words."""
    return reason if len(reason) <= limit else reason[:limit].rpartition(" ")[0] + " ..."
