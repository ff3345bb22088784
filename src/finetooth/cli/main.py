"""The command `finetooth`: its list of commands, its errors and its exit codes."""

from __future__ import annotations

import atexit
import errno
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, NoReturn, cast

import click

from finetooth.cli.color import ColorChoice, use_color
from finetooth.cli.errors import no_such_command, show_defect, show_error, usage_error
from finetooth.cli.options import Command, Option, common_options, common_records, section
from finetooth.errors import FinetoothError
from finetooth.messages import LANGUAGES, say, set_language
from finetooth.version import __version__

COMMANDS: Mapping[str, tuple[str, str]] = {
    "inspect": ("finetooth.cli.inspect", "command"),
    "check": ("finetooth.cli.check", "command"),
    "fix": ("finetooth.cli.fix", "command"),
    "train": ("finetooth.cli.train", "command"),
    "probe": ("finetooth.cli.probe", "command"),
    "chat": ("finetooth.cli.chat", "command"),
    "persona": ("finetooth.cli.persona", "command"),
    "merge": ("finetooth.cli.merge", "command"),
    "compare": ("finetooth.cli.compare", "command"),
    "report": ("finetooth.cli.report", "command"),
    "rule": ("finetooth.cli.rule", "command"),
    "demo": ("finetooth.cli.demo", "command"),
    "config": ("finetooth.cli.config", "command"),
    "env": ("finetooth.cli.env", "command"),
    "completion": ("finetooth.cli.completion", "command"),
}
"""The commands in the order of the help page: module and attribute. A module is imported when it is named."""

INTERRUPTED = 130
"""128 and SIGINT: what a shell reports of a command stopped by ctrl-c."""
BROKEN_PIPE = 141
"""128 and SIGPIPE: what a shell reports of a command whose reader went away."""


class Root(click.Group, Command):
    """The group, which knows its commands by name and imports one when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command, or return nothing where there is none of this name."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name]
        return cast(click.Command, getattr(import_module(module), attribute))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the first argument names, and the arguments that are left for it."""
        if args[0] not in COMMANDS and not args[0].startswith("-") and not ctx.resilient_parsing:
            raise no_such_command(args[0], COMMANDS)
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the page of the group, from messages alone: no command's module is imported for it."""
        self.format_usage(ctx, formatter)
        formatter.write_text(say("cli.help"))
        section(formatter, say("cli.commands"), [(name, say(f"cli.short_{name}")) for name in COMMANDS])
        options = [param for param in self.get_params(ctx) if isinstance(param, Option)]
        version = [("--version", say("cli.option_version"))]
        section(formatter, say("cli.common"), common_records(options, ctx) + version)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        """Return the commands and options that begin so, without importing any command."""
        from click.shell_completion import CompletionItem

        names = [name for name in COMMANDS if name.startswith(incomplete)]
        # past click.Group, which would import every command for its help
        options = super(click.Group, self).shell_complete(ctx, incomplete)
        return [CompletionItem(name, help=say(f"cli.short_{name}")) for name in names] + options


def _print_version(context: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        click.echo(f"finetooth {__version__}")
        context.exit()


def root() -> Root:
    """Return the group."""
    version = click.Option(
        ["--version"], is_flag=True, expose_value=False, is_eager=True, callback=_print_version, hidden=True
    )
    return Root(
        "finetooth",
        params=[*common_options(), version],
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def run() -> int:
    """Run the command line of this process, and end it with the exit code."""
    code = main()
    # To take torch apart again takes a while, which nobody waits for. Where something was trained, a library may still
    # hold files open that it leaves to the interpreter to close.
    if "torch" in sys.modules and "transformers.trainer" not in sys.modules:
        atexit._run_exitfuncs()
        _end(code)
    return code


def _end(code: int) -> NoReturn:
    """End the process without the interpreter's last steps, but for writing what waits to be written."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 clean, 1 findings, 2 an error.

    Args:
        arguments: What stands after `finetooth`; `None` takes the process's own.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    _write_anything()
    # Help is built while arguments are parsed: the language has to be known before.
    lang = _scan(arguments, "--lang")
    set_language(lang if lang in LANGUAGES else None)
    color = use_color(cast(ColorChoice, _scan(arguments, "--color") or "auto"), sys.stderr)

    if "_FINETOOTH_COMPLETE" in os.environ:
        from click.shell_completion import shell_complete

        return shell_complete(root(), {}, "finetooth", "_FINETOOTH_COMPLETE", os.environ["_FINETOOTH_COMPLETE"])
    try:
        with root().make_context("finetooth", list(arguments)) as context:
            code = context.command.invoke(context)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return error.exit_code
    except click.ClickException as error:
        return show_error(usage_error(error), color=color)
    except FinetoothError as error:
        return show_error(error, color=color)
    except (KeyboardInterrupt, click.Abort):
        click.echo("\n" + say("cli.interrupted"), err=True)
        return INTERRUPTED
    except BrokenPipeError:
        # The interpreter flushes stdout once more on its way out, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG):
            return show_defect(error, verbose=bool({"-v", "--verbose"} & set(arguments)), color=color)
        # What could not be written would be tried again, and complained of, at the interpreter's end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return show_error(FinetoothError(say("cli.unwritable", reason=error.strerror)), color=color)
    except Exception as error:
        return show_defect(error, verbose=bool({"-v", "--verbose"} & set(arguments)), color=color)


def _write_anything() -> None:
    """Let the streams write what their encoding lacks as escapes, where Python would raise."""
    for stream in (sys.stdout, sys.stderr):
        if stream.encoding and stream.encoding.lower().replace("-", "") != "utf8" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _scan(arguments: Sequence[str], name: str) -> str | None:
    """Return the last value of an option, before anything is parsed."""
    value = None
    for index, argument in enumerate(arguments):
        if argument == "--":
            break
        if argument == name:
            value = arguments[index + 1] if index + 1 < len(arguments) else None
        elif argument.startswith(f"{name}="):
            value = argument.partition("=")[2]
    return value
