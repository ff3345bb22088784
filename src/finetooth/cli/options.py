"""What a command module is written with: `subcommand`, `option`, `argument`, and the `Invocation` that it receives.

    from finetooth.cli.options import Invocation, argument, option, subcommand

    @subcommand("inspect", flags=("labels.way", "labels.max_length", "tokenizer.template"))
    @argument("data")
    @option("--format", "format_name", choices=("text", "json"), default="text", help_key="cli_inspect.format")
    @option("-o", "--output", metavar="FILE", help_key="cli_inspect.output")
    def command(invocation: Invocation, data: str, format_name: str, output: str | None) -> int | None:
        invocation.config.labels.way        # the resolved configuration
        invocation.origins["labels.way"]    # where the value came from: "--labels", "finetooth.yaml:7", "default"

- `flags` names the configuration keys that the command offers as flags (`--labels`, `--max-length`, `--template`).
  Flag, type, allowed values and help come from the key; the function receives them in `invocation.config` alone.
- Every command takes the common options as well: `--set`, `--config`, `--lang`, `--color`, `-q`, `-v`, `-h`.
- `help_key` is the message of an option. The command's own text is `cli_<name>.help`, its arguments' are
  `cli_<name>.<argument>`, and the line in `finetooth --help` is `cli.short_<name>`. All of them are looked up when
  help is shown, so that they follow the language. Blank lines part paragraphs; a paragraph that is indented stands as
  it is written (for examples).
- The function returns the exit code (`None` is 0: clean; 1: findings) and raises `FinetoothError` for exit code 2.
- `finetooth.cli.main.COMMANDS` needs a line for the command.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any

import click

from finetooth.cli.color import use_color
from finetooth.cli.help import HelpFormatter
from finetooth.config import Config, Flag, OutputConfig, Recipe, Resolved, closest, find_file, key_of, load_config
from finetooth.errors import ConfigError
from finetooth.messages import say, set_language

FLAGS = {
    "labels.way": "--labels",
    "labels.response_template_ids": "--response-template-ids",
    "tokenizer.revision": "--model-revision",
}
"""The flags that are not simply the last word of their key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """What the user asked for beside a command's own options."""

    resolved: Resolved
    quiet: bool
    """Whether only data and errors are wanted."""
    verbose: bool
    """Whether detail is wanted."""
    color: bool
    """Whether what goes to stdout is coloured."""
    load: Callable[[Path], list[Recipe]] | None = None
    """Reads a recipe, for commands that have some; flags and `--set` overrule it."""

    def recipes(self, path: Path) -> list[Recipe]:
        """Return the recipes of a file."""
        assert self.load is not None, "the command is not declared to have recipes"
        return self.load(path)

    @property
    def config(self) -> Config:
        """The resolved configuration."""
        return self.resolved.config

    def origin(self, key: str) -> str:
        """Return where the value of a dotted key came from."""
        return self.resolved.origins[key]

    def talk(self, sentence: str) -> None:
        """Write a sentence to stderr, unless the user asked for quiet. Data goes to stdout, by the command."""
        if not self.quiet:
            click.echo(sentence, err=True)


@dataclass(slots=True)
class _Given:
    """The common options and configuration flags as they were met, on either side of the command's name."""

    flags: dict[str, Flag] = field(default_factory=dict)
    sets: list[str] = field(default_factory=list)
    file: Path | None = None
    quiet: bool = False
    verbose: bool = False


def _given(context: click.Context) -> _Given:
    given: _Given = context.meta.setdefault(__name__, _Given())  # meta is shared by the contexts of group and command
    return given


class OneOf(click.Choice[str]):
    """A choice of words whose refusal names the nearest word."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the value, where it is one of the words."""
        if value in self.choices:
            return str(value)
        near = closest(str(value), self.choices)
        allowed = " | ".join(self.choices)
        raise ConfigError(
            say("cli.bad_choice", value=value, option=param.opts[-1] if param else ""),
            where=ctx.command_path if ctx else None,
            help=say("cli.did_you_mean", name=near) if near else say("cli.one_of", allowed=allowed),
        )


