"""Why an answer ended as it did: what generation saw, what was learned, and where to look."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetooth.chatting.speaker import Speaker
from finetooth.chatting.turn import Fault, Turn
from finetooth.messages import say
from finetooth.runs import FINDINGS, RECIPE, Run

NEVER = 0.05
"""The probability below which a stop was never near. Of the three toys of the demo, at 60 prompts each, the one that
learned to stop gives it 0.996 or more at the end of an answer and at most 0.006 inside, and those that did not at most
0.0008 anywhere."""

_RULES: Mapping[Fault, tuple[str, ...]] = {
    "leaked": ("LAB001", "TOK009"),
    "passed-over": ("RUN001",),
    "repeats": ("LAB001", "LAB002", "LAB003"),
    "runs-on": ("LAB001", "LAB002", "LAB003"),
}
"""The rules that find the causes of a fault in labels and files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What is to be said of a fault."""

    cause: str
    """One sentence."""
    found: tuple[str, ...] = ()
    """What the check of the run's own data had found, where the model is that of a run."""
    command: str | None = None
    """What finds it, to be pasted."""


def ended(turn: Turn) -> str:
    """Return why generation ended, as a sentence."""
    speaker = turn.prompt.speaker
    count = f"{len(turn.ids):,}"
    ids = ", ".join(map(str, sorted(speaker.stop_ids)))
    if turn.end == "stop":
        last = turn.ids[-1]
        return say("chatting.ended_stop", token=shown_token(turn, last), id=last, file=turn.stop_file)
    if turn.end == "limit":
        return (
            say("chatting.ended_limit", count=count, ids=ids)
            if ids
            else say("chatting.ended_limit_no_ids", count=count)
        )
    if turn.end == "context":
        return say("chatting.ended_context", count=count, context=f"{speaker.context or 0:,}")
    return say("chatting.ended_interrupted", count=count)


def shown_token(turn: Turn, token_id: int) -> str:
    """Return a token as it is shown in answers: `⟨</s>⟩` where it is special."""
    tokenizer = turn.prompt.speaker.tokenizer
    piece = tokenizer.piece(token_id)
    return f"⟨{piece}⟩" if tokenizer.is_special(token_id) else piece


def diagnose(turn: Turn) -> Diagnosis | None:
    """Return the likely cause of what is wrong with an answer's end; `None` where nothing is."""
    if turn.fault is None:
        return None
    speaker, answer = turn.prompt.speaker, turn.answer
    rules = _RULES[turn.fault]
    if turn.fault == "leaked":
        literal = str(answer.leaked)
        ids = leaked_ids(turn, literal)
        known = {token.content for token in speaker.tokenizer.added_tokens.values()}
        rules = ("LAB001",) if literal in known else ("TOK009",)
        key = "chatting.leaked_token" if literal in known else "chatting.leaked_text"
        cause = say(key, literal=literal, ids=" ".join(map(str, ids)))
    elif turn.fault == "passed-over":
        literal = str(answer.passed_over)
        stops = ", ".join(map(str, sorted(speaker.stop_ids))) or say("chatting.nothing")
        number = speaker.tokenizer.backend.token_to_id(literal)
        cause = say("chatting.passed_over", literal=literal, id=number, ids=stops)
    else:
        return _ran_on(turn, rules)
    return Diagnosis(cause=cause, found=tuple(_found(speaker.name, rules)), command=_command(speaker, rules))


def _ran_on(turn: Turn, rules: Sequence[str]) -> Diagnosis:
    """Return what is known of a stop that did not come.

    A low probability alone tells nothing: it is low inside of sound answers too. That an answer repeats itself, or that
    the run's own check had found the fault, tells that the end was not learned.
    """
    from finetooth.chatting.answering import stop_probabilities

    speaker = turn.prompt.speaker
    chances = stop_probabilities(speaker.model, turn.prompt.ids, turn.ids, speaker.stop_ids)
    place = max(range(len(chances)), key=chances.__getitem__)
    best = chances[place]
    if best >= NEVER:
        return Diagnosis(
            cause=say("chatting.stop_was_near", percent=f"{best:.0%}", place=place, limit=f"{turn.max_tokens:,}")
        )
    percent = f"{max(best, 0.001):.1%}"
    found = tuple(_found(speaker.name, rules))
    if found or turn.fault == "repeats":
        cause = say("chatting.never_stops", percent=percent)
    else:
        cause = say("chatting.cut_or_never_stops", percent=percent, limit=f"{turn.max_tokens:,}")
    return Diagnosis(cause=cause, found=found, command=_command(speaker, rules))


def leaked_ids(turn: Turn, literal: str) -> Sequence[int]:
    """Return the ids that spell the first literal terminator of an answer."""
    tokenizer = turn.prompt.speaker.tokenizer
    plain = [one for one in turn.ids if not tokenizer.is_special(one)]
    decode = tokenizer.backend.decode
    low, high = 1, len(plain)
    while low < high:
        middle = (low + high) // 2
        if literal in decode(plain[:middle]):
            high = middle
        else:
            low = middle + 1
    start = low
    while start > 0 and literal not in decode(plain[start:low]):
        start -= 1
    return plain[start:low]


def _found(name: str, rules: Sequence[str]) -> Iterator[str]:
    """Yield what the check before training had found of these rules."""
    if not Path(name).is_dir():
        return
    try:
        report: Any = Run(Path(name)).read_json(FINDINGS)
    except (OSError, ValueError):
        return
    for finding in (report or {}).get("findings", []) if isinstance(report, dict) else []:
        if isinstance(finding, dict) and finding.get("code") in rules:
            cause = finding.get("cause")
            code, count = str(finding["code"]), finding.get("count")
            under = f" ({cause['code']})" if isinstance(cause, dict) and cause.get("code") else ""
            yield say(
                "chatting.found_before",
                code=f"{code} {finding.get('name', '')}{under}",
                count=count,
                total=report.get("num_records"),
                file=Path(name) / FINDINGS,
            )


def _command(speaker: Speaker, rules: Sequence[str]) -> str:
    """Return the check that finds the cause, with the data and labels of the run where the model is that of one."""
    recipe = _recipe(speaker.name)
    trained = _section(recipe, "data").get("train")
    data = [str(one) for one in trained] if isinstance(trained, list) and trained else ["DATA"]
    words = [*data, "--model", speaker.tokenizer.name]
    if speaker.template_option is not None:
        words += ["--template", speaker.template_option]
    labels = _section(recipe, "labels")
    if labels.get("way") != "finetooth":
        for key, flag in _LABELS.items():
            if isinstance(value := labels.get(key), str):
                words += [flag, value]
    return shlex.join(["finetooth", "check", *words, "--select", ",".join(rules)])


_LABELS = {
    "way": "--labels",
    "response_template": "--response-template",
    "instruction_template": "--instruction-template",
}
"""The settings of a recipe without which the labels of other software would not be made again."""


def _section(recipe: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = recipe.get(name)
    return found if isinstance(found, dict) else {}


def _recipe(name: str) -> Mapping[str, Any]:
    import yaml

    try:
        found = yaml.safe_load((Path(name) / RECIPE).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}
