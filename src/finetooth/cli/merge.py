"""`finetooth merge`: models merged as a configuration says, or in the simple cases as flags do."""

from __future__ import annotations

import gc
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from finetooth.cli import adapters, sweeps
from finetooth.cli.flags import SETUP_FLAGS
from finetooth.cli.modes import CONFIGURATION, given_options, mode_of
from finetooth.cli.options import Invocation, argument, option, subcommand
from finetooth.config.yamlnodes import read_documents
from finetooth.errors import ConfigError
from finetooth.merging.references import ModelReference, model_directory
from finetooth.merging.sweeping.axes import points_of
from finetooth.merging.sweeping.lines import BEST_BY
from finetooth.messages import say

if TYPE_CHECKING:
    from finetooth.checking import Report
    from finetooth.merging.trial import Trial
    from finetooth.merging.working import Pace

_YAML = (".yaml", ".yml")
_UNIT = 1e9


@subcommand("merge", flags=SETUP_FLAGS)
@argument("models", nargs=-1, required=True)
@option("-o", "--output", metavar="DIR", required=True, help_key="cli_merge.output")
@option("--method", metavar="NAME", help_key="cli_merge.method")
@option("--base", metavar="MODEL", help_key="cli_merge.base")
@option("--weight", type=float, multiple=True, metavar="NUMBER", help_key="cli_merge.weight")
@option("--density", type=float, multiple=True, metavar="NUMBER", help_key="cli_merge.density")
@option("--t", type=float, metavar="NUMBER", help_key="cli_merge.t")
@option("--parameter", multiple=True, metavar="NAME=VALUE", help_key="cli_merge.parameter")
@option("--dtype", choices=("float32", "float16", "bfloat16"), help_key="cli_merge.dtype")
@option("--out-dtype", choices=("float32", "float16", "bfloat16"), help_key="cli_merge.out_dtype")
@option("--tokenizer-source", metavar="NAME", help_key="cli_merge.tokenizer_source")
@option("--adapter", metavar="DIR", help_key="cli_merge.adapter")
@option("--adapter-scale", type=float, metavar="NUMBER", help_key="cli_merge.adapter_scale")
@option("--combine", metavar="NAME", help_key="cli_merge.combine")
@option("--majority-sign", choices=("total", "frequency"), help_key="cli_merge.majority_sign")
@option("--extract", is_flag=True, help_key="cli_merge.extract")
@option("--rank", type=int, metavar="NUMBER", help_key="cli_merge.rank")
@option("--approximate", is_flag=True, help_key="cli_merge.approximate")
@option("--seed", type=int, default=0, metavar="NUMBER", help_key="cli_merge.seed")
@option("--shard-gb", type=click.FloatRange(min=0, min_open=True), default=5.0, help_key="cli_merge.shard_gb")
@option("--threads", type=click.IntRange(min=0), default=0, metavar="N", help_key="cli_merge.threads")
@option("--sweep", multiple=True, metavar="NAME=VALUES", help_key="cli_merge.sweep")
@option("--candidate", multiple=True, metavar="NAME=VALUE,...", help_key="cli_merge.candidate")
@option("--data", multiple=True, metavar="DATA", help_key="cli_merge.data")
@option("--prompts", type=click.IntRange(min=1), default=30, metavar="N", help_key="cli_merge.prompts")
@option("--max-new-tokens", type=click.IntRange(min=1), metavar="N", help_key="cli_merge.max_new_tokens")
@option("--style", multiple=True, metavar="REGEX", help_key="cli_merge.style")
@option("--asked-chars", type=click.IntRange(min=1), metavar="N", help_key="cli_merge.asked_chars")
@option("--best", "best_by", choices=BEST_BY, metavar="HOW", default="endings", help_key="cli_merge.best")
@option("--device", choices=("cpu", "cuda"), default="cpu", help_key="cli_merge.device")
@option("--dry-run", is_flag=True, help_key="cli_merge.dry_run")
@option("--resume", is_flag=True, help_key="cli_merge.resume")
@option("--force", is_flag=True, help_key="cli_merge.force")
@option("--allow-pickle", is_flag=True, help_key="cli_merge.allow_pickle")
@option("--no-test", is_flag=True, help_key="cli_merge.no_test")
def command(
    invocation: Invocation,
    models: tuple[str, ...],
    output: str,
    seed: int,
    shard_gb: float,
    threads: int,
    device: str,
    dry_run: bool,
    resume: bool,
    force: bool,
    allow_pickle: bool,
    sweep: tuple[str, ...],
    candidate: tuple[str, ...],
    data: tuple[str, ...],
    prompts: int,
    max_new_tokens: int | None,
    style: tuple[str, ...],
    asked_chars: int | None,
    best_by: str,
    no_test: bool,
    **flags: Any,
) -> int | None:
    """Merge models."""
    given = given_options(click.get_current_context())
    mode = mode_of(given)
    if mode == "combine":
        adapters.combine(invocation, models, output, flags, seed=seed, force=force)
        return None
    if mode == "extract":
        progress = _Progress(quiet=invocation.quiet)
        adapters.extract(
            invocation, models, output, flags, seed=seed, force=force, allow_pickle=allow_pickle, progress=progress
        )
        return None
    is_file = len(models) == 1 and models[0].endswith(_YAML)
    if is_file:
        beside = next((flag for name, flag in given.items() if name in (*CONFIGURATION, "adapter")), None)
        if beside is not None:
            raise ConfigError(
                say("cli_merge.flag_and_file", flag=beside), where=models[0], help=say("cli_merge.either")
            )
    _look(models, flags.get("base"), is_file=is_file)
    config: Any
    if mode == "adapter":
        config = adapters.adapted(models, flags)
    else:
        config = models[0] if is_file else configuration(models, **{name: flags[name] for name in CONFIGURATION})
    with _uncollected():
        from finetooth.merging.merge import merge
        from finetooth.merging.working import Pace, refuse_device

    refuse_device(device)
    if mode == "sweep":
        sweeps.sweep(
            invocation,
            config,
            output,
            points_of(sweep, candidate),
            data=data,
            num_prompts=prompts,
            max_new_tokens=max_new_tokens,
            style=style,
            asked_chars=asked_chars,
            best_by=best_by,
            seed=seed,
            force=force,
            resume=resume,
            pace=Pace(threads=threads, device=device),
        )
        return None
    shard_bytes = max(int(shard_gb * _UNIT), 1)
    if dry_run:
        for line in _plan(config, shard_bytes, Pace(threads=threads, device=device), allow_pickle=allow_pickle):
            click.echo(line)
        return None
    trials: list[Trial] = []
    start = time.monotonic()
    progress = _Progress(quiet=invocation.quiet)

    def merged(try_out: Callable[[], Trial]) -> None:
        seconds = time.monotonic() - start
        progress.clear()
        invocation.talk(say("cli_merge.done", path=output, seconds=f"{seconds:.1f}"))
        if not no_test:
            trials.append(try_out())

    with progress:
        merge(
            config,
            output,
            seed=seed,
            force=force,
            resume=resume,
            allow_pickle=allow_pickle,
            pace=Pace(threads=threads, device=device),
            shard_bytes=shard_bytes,
            on_progress=progress.update,
            on_report=lambda report: _tell(invocation, report, force=force),
            on_merged=merged,
            on_note=invocation.talk,
        )
    return _told(invocation, trials)


