"""Print errors in their three lines, those of click included."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterable

import click

from finetooth.cli.color import paint
from finetooth.config import closest
from finetooth.errors import ConfigError, FinetoothError
from finetooth.messages import say
from finetooth.version import __version__

DEFECT = 70
"""EX_SOFTWARE of sysexits.h: an error of ours, told apart from those of the user."""


def show_error(error: FinetoothError, *, color: bool) -> int:
    """Print an error, or each of the several that it stands for, to stderr, and return its exit code."""
    singles: tuple[FinetoothError, ...] = getattr(error, "errors", (error,))
    click.echo("\n\n".join(error_text(single, color=color) for single in singles), err=True, color=color)
    return error.exit_code


def error_text(error: FinetoothError, *, color: bool) -> str:
    """Return `error: what`, ` --> where`, `help: remedy`, as far as the error has them."""
    lines = [paint("error:", "bold", "red", enabled=color) + f" {error.what}"]
    if error.where is not None:
        lines.append(paint(" -->", "bold", "blue", enabled=color) + f" {error.where}")
    if error.help is not None:
        lines.append(paint("help:", "bold", "cyan", enabled=color) + f" {error.help}")
    return "\n".join(lines)


def show_defect(error: Exception, *, verbose: bool, color: bool) -> int:
    """Say that finetooth itself failed, with the traceback where detail was asked for."""
    if verbose:
        traceback.print_exception(error)
    remedy = say("cli.report_defect" if verbose else "cli.report_with_v", version=__version__)
    what = say("cli.defect", kind=type(error).__name__, message=str(error).splitlines()[0] if str(error) else "")
    show_error(FinetoothError(what, help=remedy), color=color)
    sys.stderr.flush()
    return DEFECT


def usage_error(error: click.ClickException) -> FinetoothError:
    """Return the error of ours that says what click's says."""
    context = getattr(error, "ctx", None)
    where = context.command_path if context is not None else "finetooth"
    name = error.param.opts[-1] if isinstance(error, click.BadParameter) and error.param is not None else ""
    remedy = f"{where} --help"
    match error:
        case click.NoSuchOption():
            what = say("cli.no_such_option", option=error.option_name)
            if near := closest(error.option_name, _option_names(context)):
                remedy = say("cli.did_you_mean", name=near)
        case click.MissingParameter(param=click.Argument(name=str(argument))):
            what = say("cli.missing_argument", argument=argument.upper())
        case click.MissingParameter():
            what = say("cli.missing_option", option=name)
        case click.BadOptionUsage():
            none = "does not take" in error.message
            what = say("cli.option_takes_none" if none else "cli.option_needs_value", option=error.option_name)
        case click.BadParameter():
            what = say("cli.bad_parameter", option=name, message=_lower(error.message))
        case click.UsageError() if error.message.startswith("Got unexpected extra argument"):
            what = say("cli.extra_argument", argument=error.message.partition("(")[2].rstrip(")"))
        case _:
            what = _lower(error.format_message())
    return ConfigError(what, where=where, help=remedy)


def no_such_command(name: str, known: Iterable[str], *, group: str = "finetooth") -> FinetoothError:
    """Return the error of a command that does not exist, with the nearest one that does.

    Args:
        name: What was typed.
        known: The commands that there are.
        group: What stands before them.
    """
    near = closest(name, known)
    remedy = say("cli.did_you_mean", name=f"{group} {near}") if near else f"{group} --help"
    return ConfigError(say("cli.no_such_command", command=name), where=group, help=remedy)


def _option_names(context: click.Context | None) -> list[str]:
    if context is None:
        return []
    return [name for param in context.command.get_params(context) for name in (*param.opts, *param.secondary_opts)]


def _lower(sentence: str) -> str:
    """Return a sentence of click's in our form: lower case, no full stop."""
    sentence = sentence.strip().rstrip(".")
    return sentence[:1].lower() + sentence[1:]
