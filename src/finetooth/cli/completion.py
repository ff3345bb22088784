"""`finetooth completion`: the script that lets a shell complete commands, options and configuration keys."""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

from finetooth.cli.options import Invocation, OneOf, argument, subcommand
from finetooth.messages import say

SHELLS: dict[str, tuple[type[ShellComplete], str]] = {
    "bash": (BashComplete, """echo 'eval "$(finetooth completion bash)"' >> ~/.bashrc"""),
    "zsh": (ZshComplete, """echo 'eval "$(finetooth completion zsh)"' >> ~/.zshrc"""),
    "fish": (FishComplete, "finetooth completion fish > ~/.config/fish/completions/finetooth.fish"),
}
"""The shells, with click's script and the command that installs it."""


@subcommand("completion", reads_config=False)
@argument("shell", type=OneOf(tuple(SHELLS)))
def command(invocation: Invocation, shell: str) -> None:
    """Write the script, and at its end how it is installed."""
    script_of, install = SHELLS[shell]
    # By source_template, not source(): the latter starts bash to ask for its version.
    script = script_of(click.Command("finetooth"), {}, "finetooth", "_FINETOOTH_COMPLETE")
    click.echo((script.source_template % script.source_vars()).strip())
    # The last lines, for zsh wants its own `#compdef` in the first.
    click.echo(f"\n# {say('cli_completion.install')}\n#   {install}")