def _look(models: Sequence[str], base: str | None, *, is_file: bool) -> None:
    """Tell of what is not there before torch is imported, which takes seconds.

    Raises:
        FinetoothError: A file cannot be read, or a model is not there.
    """
    if is_file:
        read_documents(Path(models[0]))
        return
    for model in (*models, *([base] if base else [])):
        reference = ModelReference.parse(model)
        model_directory(reference.path, reference.revision)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Import something large, whose objects stay: to search among them for garbage, then and later, takes a while.

    How long, `benchmarks/bench_merging_start.py` tells.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


def _tell(invocation: Invocation, report: Report, *, force: bool) -> None:
    """Show what the check found, before the merge begins; nothing where it found nothing."""
    if invocation.quiet or not report.findings:
        return  # of errors the refusal tells
    from finetooth.formats import text

    width = shutil.get_terminal_size((100, 24)).columns
    fail_on = "never" if force else "error"
    for piece in text.render(report, width=width, color=invocation.color and sys.stderr.isatty(), fail_on=fail_on):
        sys.stderr.write(piece)


def _told(invocation: Invocation, trials: Sequence[Trial]) -> int:
    """Tell how the merged model fared; returns the exit code."""
    for trial in trials:
        for sentence in trial.sentences():
            invocation.talk(f"  {sentence}")
        for fault in trial.faults:
            click.echo(f"{say('formats.severity_error')}: {fault}", err=True)
    return int(any(trial.faults for trial in trials))


