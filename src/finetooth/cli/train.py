"""`finetooth train`: check, show, and learn from what a recipe names."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from finetooth.cli.color import paint
from finetooth.cli.errors import error_text
from finetooth.cli.help import columns
from finetooth.cli.inspect import tell_unchecked
from finetooth.cli.options import Invocation, argument, option, subcommand
from finetooth.cli.progress import CheckProgress
from finetooth.config import Recipe
from finetooth.errors import ConfigError, FinetoothError
from finetooth.labels import Setup
from finetooth.messages import say, set_language
from finetooth.runs import METRICS, Run
from finetooth.training.memory import Memory
from finetooth.training.planning import RunPlan, plan_run
from finetooth.training.preparing import Checked, Prepared, check_recipe, prepare, setup_of

SHOWN_METRICS = ("loss", "eos_loss", "p_eos_end", "p_eos_inside", "token_accuracy")


@subcommand("train", flags=("train.pack", "train.pack_tokens"), has_recipes=True)
@argument("recipes", nargs=-1, required=True)
@option("-o", "--output", metavar="DIR", help_key="cli_train.output")
@option("--dry-run", is_flag=True, help_key="cli_train.dry_run")
@option("--no-check", is_flag=True, help_key="cli_train.no_check")
@option("--resume", is_flag=True, help_key="cli_train.resume")
@option("--force", is_flag=True, help_key="cli_train.force")
@option("--format", "format_name", choices=("text", "json"), default="text", help_key="cli_train.format")
def command(
    invocation: Invocation,
    recipes: tuple[str, ...],
    output: str | None,
    dry_run: bool,
    no_check: bool,
    resume: bool,
    force: bool,
    format_name: str,
) -> int | None:
    """Train what recipes say."""
    from finetooth.training.running import is_main_process, run_directories

    if output is None and not dry_run:
        raise ConfigError(say("cli_train.no_output"), where="--output", help="--output runs/first")
    if format_name == "json":
        set_language("en")
    chosen = [recipe for path in recipes for recipe in invocation.recipes(Path(path))]
    setups = [setup_of(recipe) for recipe in chosen]
    directories = run_directories(chosen, Path(output or "."))
    if not dry_run and is_main_process():
        for directory in directories:
            Run(directory).refuse(resume=resume, force=force)
    jobs = [
        _Job(invocation, recipe, setup, directory, color=invocation.color)
        for recipe, setup, directory in zip(chosen, setups, directories, strict=True)
    ]
    if is_main_process():
        tell_unchecked(invocation, setups)
        may_begin = all([job.check(no_check=no_check) for job in jobs])
        if dry_run:
            _write_plans(jobs, format_name)
        if dry_run or not may_begin:
            return int(not may_begin)
    return _train(jobs, resume=resume, force=force, format_name=format_name)


class _Job:
    """One run on its way."""

    def __init__(self, invocation: Invocation, recipe: Recipe, setup: Setup, directory: Path, *, color: bool) -> None:
        self.invocation = invocation
        self.recipe = recipe
        self.setup = setup
        self.directory = directory
        self.color = color
        self.checked: Checked | None = None
        self.broken: list[FinetoothError] = []

    @property
    def name(self) -> str:
        """What the run is called in what is said: its folder's name, where it has one."""
        return self.directory.name or self.recipe.name

    def tell(self, sentence: str) -> None:
        self.invocation.talk(f"{self.name}: {sentence}")

    def _skip(self) -> Any:
        return self.broken.append if self.recipe.config.data.skip_broken else None

    def check(self, *, no_check: bool) -> bool:
        """Check the data, and show what was found; returns whether training may begin."""
        from finetooth.formats import text

        self.invocation.talk(say("cli_train.checking", name=self.name))
        with CheckProgress(quiet=self.invocation.quiet) as progress:
            processes = self.recipe.config.check.processes or os.cpu_count() or 1
            self.checked = check_recipe(
                self.recipe, self.setup, processes=processes, on_broken=self._skip(), on_progress=progress
            )
        errors = self.checked.errors()
        report = self.checked.report()
        if not self.invocation.quiet:
            width = shutil.get_terminal_size((100, 24)).columns
            for piece in text.render(report, width=width, color=self.color and sys.stderr.isatty(), fail_on="error"):
                sys.stderr.write(piece)
        if self.broken:
            first = str(self.broken[0]).replace("\n", " ")
            self.invocation.talk(say("cli_inspect.skipped", count=len(self.broken), first=first))
        if errors and self.invocation.quiet:
            for one in errors:
                click.echo(f"{say('formats.severity_error')} {one.code} {one.name}: {one.message}", err=True)
        if errors:
            click.echo(
                say("cli_train.errors_all_the_same" if no_check else "cli_train.errors", name=self.name), err=True
            )
        return no_check or not errors

    def prepare(self) -> Prepared:
        return prepare(self.recipe, self.setup, (lambda error: None) if self.recipe.config.data.skip_broken else None)

    def show_batch(self, prepared: Prepared) -> None:
        """Draw the first rows as the model will see them."""
        from finetooth.training.preview import draw

        if self.invocation.quiet:
            return
        width = shutil.get_terminal_size((100, 24)).columns
        color = self.color and sys.stderr.isatty()
        style = (lambda text, learned: paint(text, "blue" if learned else "dim", enabled=True)) if color else None
        self.tell(say("cli_train.batch"))
        rows = [prepared.rows[index] for index in _order(prepared)[: self.recipe.config.train.batch_size]]
        for line in draw(rows, self.setup.tokenizer, width=width, style=style):
            self.invocation.talk(f"  {line}")


