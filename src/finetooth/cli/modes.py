"""The ways of `finetooth merge`, told by its flags: what goes with another way is refused, and never passed over."""

from __future__ import annotations

from collections.abc import Mapping

import click

from finetooth.errors import ConfigError
from finetooth.messages import say

CONFIGURATION = ("method", "base", "weight", "density", "t", "parameter", "dtype", "out_dtype", "tokenizer_source")
"""What stands for a configuration; options are named as parameters here."""

_DTYPES = ("dtype", "out_dtype")
_WORK = ("resume", "threads", "device")
_RESULT = ("dry_run", "shard_gb", "no_test", "allow_pickle")
TAKEN: dict[str, tuple[str, ...]] = {
    "combine": ("combine", "majority_sign", "rank", "weight", "density", *_DTYPES),
    "extract": ("extract", "approximate", "rank", "base", "allow_pickle", *_DTYPES),
    "adapter": ("adapter", "adapter_scale", "tokenizer_source", *_DTYPES, *_WORK, *_RESULT),
    "sweep": ("sweep", "candidate", "data", "prompts", "max_new_tokens", "style", "asked_chars", "best_by",
              *CONFIGURATION, *_WORK),
}  # fmt: skip
"""What goes with each way."""

PLAIN = (*CONFIGURATION, *_WORK, *_RESULT)
"""What goes with a merge of models."""

ALWAYS = ("output", "seed", "force")
"""What goes with every way."""


def mode_of(given: Mapping[str, str]) -> str | None:
    """Return `combine`, `extract`, `adapter` or `sweep`, whichever is asked for; `None` for a merge of models.

    Args:
        given: The options that are given: the name of each one's parameter, and its flag.

    Raises:
        ConfigError: One does not go with it.
    """
    mode = next((name for name in TAKEN if name in given), "sweep" if "candidate" in given else None)
    taken = TAKEN[mode] if mode else PLAIN
    for name, flag in given.items():
        if name in (*taken, *ALWAYS):
            continue
        if mode:
            what = say("cli_merge.does_not_go", flag=flag, mode=f"--{mode}")
        else:
            home = next(home for home, names in TAKEN.items() if name in names)
            what = say("cli_merge.goes_with", flag=flag, mode=f"--{home}")
        raise ConfigError(what, where=flag, help=say("cli_merge.take_out", flag=flag))
    return mode


def given_options(context: click.Context) -> dict[str, str]:
    """Return the command's own options that stand on the command line: the name of each one's parameter, its flag."""
    return {
        param.name: param.opts[0] if len(param.opts[0]) > 2 else param.opts[-1]
        for param in context.command.params
        if param.name in context.params
        and isinstance(param, click.Option)
        and context.get_parameter_source(param.name) is click.core.ParameterSource.COMMANDLINE
    }