def configuration(
    models: Sequence[str],
    *,
    method: str | None,
    base: str | None,
    weight: Sequence[float],
    density: Sequence[float],
    t: float | None,
    parameter: Sequence[str],
    dtype: str | None,
    out_dtype: str | None,
    tokenizer_source: str | None,
) -> dict[str, Any]:
    """Return the configuration that flags stand for.

    Raises:
        ConfigError: They do not make one.
    """
    if method is None:
        only_file = len(models) == 1
        help_ = say("cli_merge.needs_file") if only_file else "--method linear"
        raise ConfigError(say("cli_merge.no_method"), where=models[0], help=help_)
    others = [model for model in models if model != base]
    if method in ("slerp", "nearswap") and base is None and len(models) == 2:
        base, others = models[0], [models[1]]
    entries: list[dict[str, Any]] = [{"model": model} for model in others]
    for name, values in (("weight", weight), ("density", density)):
        if not values:
            continue
        if len(values) not in (1, len(others)):
            what = say("cli_merge.how_many", flag=f"--{name}", count=len(values), models=len(others))
            raise ConfigError(what, where=f"--{name}", help=say("cli_merge.how_many_help", flag=f"--{name}"))
        spread = list(values) * len(others) if len(values) == 1 else values
        for entry, value in zip(entries, spread, strict=True):
            entry.setdefault("parameters", {})[name] = value
    shared: dict[str, Any] = {} if t is None else {"t": t}
    for text in parameter:
        key, equals, number = text.partition("=")
        if not equals:
            what = say("cli_merge.bad_parameter", text=text)
            raise ConfigError(what, where="--parameter", help="--parameter lambda=0.5")
        import yaml

        shared[key.strip()] = yaml.safe_load(number)
    config: dict[str, Any] = {"merge_method": method, "base_model": base, "models": entries, "parameters": shared}
    config |= {"dtype": dtype, "out_dtype": out_dtype, "tokenizer_source": tokenizer_source}
    return {name: value for name, value in config.items() if value not in (None, {})}


def _plan(config: Any, shard_bytes: int, pace: Pace, *, allow_pickle: bool) -> Iterator[str]:
    """Yield the lines of a plan: what would be read, written and held in memory."""
    import tempfile
    from contextlib import ExitStack

    from finetooth.merging.merge import prepare, read_config

    merges, _ = read_config(config)
    with ExitStack() as stack:
        pickles = Path(stack.enter_context(tempfile.TemporaryDirectory())) if allow_pickle else None
        for one in merges:
            if any(reference.path in {other.name for other in merges} for reference in one.references):
                yield say("cli_merge.later_stage", name=one.name or "-", method=one.method.name)
                continue
            prepared = prepare(one, {}, pickles=pickles, shard_bytes=shard_bytes)
            plan = prepared.plan
            yield say(
                "cli_merge.plan",
                method=one.method.name,
                models=len(prepared.models),
                tensors=len(plan.jobs),
                read=f"{plan.read_bytes / _UNIT:.3f}",
                written=f"{plan.size_bytes / _UNIT:.3f}",
                files=len(prepared.layout.headers),
                dtype=", ".join(sorted({str(job.dtype).removeprefix("torch.") for job in plan.jobs})),
            )
            for reference in prepared.models:
                yield f"  {reference}"
            widest = max((len(job.models) + 3 for job in plan.jobs), default=0)
            size = pace.num_threads * widest * pace.chunk_size * 4
            yield say("cli_merge.buffers", count=pace.num_threads, megabytes=f"{size / 1e6:.1f}")


class _Progress:
    """Counts bytes on stderr; nothing where that is no terminal, or where quiet was asked for."""

    def __init__(self, *, quiet: bool) -> None:
        self.shown = sys.stderr.isatty() and not quiet
        self.start = self.last = time.monotonic()
        self.first: int | None = None

    def __enter__(self) -> _Progress:
        return self

    def update(self, done: int, total: int) -> None:
        """Say how much is written."""
        now = time.monotonic()
        if self.first is None:
            self.first, self.start = done, now  # what a resumed merge finds done was not done now
        if self.shown and now - self.last > 0.2:
            self.last = now
            rate = (done - self.first) / max(now - self.start, 1e-9)
            line = say(
                "cli_merge.progress",
                share=f"{done / max(total, 1):.0%}",
                done=f"{done / _UNIT:.2f}",
                total=f"{total / _UNIT:.2f}",
                rate=f"{rate / 1e6:,.0f}",
            )
            sys.stderr.write("\r\x1b[K" + line)
            sys.stderr.flush()

    def __exit__(self, *exception: object) -> None:
        self.clear()

    def clear(self) -> None:
        """Take the line away."""
        if self.shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
