"""Train: one recipe, one model, one run directory.

finetooth.train("recipe.yaml", "runs/first")
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

from finetooth.checking import findings_json
from finetooth.config import Recipe, flatten, load_recipes
from finetooth.environment import environment
from finetooth.errors import ConfigError, FinetoothError, TrainingError
from finetooth.examples import examples_of
from finetooth.inspection import open_records
from finetooth.messages import say
from finetooth.probing.probe import probe_model
from finetooth.probing.prompts import Prompt, prompts_of_data
from finetooth.runs import ENVIRONMENT, EXAMPLES, FINDINGS, FINGERPRINT, METRICS, MODEL, PROBE, RECIPE, Run
from finetooth.tokenizer import TokenizerFiles
from finetooth.training.card import model_card
from finetooth.training.preparing import Checked, Prepared, check_recipe, prepare, setup_of
from finetooth.types import Finding

Tell = Callable[[str], None]

MAY_CHANGE = (
    "check.",
    "output.",
    "train.logging_steps",
    "train.eval_steps",
    "train.save_steps",
    "train.save_total_limit",
    "train.report_to",
    "train.num_samples",
    "train.sample_tokens",
    "train.probe_prompts",
    "train.probe_steps",
    "train.device",
    "train.pack",
    "train.micro_batch_size",
)
"""Beginnings of the keys that a run may go on with changed: they change nothing that is learned."""


TOKENIZER_FILES = ("tokenizer", "special_tokens", "added_tokens", "vocab", "merges", "chat_template")
"""Beginnings of the names of a tokenizer's files."""