def _order(prepared: Prepared) -> list[int]:
    """Return the rows in the order of the first epoch; in that of the data without torch, which draws it."""
    try:
        from finetooth.training.steps import StepSampler
    except ImportError:
        return list(range(len(prepared.rows)))
    train = prepared.config.train
    steps = StepSampler(len(prepared.rows), train.batch_size, seed=train.seed)
    return [index for step in steps for index in step]


def _train(jobs: Sequence[_Job], *, resume: bool, force: bool, format_name: str) -> int:
    """Train one after the other; one that fails does not keep the next from running."""
    from finetooth.training.running import is_main_process, refuse_another, train_run

    code = 0
    finished: list[tuple[_Job, Run]] = []
    for job in jobs:
        run = Run(job.directory)
        if resume and run.is_finished:
            refuse_another(job.recipe, run)
            job.invocation.talk(say("cli_train.finished", name=job.name))
            finished.append((job, run))
            continue
        try:
            if is_main_process():
                run.begin(force=force, resume=resume)
            prepared = job.prepare()
            if is_main_process():
                job.show_batch(prepared)
            quiet = job.invocation.quiet
            train_run(prepared, run, checked=job.checked, resume=resume, tell=job.tell, progress=not quiet)
            finished.append((job, run))
        except KeyboardInterrupt:
            step = max(run.checkpoints(), default=0)
            early = say("cli_train.interrupted_early", name=job.name)
            click.echo("\n" + (say("cli_train.interrupted", name=job.name, step=step) if step else early), err=True)
            raise
        except FinetoothError as error:
            if len(jobs) == 1:
                raise
            code = error.exit_code
            click.echo(say("cli_train.failed", name=job.name), err=True)
            click.echo(error_text(error, color=job.color), err=True)
    if is_main_process():
        _write_results(finished, format_name)
    return code


def _write_results(finished: Sequence[tuple[_Job, Run]], format_name: str) -> None:
    rows = []
    for job, run in finished:
        last: dict[str, Any] = {}
        for metrics in run.lines(METRICS):
            last |= {name: value for name, value in metrics.items() if value is not None}
        rows.append({"name": job.name, "directory": str(run.directory), **last})
    if format_name == "json":
        click.echo(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    heads = [say("cli_train.head_run"), say("cli_train.head_steps"), *SHOWN_METRICS]
    cells = [
        [row["directory"], str(row.get("step", "-")), *(_number(row.get(name)) for name in SHOWN_METRICS)]
        for row in rows
    ]
    for line in _table([heads, *cells]):
        click.echo(line)


def _number(value: Any) -> str:
    return "-" if value is None else f"{value:.4f}"


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(columns(row[place]) for row in rows) for place in range(len(rows[0]))]
    for row in rows:
        first = row[0] + " " * (widths[0] - columns(row[0]))
        rest = ("  " + " " * (width - columns(cell)) + cell for cell, width in zip(row[1:], widths[1:], strict=True))
        yield first + "".join(rest)


