"""What `finetooth merge` does with adapters: `--adapter` merges one into its base, `--combine`, `--extract`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from finetooth.cli.help import columns
from finetooth.cli.options import Invocation
from finetooth.errors import ConfigError
from finetooth.messages import say

if TYPE_CHECKING:
    from finetooth.merging.lora.extracting import Extraction


def adapted(models: Sequence[str], flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration that merges an adapter into its base.

    Raises:
        ConfigError: There is not one model.
    """
    scale = flags["adapter_scale"]
    model = f"{_only(models, '--adapter')}+{flags['adapter']}" + ("" if scale is None else f"*{scale!r}")
    config = {name: flags[name] for name in ("dtype", "out_dtype", "tokenizer_source") if flags[name] is not None}
    return {"merge_method": "passthrough", "models": [{"model": model}], **config}


def combine(
    invocation: Invocation, models: Sequence[str], output: str, flags: Mapping[str, Any], *, seed: int, force: bool
) -> None:
    """Combine adapters.

    Raises:
        FinetoothError: They cannot be combined so.
    """
    from finetooth.merging.lora.combining import combine_adapters

    if not flags["weight"]:
        raise ConfigError(say("cli_merge.no_weight"), where="--combine", help="--weight 0.5")
    if len(flags["density"]) > 1:
        raise ConfigError(say("cli_merge.one_density"), where="--density", help="--density 0.5")
    start = time.monotonic()
    directory = combine_adapters(
        models,
        output,
        way=flags["combine"],
        weights=flags["weight"],
        density=flags["density"][0] if flags["density"] else None,
        rank=flags["rank"],
        majority_sign=flags["majority_sign"] or "total",
        dtype=flags["out_dtype"] or flags["dtype"],
        seed=seed,
        force=force,
    )
    seconds = f"{time.monotonic() - start:.1f}"
    invocation.talk(say("cli_merge.combined", count=len(models), seconds=seconds, path=str(directory)))


def extract(
    invocation: Invocation,
    models: Sequence[str],
    output: str,
    flags: Mapping[str, Any],
    *,
    seed: int,
    force: bool,
    allow_pickle: bool,
    progress: Any,
) -> None:
    """Extract an adapter, and print what it keeps.

    Raises:
        FinetoothError: There is nothing to extract, or not so.
    """
    from finetooth.merging.lora.extracting import extract_adapter

    model = _only(models, "--extract")
    if flags["base"] is None:
        raise ConfigError(say("cli_merge.no_base"), where="--extract", help="--base ./base")
    start = time.monotonic()
    with progress:
        extraction = extract_adapter(
            model,
            output,
            base=flags["base"],
            rank=16 if flags["rank"] is None else flags["rank"],
            exact=not flags["approximate"],
            dtype=flags["out_dtype"] or flags["dtype"] or "float32",
            seed=seed,
            force=force,
            allow_pickle=allow_pickle,
            on_progress=progress.update,
        )
    for line in table(extraction):
        click.echo(line)
    seconds = f"{time.monotonic() - start:.1f}"
    invocation.talk(say("cli_merge.extracted", rank=extraction.rank, seconds=seconds, path=str(extraction.directory)))


def table(extraction: Extraction) -> Iterator[str]:
    """Yield the lines of a table of what each layer keeps, and of what is held whole or not at all."""
    rows = [(one.name, f"{one.share:.2%}", f"{one.error:.2e}") for one in extraction.layers]
    total = (say("cli_merge.total"), f"{extraction.total.share:.2%}", f"{extraction.total.error:.2e}")
    width = max(columns(row[0]) for row in (*rows, total))
    for name, share, error in (*rows, total):
        yield say("cli_merge.kept", name=name + " " * (width - columns(name)), share=f"{share:>7}", error=error)
    if extraction.saved:
        yield say("cli_merge.saved", count=len(extraction.saved), names=", ".join(extraction.saved))
    if extraction.left:
        yield say("cli_merge.left", count=len(extraction.left), names=", ".join(extraction.left))


def _only(models: Sequence[str], flag: str) -> str:
    if len(models) != 1:
        what = say("cli_merge.one_model", flag=flag, count=len(models))
        raise ConfigError(what, where=flag, help=say("cli_merge.one_model_help"))
    return models[0]
