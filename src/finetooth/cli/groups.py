"""A command that stands for several: `finetooth persona build`."""

from __future__ import annotations

from collections.abc import Sequence

import click

from finetooth.cli.errors import no_such_command
from finetooth.cli.options import Command, Option, common_options, common_records, section
from finetooth.messages import say


class Group(click.Group, Command):
    """Commands under one name, whose help is laid out as that of a command is.

    Args:
        name: The name; its messages are those of the area `cli_<name>`.
        commands: The commands by the word that calls them. Their own names, `<name>_<word>`, give their messages.
    """

    def __init__(self, name: str, commands: dict[str, click.Command]) -> None:
        super().__init__(
            name,
            commands=commands,
            params=[*common_options()],
            no_args_is_help=True,
            context_settings={"help_option_names": ["-h", "--help"]},
        )

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the words, in the order of the flow."""
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the first argument names, and the arguments that are left for it."""
        if args[0] not in self.commands and not args[0].startswith("-") and not ctx.resilient_parsing:
            raise no_such_command(args[0], self.commands, group=ctx.command_path)
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write usage, text, and the list of commands."""
        self.format_usage(ctx, formatter)
        formatter.write_text(say(f"cli_{self.name}.help"))
        rows: Sequence[tuple[str, str]] = [
            (word, command.get_short_help_str()) for word, command in self.commands.items()
        ]
        section(formatter, say("cli.commands"), rows)
        options = [param for param in self.get_params(ctx) if isinstance(param, Option)]
        section(formatter, say("cli.common"), common_records(options, ctx))