def _write_plans(jobs: Sequence[_Job], format_name: str) -> None:
    plans = []
    for job in jobs:
        prepared = job.prepare()
        gpu = _has_gpu(job.recipe)
        plan = plan_run(
            job.recipe.config,
            prepared.rows,
            num_eval_rows=len(prepared.eval_rows),
            num_dropped=prepared.num_dropped,
            on_gpu=gpu,
            weight_bytes=_weight_bytes(job.recipe, gpu=gpu),
            order=_order(prepared),
        )
        plans.append({"name": job.name, "directory": str(job.directory), **plan.to_json()})
        if format_name == "text":
            job.show_batch(prepared)
            click.echo(job.name)
            facts = list(_plan_rows(plan))
            width = max(columns(name) for name, _ in facts)
            for name, value in facts:
                click.echo(f"  {name}{' ' * (width - columns(name))}  {value}")
    if format_name == "json":
        click.echo(json.dumps(plans, ensure_ascii=False, indent=2))


def _has_gpu(recipe: Recipe) -> bool:
    """Return whether the run would be on a GPU; torch is asked where it is installed."""
    try:
        from finetooth.training.building import on_gpu
    except ImportError:
        return False
    return on_gpu(recipe.config)


def _weight_bytes(recipe: Recipe, *, gpu: bool) -> int:
    dtype = recipe.config.model.dtype
    if dtype == "auto":
        return 2 if gpu and recipe.config.train.method == "lora" else 4
    return 4 if dtype == "float32" else 2


def _plan_rows(plan: RunPlan) -> Iterator[tuple[str, str]]:
    numbers = plan.packing
    yield (
        say("cli_train.plan_rows"),
        say(
            "cli_train.plan_rows_value",
            rows=f"{plan.num_rows:,}",
            dropped=f"{plan.num_dropped:,}",
            idle=f"{plan.num_idle_rows:,}",
            eval=f"{plan.num_eval_rows:,}",
            longest=f"{plan.longest:,}",
        ),
    )
    share = plan.num_supervised / plan.num_tokens if plan.num_tokens else 0.0
    yield (
        say("cli_train.plan_tokens"),
        say(
            "cli_train.plan_tokens_value",
            tokens=f"{plan.num_tokens:,}",
            supervised=f"{plan.num_supervised:,}",
            share=f"{share:.1%}",
        ),
    )
    yield (
        say("cli_train.plan_steps"),
        say(
            "cli_train.plan_steps_value",
            steps=f"{plan.num_steps:,}",
            rows=f"{plan.rows_per_step:,}",
            per_epoch=f"{plan.steps_per_epoch:,}",
        ),
    )
    packs = say(
        "cli_train.plan_packs_value",
        way=plan.way,
        packs=f"{numbers.num_packs / max(1, plan.sampled_steps):.1f}",
        tokens=f"{numbers.max_pack_tokens:,}",
        ratio=f"{numbers.sharing_ratio:.2f}",
    )
    yield say("cli_train.plan_packs"), f"{packs} ({say('cli_train.plan_sampled', steps=plan.sampled_steps)})"
    yield say("cli_train.plan_memory"), _memory(plan.memory)


def _memory(memory: Memory | None) -> str:
    if memory is None:
        return say("cli_train.plan_no_memory")
    return say(
        "cli_train.plan_memory_value",
        total=_size(memory.total),
        weights=_size(memory.weights),
        gradients=_size(memory.gradients),
        optimizer=_size(memory.optimizer),
        activations=_size(memory.activations),
    )


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 2**30:.1f} GiB" if size_bytes >= 2**28 else f"{size_bytes / 2**20:.1f} MiB"