class Option(click.Option):
    """An option whose help is a message or a configuration key's documentation."""

    def __init__(
        self, *args: Any, help_key: str | None = None, config_key: str | None = None, common: bool = False, **attrs: Any
    ) -> None:
        super().__init__(*args, **attrs)
        self.help_key = help_key
        self.config_key = config_key
        self.common = common

    @property
    def sentence(self) -> str:
        """The help text, in the language in force."""
        if self.help_key is not None:
            return say(self.help_key)
        return key_of(self.config_key).documentation if self.config_key is not None else self.help or ""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return the option's names and its sentence, or nothing where it is hidden."""
        record = super().get_help_record(ctx)
        if record is None:
            return None
        default = self.default
        # click stands an object of its own for "no default"; what is worth showing is text or a number.
        if isinstance(default, str | int | float) and not isinstance(default, bool):
            return record[0], f"{self.sentence} [{say('cli.default', value=default)}]"
        return record[0], self.sentence


class Argument(click.Argument):
    """An argument with a message."""

    def __init__(self, *args: Any, help_key: str | None = None, **attrs: Any) -> None:
        super().__init__(*args, **attrs)
        self.help_key = help_key


class _Context(click.Context):
    formatter_class = HelpFormatter


class Command(click.Command):
    """A command whose help is laid out by us, in the language in force."""

    context_class = _Context

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse, and see to it that an error knows which command it is about."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx
            raise

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write usage, text, arguments, the command's own options, configuration flags, and the common options."""
        self.format_usage(ctx, formatter)
        formatter.write_text(say(f"cli_{self.name}.help"))
        params = self.get_params(ctx)
        arguments = [
            (param.make_metavar(ctx), say(param.help_key or f"cli_{self.name}.{param.name}"))
            for param in params
            if isinstance(param, Argument)
        ]
        section(formatter, say("cli.arguments"), arguments)
        options = [param for param in params if isinstance(param, Option)]
        own = [option for option in options if not option.common and option.config_key is None]
        section(formatter, say("cli.options"), records(own, ctx))
        flags = [option for option in options if not option.common and option.config_key is not None]
        section(formatter, say("cli.configuration"), records(flags, ctx))
        section(formatter, say("cli.common"), common_records(options, ctx))

    def get_short_help_str(self, limit: int = 45) -> str:
        """Return the line that lists of commands show."""
        return say(f"cli.short_{self.name}")


def section(formatter: click.HelpFormatter, title: str, rows: Sequence[tuple[str, str]]) -> None:
    """Write a titled list, unless it is empty."""
    if rows:
        with formatter.section(title):
            formatter.write_dl(rows)


def records(options: Sequence[Option], ctx: click.Context) -> list[tuple[str, str]]:
    """Return the help rows of the options that are not hidden."""
    return [record for option in options if (record := option.get_help_record(ctx)) is not None]


def common_records(options: Sequence[Option], ctx: click.Context) -> list[tuple[str, str]]:
    """Return the help rows of the common options; click makes the last of them, `--help`, itself."""
    return [*records([option for option in options if option.common], ctx), ("-h, --help", say("cli.help_option"))]


def option(*names: str, choices: Sequence[str] | None = None, **attrs: Any) -> Callable[[Any], Any]:
    """Return click's option decorator, with `help_key` for its message and `choices` for words to choose from."""
    if choices is not None:
        attrs["type"] = OneOf(choices)
    return click.option(*names, cls=Option, **attrs)


def argument(name: str, **attrs: Any) -> Callable[[Any], Any]:
    """Return click's argument decorator, with `help_key` for its message (`cli_<command>.<name>` unless given)."""
    return click.argument(name, cls=Argument, **attrs)