def is_main_process() -> bool:
    """Return whether this process writes and speaks: the first of those that torchrun started, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def train_run(
    prepared: Prepared,
    run: Run,
    *,
    checked: Checked | None = None,
    resume: bool = False,
    tell: Tell | None = None,
    progress: bool = True,
) -> Run:
    """Train one recipe, and fill its directory.

    Args:
        prepared: The recipe with its rows.
        run: The directory, which is there.
        checked: What the check counted, for the record.
        resume: Whether training goes on from the last whole checkpoint, where there is one.
        tell: Told what is done, in sentences.
        progress: Whether progress is shown on stderr.

    Returns:
        The run, with `model/` in it.

    Raises:
        TrainingError: Training cannot go on.
        ConfigError: The run that is to go on was begun otherwise.
    """
    from transformers import PrinterCallback

    from finetooth.training.building import load_model, on_gpu, refuse_foreign_ids, training_arguments
    from finetooth.training.callbacks import Progress, RunWriter, Sampler
    from finetooth.training.probes import ProbeCallback
    from finetooth.training.trainer import ForestTrainer

    config = prepared.config
    tell = tell if tell is not None and is_main_process() else _say_nothing
    if resume:
        refuse_another(prepared.recipe, run, label_hash=prepared.fingerprint.label_hash)
    quieten_libraries()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    # What can be refused is refused before anything is written.
    arguments = training_arguments(config, run, has_eval=len(prepared.eval_rows) > 0)
    model = load_model(config)
    refuse_foreign_ids(model, prepared.rows, str(config.model.path))
    train = config.train
    rows = [prepared.rows[index] for index in range(min(train.num_samples, len(prepared.rows)))]
    callbacks: list[Any] = [RunWriter(run)]
    if train.num_samples:
        numbers = list(prepared.rows.record_indices[: len(rows)])
        sampler = Sampler(run, rows, prepared.setup.tokenizer, max_tokens=train.sample_tokens, record_indices=numbers)
        callbacks.append(sampler)
    if progress and is_main_process():
        callbacks.append(Progress(run.directory.name, is_terminal=sys.stderr.isatty()))
    if train.probe_steps != "end" and train.probe_prompts:
        callbacks.append(
            ProbeCallback(
                probe_prompts(prepared), prepared.setup.tokenizer, every=train.probe_steps, output=run.directory
            )
        )
    trainer = ForestTrainer(
        model=model,
        args=arguments,
        train_dataset=prepared.rows,
        eval_dataset=prepared.eval_rows if len(prepared.eval_rows) else None,
        callbacks=callbacks,
        pack=train.pack,
        pack_tokens=train.pack_tokens,
        micro_batch_size=train.micro_batch_size,
        rows_per_step=train.batch_size,
        stop_ids=sorted(prepared.setup.tokenizer.stop_ids),
        attentions=None if config.model.attention == "auto" else (config.model.attention,),
        on_choice=tell,
    )
    trainer.remove_callback(PrinterCallback)  # it prints what Progress shows
    trainer.choose_packing()
    noisy = {"dropout": train.method == "lora" and config.lora.dropout, "NEFTune": train.neftune_alpha}
    for name in (name for name, value in noisy.items() if value and trainer.way == "forest"):
        tell(say("training.shared_noise", name=name))
    with run.hold() if is_main_process() else nullcontext():
        checkpoint = _begin(trainer, prepared, run, checked, resume=resume, tell=tell)
        if not prepared.rows.num_supervised():
            tell(say("training.nothing_supervised"))
        tell(say("training.loss_path", device="GPU" if on_gpu(config) else "CPU"))
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        _probe(trainer, prepared, run)
        _finish(trainer, prepared, run, checked)
    return run


def probe_prompts(prepared: Prepared) -> list[Prompt]:
    """Return the prompts that a run is probed with: the first of its data."""
    config = prepared.config
    return list(islice(prompts_of_data(config.data.train, prepared.setup, config), config.train.probe_prompts))


def _probe(trainer: Any, prepared: Prepared, run: Run) -> None:
    """Let the trained model answer prompts of its data, and write how it stops."""
    config = prepared.config
    if (
        not config.train.probe_prompts
        or not is_main_process()
        or trainer.is_fsdp_enabled
        or trainer.is_deepspeed_enabled
    ):
        return
    model = trainer.accelerator.unwrap_model(trainer.model)
    report = probe_model(
        model,
        prepared.setup.tokenizer,
        probe_prompts(prepared),
        name=str(run.directory),
        template_hash=prepared.fingerprint.template_hash,
    )
    run.write_json(PROBE, report.to_json())


def _say_nothing(sentence: str) -> None:
    """Stand for nobody who listens."""


def _ignore(error: FinetoothError) -> None:
    """Pass over a row that is broken: it was told of when the rows were read."""


def _begin(
    trainer: Any, prepared: Prepared, run: Run, checked: Checked | None, *, resume: bool, tell: Tell
) -> Path | None:
    """Write what is known of a run; returns the checkpoint to go on from."""
    checkpoints = list(run.checkpoints().items()) if resume else []
    step = checkpoints[-1][0] if checkpoints else 0
    if is_main_process():
        if resume:
            tell(say("training.resumes", step=step) if step else say("training.no_checkpoint"))
        run.forget_after(step if checkpoints else -1)
        run.write_text(RECIPE, prepared.recipe.to_yaml())
        computed = {
            "function": "finetooth.loss.observed_loss",
            "label_smoothing": prepared.config.train.label_smoothing,
            "packing": trainer.way,
            "max_tokens": trainer.max_tokens,
        }
        run.write_json(ENVIRONMENT, environment(prepared.recipe.resolved.file) | {"loss": computed})
        run.write_json(FINGERPRINT, prepared.fingerprint.to_json() | {"data_hash": prepared.data_hash})
        records = open_records(list(prepared.config.data.train), prepared.config.data, _ignore)
        examples = examples_of(prepared.setup, records)
        # Escaped: a text may hold a lone surrogate, which UTF-8 refuses.
        run.write_text(EXAMPLES, "".join(json.dumps(one.to_json()) + "\n" for one in examples))
        if checked is not None:
            run.write_json(FINDINGS, findings_json(checked.report))
    return checkpoints[-1][1] if checkpoints else None


def refuse_another(recipe: Recipe, run: Run, *, label_hash: str | None = None) -> None:
    """Refuse to go on with another recipe, or other labels, than a run was begun with.

    Args:
        recipe: What is to be gone on with.
        run: The run.
        label_hash: Of the labels that it would learn from; `None` where they are not known.

    Raises:
        ConfigError: The recipe is another one.
        TrainingError: The labels are others.
    """
    path = run.directory / RECIPE
    if not path.is_file():
        return
    (before,) = load_recipes(path, environ={})
    old, new = flatten(before.config), flatten(recipe.config)
    changed = [key for key in new if old[key] != new[key] and not key.startswith(MAY_CHANGE)]
    if changed:
        key = changed[0]
        raise ConfigError(
            say("training.other_recipe", key=key, old=old[key], new=new[key]),
            where=str(path),
            help=f"finetooth train {path} --resume -o {run.directory}",
        )
    known = run.read_json(FINGERPRINT)
    if label_hash is not None and known is not None and known.get("label_hash") != label_hash:
        raise TrainingError(
            say("training.other_labels"), where=str(run.directory), help=say("training.other_labels_help")
        )


def _finish(trainer: Any, prepared: Prepared, run: Run, checked: Checked | None) -> None:
    """Save the model with its tokenizer and card, whole or not at all."""
    stage = run.directory / f".{MODEL}"
    shutil.rmtree(stage, ignore_errors=True)
    try:
        trainer.save_model(str(stage), _internal_call=True)
        if not is_main_process():
            return
        (stage / "training_args.bin").unlink(missing_ok=True)  # a pickle, which nobody should have to trust
        copy_tokenizer(prepared, stage)
        metrics: dict[str, Any] = {}
        for line in run.lines(METRICS):
            metrics |= line
        smoothing = prepared.config.train.label_smoothing
        card = model_card(
            prepared.config,
            prepared.fingerprint,
            data_hash=prepared.data_hash,
            num_rows=len(prepared.rows),
            findings=() if checked is None else checked.report().findings,
            metrics=metrics,
            loss_path="cross-entropy summed over supervised tokens, divided by those of the optimizer step"
            + (f", label smoothing {smoothing}" if smoothing else ""),
            packing=f"{trainer.way}, of at most {trainer.max_tokens:,} tokens",
        )
        (stage / "README.md").write_text(card, encoding="utf-8")
        os.replace(stage, run.directory / MODEL)
    except OSError as error:
        raise TrainingError(
            say("training.not_saved", name=MODEL, reason=error.strerror or str(error)),
            where=str(run.directory),
            help=say("training.not_saved_help"),
        ) from error


def copy_tokenizer(prepared: Prepared, target: Path) -> None:
    """Put the tokenizer's files beside a model, byte by byte, and the chat template that was trained with.

    To save a loaded tokenizer would write its files anew, and other ids could come of them.
    """
    files: TokenizerFiles | None = prepared.setup.tokenizer.files
    if files is not None:
        for path in sorted(files.directory.iterdir()):
            if path.is_file() and path.name.startswith(TOKENIZER_FILES):
                shutil.copyfile(path, target / path.name)
    if prepared.config.tokenizer.template is not None and prepared.setup.template is not None:
        (target / "chat_template.jinja").write_text(prepared.setup.template.source, encoding="utf-8")


def quieten_libraries() -> None:
    """Let transformers say nothing but errors, and show no progress of its own."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


