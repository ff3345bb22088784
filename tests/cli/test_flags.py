"""The options of every command are frozen in flags.txt: scripts of users depend on them.

After a change that is meant, write the file anew: `python -m tests.cli.test_flags`.
"""

from __future__ import annotations

from pathlib import Path

import click

from finetooth.cli.main import COMMANDS, root

FLAGS = Path(__file__).with_name("flags.txt")


def flags() -> str:
    """Return a line for every option and argument of every command."""
    group = root()
    context = click.Context(group)
    commands = [("finetooth", group)] + [(name, group.get_command(context, name)) for name in COMMANDS]
    for name, command in list(commands):
        if isinstance(command, click.Group) and name != "finetooth":
            commands += [(f"{name} {word}", one) for word, one in command.commands.items()]
    lines = []
    for name, command in commands:
        assert command is not None
        for param in command.params:
            names = " ".join([*param.opts, *param.secondary_opts])
            what = names if isinstance(param, click.Option) else f"<{names}>"
            words = f" {'|'.join(param.type.choices)}" if isinstance(param.type, click.Choice) else ""
            many = " ..." if param.multiple or param.nargs == -1 else ""
            lines.append(f"{name}: {what}{words}{many}\n")
    return "".join(lines)


def test_flags_are_frozen() -> None:
    assert flags() == FLAGS.read_text(encoding="utf-8"), "if this is meant: python -m tests.cli.test_flags"


if __name__ == "__main__":
    FLAGS.write_text(flags(), encoding="utf-8")