def subcommand(
    name: str, *, flags: Sequence[str] = (), reads_config: bool = True, has_recipes: bool = False
) -> Callable[[Callable[..., int | None]], Command]:
    """Turn a function of an `Invocation` and its own parameters into a command.

    Args:
        name: The command's name; its messages are those of the area `cli_<name>`.
        flags: Dotted configuration keys that the command offers as flags of its own.
        reads_config: False for commands that have to work where the configuration is broken; they get the defaults.
        has_recipes: Whether the command reads recipes, by `Invocation.recipes`.
    """

    def decorate(function: Callable[..., int | None]) -> Command:
        @click.pass_context
        @wraps(function)
        def callback(context: click.Context, /, **params: Any) -> int | None:
            return function(_invocation(context, reads_config, has_recipes), **params)

        own: list[click.Parameter] = list(reversed(getattr(function, "__click_params__", [])))
        shared = [*map(config_flag, flags), *common_options()]
        return Command(
            name, callback=callback, params=[*own, *shared], context_settings={"help_option_names": ["-h", "--help"]}
        )

    return decorate


def config_flag(name: str, *, common: bool = False, help_key: str | None = None) -> Option:
    """Return the flag that sets a configuration key; its help is the key's documentation unless `help_key` is given."""
    key = key_of(name)
    flag = FLAGS.get(name, "--" + name.rpartition(".")[2].replace("_", "-"))
    attrs: dict[str, Any] = {"metavar": key.allowed.removesuffix(" | null").replace(" ", "")}
    if key.allowed.startswith("true | false"):
        flag, attrs = f"{flag}/--no-{flag.removeprefix('--')}", {"default": None}
    elif key.choices and key.is_closed:
        attrs = {"type": OneOf(key.choices)}

    def keep(context: click.Context, param: click.Parameter, value: Any) -> None:
        if context.get_parameter_source(param.name or "") is click.core.ParameterSource.COMMANDLINE:
            _given(context).flags[name] = Flag(param.opts[0], value)

    return Option([flag], config_key=name, help_key=help_key, common=common, expose_value=False, callback=keep, **attrs)


def common_options() -> list[Option]:
    """Return the options that stand before a command's name as well as after it."""

    def keep(context: click.Context, param: click.Parameter, value: Any) -> None:
        given = _given(context)
        if param.name == "sets":
            given.sets += value
        elif value:
            setattr(given, param.name or "", Path(value) if param.name == "file" else value)

    def common(*names: str, **attrs: Any) -> Option:
        return Option(names, common=True, expose_value=False, callback=keep, **attrs)

    def complete(context: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
        from finetooth.config import keys

        return [f"{name}=" for name in keys() if name.startswith(incomplete)]

    return [
        common("--set", "sets", multiple=True, metavar="KEY=VALUE", help_key="cli.option_set", shell_complete=complete),
        common("--config", "file", metavar="FILE", type=click.Path(), help_key="cli.option_config"),
        config_flag("output.lang", common=True, help_key="cli.option_lang"),
        config_flag("output.color", common=True, help_key="cli.option_color"),
        common("-q", "--quiet", is_flag=True, help_key="cli.option_quiet"),
        common("-v", "--verbose", is_flag=True, help_key="cli.option_verbose"),
    ]


def _invocation(context: click.Context, reads_config: bool, has_recipes: bool) -> Invocation:
    given = _given(context)
    if reads_config:
        resolved = load_config(given.flags, given.sets, given.file)
    else:
        output = {key.removeprefix("output."): flag.value for key, flag in given.flags.items() if "output." in key}
        config = Config(output=OutputConfig(**output))
        resolved = Resolved(config=config, origins={}, file=given.file or find_file(Path.cwd()))
    if resolved.config.output.lang is not None:
        set_language(resolved.config.output.lang)
    # click.echo asks the context, and would strip colour from anything but a terminal.
    context.color = use_color(resolved.config.output.color, sys.stdout)

    def load(path: Path) -> list[Recipe]:
        from finetooth.config import load_recipes

        return load_recipes(path, given.flags, given.sets, given.file)

    return Invocation(
        resolved=resolved,
        quiet=given.quiet,
        verbose=given.verbose,
        color=context.color,
        load=load if has_recipes else None,
    )