class CheckFailed(FinetoothError):
    """The check found errors, and training was not begun."""

    exit_code = 1

    def __init__(self, findings: Sequence[Finding], where: str) -> None:
        names = ", ".join(dict.fromkeys(f"{one.code} {one.name}" for one in findings))
        super().__init__(
            say("training.check_failed", findings=names), where=where, help=say("training.check_failed_help")
        )
        self.findings = tuple(findings)


def train(
    recipe: str | Path,
    output: str | Path,
    *,
    sets: Sequence[str] = (),
    check: bool = True,
    resume: bool = False,
    force: bool = False,
    tell: Tell | None = None,
) -> list[Run]:
    """Train what a recipe says, and return its runs.

    Args:
        recipe: A YAML file; see docs/training.md.
        output: The directory of the run; of several runs, the directory in which each has its own.
        sets: `key=value` texts that overrule the recipe.
        check: Whether errors that the check finds stop everything before it begins.
        resume: Whether runs that are there go on.
        force: Whether runs that are there are begun anew.
        tell: Told what is done, in sentences.

    Raises:
        CheckFailed: The check found errors.
        FinetoothError: The recipe, the data or the model is wrong, or training cannot go on.
    """
    recipes = load_recipes(Path(recipe), sets=sets)
    setups = [setup_of(one) for one in recipes]
    checks = [check_recipe(one, setup) for one, setup in zip(recipes, setups, strict=True)]
    errors = [finding for checked in checks for finding in checked.errors()]
    if check and errors:
        raise CheckFailed(errors, str(recipe))
    directories = run_directories(recipes, Path(output))
    runs = []
    for one, setup, checked, directory in zip(recipes, setups, checks, directories, strict=True):
        run = Run(directory)
        run.begin(force=force, resume=resume)
        runs.append(train_run(prepare(one, setup), run, checked=checked, resume=resume, tell=tell))
    return runs


def run_directories(recipes: Sequence[Recipe], output: Path) -> list[Path]:
    """Return where each recipe's run lies: in `output` itself, or of several in folders of their names."""
    if len(recipes) == 1 and not recipes[0].settings:
        return [output]
    names = [one.name for one in recipes]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(
            say("training.same_name", name=twice), where=recipes[0].where, help=say("training.same_name_help")
        )
    return [output / name for name in names]
