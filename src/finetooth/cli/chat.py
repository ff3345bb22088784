"""`finetooth chat`: talk to a model, and see why it answers as it does."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING

import click

from finetooth.cli.flags import TOKENIZER_FLAGS
from finetooth.cli.options import Invocation, argument, option, subcommand
from finetooth.cli.progress import Waiting
from finetooth.errors import ConfigError, DataError, MissingExtraError
from finetooth.messages import say
from finetooth.view.paint import paint, shorten_middle
from finetooth.view.visible import harmless

if TYPE_CHECKING:
    from finetooth.chatting.conversation import Conversation
    from finetooth.chatting.screen import Screen
    from finetooth.chatting.settings import Settings
    from finetooth.personas.sheet import Persona

_FAILED = 2


@subcommand("chat", flags=TOKENIZER_FLAGS)
@argument("model")
@option("--adapter", metavar="DIR", help_key="cli_chat.adapter")
@option("--persona", metavar="FILE", help_key="cli_chat.persona")
@option("--system", metavar="TEXT", help_key="cli_chat.system")
@option("--compare", metavar="MODEL", help_key="cli_chat.compare")
@option(
    "--temperature",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="T",
    help_key="cli_chat.temperature",
)
@option("--top-p", type=click.FloatRange(min=0, max=1, min_open=True), metavar="P", help_key="cli_chat.top_p")
@option("--seed", type=click.IntRange(min=0), metavar="N", help_key="cli_chat.seed")
@option(
    "--max-new-tokens",
    type=click.IntRange(min=1),
    default=512,
    metavar="N",
    help_key="cli_chat.max_new_tokens",
)
def command(
    invocation: Invocation,
    model: str,
    adapter: str | None,
    persona: str | None,
    system: str | None,
    compare: str | None,
    temperature: float,
    top_p: float | None,
    seed: int | None,
    max_new_tokens: int,
) -> int | None:
    """Talk to a model."""
    if system is not None and persona is not None:
        raise ConfigError(say("chatting.system_and_persona"), where="--system", help=say("chatting.persona_help"))
    from finetooth.chatting.settings import Settings

    settings = Settings(temperature=temperature, top_p=top_p, seed=seed, max_new_tokens=max_new_tokens)
    who = None
    if persona is not None:
        from finetooth.personas.reading import load_persona

        who = load_persona(persona)
    conversations = [_conversation(model, adapter, who, system, settings, invocation)]
    if compare is not None:
        conversations.append(_conversation(compare, None, who, system, settings, invocation))

    from finetooth.chatting.screen import Screen
    from finetooth.chatting.session import Session

    on_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    screen = Screen(color=invocation.color, is_terminal=sys.stdout.isatty())
    session = Session(conversations=conversations, screen=screen, is_interactive=sys.stdin.isatty())
    if on_terminal and not invocation.quiet:
        screen.welcome(conversations)
    session.run(_typed(screen) if on_terminal else _piped(screen))
    return _FAILED if session.num_errors and not on_terminal else None


def _conversation(
    model: str,
    adapter: str | None,
    persona: Persona | None,
    system: str | None,
    settings: Settings,
    invocation: Invocation,
) -> Conversation:
    width = shutil.get_terminal_size((80, 24)).columns
    name = shorten_middle(harmless(model), width=max(width - 30, 10))
    with Waiting(say("cli_chat.loading", model=name), quiet=invocation.quiet):
        if any(find_spec(name) is None for name in ("torch", "transformers")):
            raise MissingExtraError(say("cli_chat.no_torch"), help="pip install 'finetooth[train]'")
        from finetooth.chatting.conversation import Conversation
        from finetooth.chatting.speaker import load_speaker

        speaker = load_speaker(model, adapter=adapter, config=invocation.config)
        prompt = None
        if persona is not None:
            from finetooth.personas.prompt import PersonaPrompt

            prompt = PersonaPrompt(persona, speaker.tokenizer)
        return Conversation(speaker, system=system, persona=prompt, settings=settings)


def _typed(screen: Screen) -> Iterator[str]:
    """Yield lines from the keyboard, with history and editing; ctrl-c clears a line, and a second one ends."""
    from finetooth.chatting.session import MORE, PROMPT

    try:
        import readline

        readline.set_history_length(1000)
        marked = True
    except ImportError:
        marked = False
    was_interrupted = goes_on = False
    while True:
        prompt = MORE if goes_on else PROMPT
        if screen.color:
            painted = paint([(prompt.rstrip(), "info")], color=True) + " "
            # readline has to know which characters take no room.
            prompt = painted.replace("\x1b[", "\x01\x1b[").replace("m", "m\x02") if marked else painted
        try:
            line = input(prompt)
        except EOFError:
            sys.stdout.write("\n")
            return
        except KeyboardInterrupt:
            sys.stdout.write("\n")
            # Readline keeps the line that was interrupted: where it held something, it is that which is cleared.
            held = bool(readline.get_line_buffer()) if marked else False
            if was_interrupted and not held:
                return
            was_interrupted, goes_on = True, False
            screen.print([[(say("cli_chat.again"), "quiet")]])
            continue
        except UnicodeDecodeError:
            screen.complain([[(say("cli_chat.not_utf8"), "")]])
            continue
        was_interrupted, goes_on = False, line.endswith("\\")
        yield line


def _piped(screen: Screen) -> Iterator[str]:
    """Yield the lines of a pipe, each printed as it would have been typed.

    Raises:
        DataError: A line is not UTF-8.
    """
    from finetooth.chatting.flow import readable
    from finetooth.chatting.session import MORE, PROMPT

    goes_on = False
    for number, raw in enumerate(getattr(sys.stdin, "buffer", sys.stdin), 1):
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8") if isinstance(raw, bytes) else raw
        except UnicodeDecodeError as error:
            raise DataError(say("cli_chat.not_utf8"), where=f"stdin:{number}") from error
        line = line.rstrip("\r\n")
        screen.print([[(MORE if goes_on else PROMPT, "info"), (readable(line), "")]])
        goes_on = line.endswith("\\")
        yield line
